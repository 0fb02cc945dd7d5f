package handlers

import (
	"net/http"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// Produce appends records to a topic.
func (s *server) Produce(w http.ResponseWriter, r *http.Request, topic api.TopicPath, _ api.ProduceParams) {
	s.produce(w, r, topic, -1, s.readRecords)
}

// ProduceToPartition appends records to a partition.
func (s *server) ProduceToPartition(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, _ api.ProduceToPartitionParams) {
	s.produce(w, r, topic, partition, s.readRecords)
}

// ProduceRaw appends the body, as it is, to a topic.
func (s *server) ProduceRaw(w http.ResponseWriter, r *http.Request, topic api.TopicPath, _ api.ProduceRawParams) {
	s.produce(w, r, topic, -1, s.readRaw)
}

// ProduceRawToPartition appends the body, as it is, to a partition.
func (s *server) ProduceRawToPartition(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, _ api.ProduceRawToPartitionParams) {
	s.produce(w, r, topic, partition, s.readRaw)
}

// produce appends what read makes of the body. partition is -1 for a topic.
func (s *server) produce(w http.ResponseWriter, r *http.Request, topic string, partition int64, read func(*http.Request) ([]eos.Record, error)) {
	a, err := identity(r.Header)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	records, err := read(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	if err := s.countRecords(r, len(records)); err != nil {
		s.problem(w, r, err)
		return
	}
	start := time.Now()
	a.RecordCount = len(records)
	if a.Any() {
		a.Fingerprint = eos.FingerprintRecords(records)
	}
	result, err := s.appender.Append(r.Context(), topic, int(partition), a, records)
	s.metrics.append.Observe(time.Since(start).Seconds())
	if err != nil {
		s.problem(w, r, err)
		return
	}
	if result.Repeated {
		s.metrics.duplicates.Inc()
	}
	replayed(w, result.Repeated)
	s.answerBytes(w, http.StatusOK, encodeProduced(make([]byte, 0, 256), topic, &result))
}

func (s *server) readRecords(r *http.Request) ([]eos.Record, error) {
	media, err := mediaType(r, mediaJSON, mediaNDJSON)
	if err != nil {
		return nil, err
	}
	body, err := s.body(r)
	if err != nil {
		return nil, err
	}
	return s.records(body, media)
}

func (s *server) readRaw(r *http.Request) ([]eos.Record, error) {
	body, err := s.body(r)
	if err != nil {
		return nil, err
	}
	rec := eos.Record{Value: body, Flags: eos.ValueBinary | eos.KeyNull, Timestamp: -1, Partition: -1}
	if key, ok := r.Header["Record-Key"]; ok {
		rec.Key, rec.Flags = []byte(key[0]), eos.ValueBinary
	}
	return []eos.Record{rec}, nil
}

// identity reads the headers that make a request the same request again.
// params has checked each of them; this checks that they go together.
func identity(h http.Header) (eos.Append, error) {
	a := eos.Append{Identity: eos.Identity{ProducerID: eos.NoProducer}}
	given := 0
	for name, into := range map[string]*int64{"Producer-Id": &a.ProducerID, "Producer-Epoch": &a.Epoch, "Producer-Seq": &a.Sequence} {
		if v := h.Get(name); v != "" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return a, eos.InvalidParameter.Errorf("%s is not valid: %q", name, v)
			}
			*into = n
			given++
		}
	}
	key, err := unquote(h.Get(headerIdempotencyKey))
	if err != nil {
		return a, err
	}
	a.Key = key
	a.TransactionalID = h.Get("Transactional-Id")
	a.TransactionID = h.Get("Transaction-Id")
	switch {
	case given != 0 && given != 3:
		return a, eos.InvalidParameter.Errorf("Producer-Id, Producer-Epoch and Producer-Seq come together or not at all")
	case given == 3 && a.Key != "":
		return a, eos.InvalidParameter.Errorf("a request has producer headers or an Idempotency-Key, not both")
	case given == 0 && a.TransactionalID != "":
		return a, eos.InvalidParameter.Errorf("Transactional-Id comes with Producer-Id, Producer-Epoch and Producer-Seq")
	}
	return a, nil
}

// encodeProduced appends the answer to a produce request to b.
func encodeProduced(b []byte, topic string, result *store.Result) []byte {
	b = append(b, `{"topic":"`...)
	b = append(b, topic...) // a topic's name needs no escapes
	if result.Staged {
		b = append(b, `","staged":[`...)
	} else {
		b = append(b, `","appended":[`...)
	}
	for i := range result.Shares {
		if i > 0 {
			b = append(b, ',')
		}
		b = encodeShare(b, &result.Shares[i], result.Staged)
	}
	b = append(b, ']')
	if result.NextSequence >= 0 {
		b = append(b, `,"next_sequence":`...)
		b = strconv.AppendInt(b, result.NextSequence, 10)
	}
	return append(b, '}', '\n')
}

func encodeShare(b []byte, sh *store.Share, staged bool) []byte {
	b = append(b, `{"partition":`...)
	b = strconv.AppendInt(b, int64(sh.Partition), 10)
	if !staged {
		b = append(b, `,"base_offset":`...)
		b = strconv.AppendInt(b, sh.BaseOffset, 10)
	}
	b = append(b, `,"record_count":`...)
	b = strconv.AppendInt(b, int64(sh.RecordCount), 10)
	if sh.RecordIndexes != nil {
		b = append(b, `,"record_indexes":[`...)
		for i, index := range sh.RecordIndexes {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(index), 10)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}
