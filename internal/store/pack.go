package store

import (
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/go-json-experiment/json/jsontext"
)

// Packed is the records of one partition of one request in the form of a row
// of batches (see 000001_log.up.sql).
type Packed struct {
	Count        int
	Body         []byte
	Ends         []int32   // two a record: the end of its key and of its value in Body
	Flags        []byte    // nil, one for all, or one a record
	Headers      []*string // nil when no record has any; JSON
	Timestamps   []int64   // nil when no record has its own; -1 for one that has none
	Size         int64     // bytes that limits count
	MaxTimestamp int64     // of the given ones; -1 when none is given
	Undated      bool      // whether a record has no timestamp of its own
}

// Pack packs records, of which there is at least one.
func Pack(records []eos.Record) *Packed {
	p := &Packed{Count: len(records), MaxTimestamp: -1, Ends: make([]int32, 0, 2*len(records))}
	size, headers, dated, mixed := 0, false, false, false
	for i := range records {
		r := &records[i]
		size += len(r.Key) + len(r.Value)
		p.Size += int64(r.Size())
		headers = headers || len(r.Headers) > 0
		dated = dated || r.Timestamp >= 0
		mixed = mixed || r.Flags != records[0].Flags
		p.Undated = p.Undated || r.Timestamp < 0
		p.MaxTimestamp = max(p.MaxTimestamp, r.Timestamp)
	}
	p.Body = make([]byte, 0, size)
	for i := range records {
		r := &records[i]
		p.Body = append(p.Body, r.Key...)
		p.Ends = append(p.Ends, int32(len(p.Body)))
		p.Body = append(p.Body, r.Value...)
		p.Ends = append(p.Ends, int32(len(p.Body)))
		if mixed {
			p.Flags = append(p.Flags, byte(r.Flags))
		}
		if headers {
			p.Headers = append(p.Headers, packHeaders(r.Headers))
		}
		if dated {
			p.Timestamps = append(p.Timestamps, r.Timestamp)
		}
	}
	if !mixed && records[0].Flags != 0 {
		p.Flags = []byte{byte(records[0].Flags)}
	}
	return p
}

// packHeaders returns headers as the JSON that a fetch sends.
func packHeaders(headers []eos.Header) *string {
	if len(headers) == 0 {
		return nil
	}
	b := []byte{'['}
	for i, h := range headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b, _ = jsontext.AppendQuote(b, h.Name) // came as valid UTF-8
		b = append(b, `,"value":`...)
		b, _ = jsontext.AppendQuote(b, h.Value)
		b = append(b, '}')
	}
	s := string(append(b, ']'))
	return &s
}
