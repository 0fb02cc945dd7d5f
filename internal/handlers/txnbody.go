package handlers

import (
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// put reads the PUT of a transaction.
func (s *server) put(r *http.Request, id string) (*store.Put, error) {
	put := &store.Put{Begin: eos.Begin{ID: id, ProducerID: eos.NoProducer}}
	body, err := s.optionalJSON(r)
	if err != nil {
		return nil, err
	}
	given := map[string]bool{}
	if body != nil {
		err = s.readNested(body, aroundTransaction, func(r *reader, name string) error {
			given[name] = true
			return s.putField(r, name, put)
		})
	}
	if err == nil && given["producer_id"] != given["producer_epoch"] {
		err = eos.InvalidRequest.Errorf("producer_id and producer_epoch come together or not at all")
	}
	if err == nil {
		err = s.checkOffsets(put.Offsets)
	}
	put.Fingerprint = fingerprintPut(put)
	return put, err
}

func (s *server) putField(r *reader, name string, put *store.Put) (err error) {
	switch name {
	case "producer_id":
		put.ProducerID, err = r.integer(0, eos.MaxInteger)
	case "producer_epoch":
		put.Epoch, err = r.integer(0, eos.MaxInteger)
	case "timeout_ms":
		var n int64
		n, err = r.integer(1, eos.MaxTransactionTimeoutMS)
		put.TimeoutMS = int(n)
	case "commit":
		put.Commit, err = r.boolean()
	case "produce":
		records := 0
		err = r.array(func(r *reader, _ int) error {
			t, err := s.topicRecords(r, records)
			records += len(t.Records)
			put.Produce = append(put.Produce, t)
			return err
		})
	case "offsets":
		put.Offsets, err = readOffsets(r)
	default:
		return r.unknown(name)
	}
	return err
}

func (s *server) topicRecords(r *reader, before int) (t store.TopicRecords, err error) {
	err = r.object(func(r *reader, name string) (err error) {
		switch name {
		case "topic":
			t.Topic, err = r.name()
		case "records":
			t.Records, err = s.recordArray(r, before)
		default:
			return r.unknown(name)
		}
		return err
	})
	if err == nil && (t.Topic == "" || t.Records == nil) {
		err = eos.InvalidRequest.Errorf("an entry of produce has a topic and records")
	}
	return t, err
}

// fingerprintPut covers what makes a PUT the same again (T8). The epoch is not
// part of it: a restarted producer may repeat what it began before (P3). Nor is
// the member of a group, who only has to be its member when it happens: whoever
// takes over a partition may repeat what its last owner did.
func fingerprintPut(put *store.Put) eos.Fingerprint {
	f := eos.NewFingerprinter()
	f.Int(put.ProducerID)
	f.Int(int64(put.TimeoutMS))
	f.Text(strconv.FormatBool(put.Commit))
	f.Int(int64(len(put.Produce)))
	for _, p := range put.Produce {
		f.Text(p.Topic)
		f.Records(p.Records)
	}
	f.Int(int64(len(put.Offsets)))
	for _, o := range put.Offsets {
		o.Print(f)
	}
	return f.Sum()
}

// offsetsBody reads the body of AddOffsetsToTransaction.
func (s *server) offsetsBody(r *http.Request) ([]store.GroupOffset, error) {
	body, err := s.requiredJSON(r)
	if err != nil {
		return nil, err
	}
	var offsets []store.GroupOffset
	err = s.readDocument(body, func(r *reader, name string) (err error) {
		if name != "offsets" {
			return r.unknown(name)
		}
		offsets, err = readOffsets(r)
		return err
	})
	if err == nil && len(offsets) == 0 {
		err = eos.InvalidRequest.Errorf("there are no offsets")
	}
	if err == nil {
		err = s.checkOffsets(offsets)
	}
	return offsets, err
}
