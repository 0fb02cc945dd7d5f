package handlers

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// records reads the records of a produce request in either of its forms.
func (s *server) records(body []byte, media string) ([]eos.Record, error) {
	if media == mediaNDJSON {
		return s.recordLines(body)
	}
	scan := scanner{b: body, maxDepth: s.cfg.MaxJSONDepth + aroundProduce}
	if list, ok := scan.document(s.cfg.MaxRecords); ok {
		return list, nil
	}
	return s.readRecordDocument(body)
}

func (s *server) readRecordDocument(body []byte) ([]eos.Record, error) {
	var list []eos.Record
	given := false
	err := s.readNested(body, aroundProduce, func(r *reader, name string) error {
		if name != "records" {
			return r.unknown(name)
		}
		given = true
		var err error
		list, err = s.recordArray(r, 0)
		return err
	})
	if err == nil && !given {
		err = eos.InvalidRequest.Errorf("there are no records")
	}
	return list, err
}

// recordArray reads an array of records; before is how many the request had
// before them.
func (s *server) recordArray(r *reader, before int) ([]eos.Record, error) {
	var list []eos.Record
	err := r.array(func(r *reader, i int) error {
		if before+len(list) >= s.cfg.MaxRecords {
			return s.tooMany()
		}
		outside := r.dec.StackDepth()
		if r.deep > 0 && r.dec.PeekKind() == '{' && depth(r.body[r.dec.InputOffset():]) > r.deep {
			return inRecord(s.tooDeep("a record"), before+i)
		}
		rec, err := record(r)
		if errors.Is(err, eos.InvalidJSON.Errorf("")) && r.dec.StackDepth() == outside {
			return err // of the document
		}
		if err != nil {
			return inRecord(err, before+i)
		}
		list = append(list, rec)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = eos.InvalidRequest.Errorf("there are no records")
	}
	return list, err
}

// recordLines reads one record a line; the last line may lack its line feed.
func (s *server) recordLines(body []byte) ([]eos.Record, error) {
	if len(body) == 0 {
		return nil, eos.InvalidJSON.Errorf("the body is empty")
	}
	body = bytes.TrimSuffix(body, []byte("\n"))
	lines := 1 + bytes.Count(body, []byte("\n"))
	if lines > s.cfg.MaxRecords {
		return nil, s.tooMany()
	}
	list := make([]eos.Record, 0, lines)
	for i := range lines {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		rec, err := s.recordLine(line)
		if err != nil {
			return nil, inLine(err, i)
		}
		list = append(list, rec)
	}
	return list, nil
}

func (s *server) recordLine(line []byte) (eos.Record, error) {
	scan := scanner{b: line, maxDepth: s.cfg.MaxJSONDepth}
	if rec, ok := scan.line(); ok {
		return rec, nil
	}
	return s.readRecordLine(line)
}

func (s *server) readRecordLine(line []byte) (eos.Record, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return eos.Record{}, eos.InvalidJSON.Errorf("there is no record")
	}
	rec := newRecord()
	err := s.readDocument(line, rec.field)
	if err == nil {
		err = rec.check()
	}
	return rec.Record, err
}

func (s *server) tooMany() error {
	return eos.InvalidRequest.Errorf("there are more than %d records", s.cfg.MaxRecords)
}

// inRecord says of an error in which record it is. What is wrong within a
// well-formed record is an InvalidRecord.
func inRecord(err error, i int) error {
	var refusal *eos.Error
	if !errors.As(err, &refusal) {
		return err
	}
	if refusal.Kind == eos.InvalidRequest {
		refusal.Kind = eos.InvalidRecord
	}
	return refusal.AtRecord(i)
}

// inLine is inRecord for one of the lines of a body: an editor counts them from 1.
func inLine(err error, i int) error {
	var refusal *eos.Error
	if errors.As(err, &refusal) {
		refusal.Detail = "line " + strconv.Itoa(i+1) + ": " + refusal.Detail
	}
	return inRecord(err, i)
}

func record(r *reader) (eos.Record, error) {
	rec := newRecord()
	if err := r.object(rec.field); err != nil {
		return eos.Record{}, err
	}
	return rec.Record, rec.check()
}

// recordFields is a record that is being read.
type recordFields struct {
	eos.Record
	key, value int // how many of the two fields of each were given
}

func newRecord() *recordFields {
	return &recordFields{Record: eos.Record{Flags: eos.KeyNull, Timestamp: -1, Partition: -1}}
}

func (f *recordFields) field(r *reader, name string) (err error) {
	switch name {
	case "key":
		f.key++
		if r.dec.PeekKind() == 'n' {
			_, err = r.raw()
			return err
		}
		var key string
		key, err = r.text()
		f.Key, f.Flags = []byte(key), f.Flags&^eos.KeyNull
	case "key_base64":
		f.key++
		f.Key, err = r.base64()
		f.Flags = f.Flags&^eos.KeyNull | eos.KeyBinary
	case "value":
		f.value++
		if r.dec.PeekKind() == 'n' {
			f.Flags |= eos.ValueNull
			_, err = r.raw()
			return err
		}
		f.Value, err = r.raw()
	case "value_base64":
		f.value++
		f.Value, err = r.base64()
		f.Flags |= eos.ValueBinary
	case "headers":
		err = r.array(func(r *reader, _ int) error {
			h, err := header(r)
			f.Headers = append(f.Headers, h)
			return err
		})
	case "timestamp":
		f.Timestamp, err = r.integer(0, eos.MaxTimestamp)
	case "partition":
		var p int64
		p, err = r.integer(0, math.MaxInt32)
		f.Partition = int(p)
	default:
		return r.unknown(name)
	}
	return err
}

func (f *recordFields) check() error {
	switch {
	case f.key > 1:
		return eos.InvalidRequest.Errorf("key and key_base64 exclude each other")
	case f.value > 1:
		return eos.InvalidRequest.Errorf("value and value_base64 exclude each other")
	case f.value == 0:
		return eos.InvalidRequest.Errorf("the record has neither value nor value_base64; a tombstone has \"value\":null")
	}
	return nil
}

func header(r *reader) (h eos.Header, err error) {
	names := 0
	err = r.object(func(r *reader, name string) (err error) {
		switch name {
		case "name":
			h.Name, err = r.text()
		case "value":
			h.Value, err = r.text()
		default:
			return r.unknown(name)
		}
		names++
		return err
	})
	if err == nil && names != 2 {
		err = eos.InvalidRequest.Errorf("a header has a name and a value")
	}
	return h, err
}
