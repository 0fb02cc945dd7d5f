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
func (s *server) ProduceToPartition(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, _ api.ProduceToPartitionParams,
) {
	s.produce(w, r, topic, partition, s.readRecords)
}

// ProduceRaw appends the body, as it is, to a topic.
func (s *server) ProduceRaw(w http.ResponseWriter, r *http.Request, topic api.TopicPath, _ api.ProduceRawParams) {
	s.produce(w, r, topic, -1, s.readRaw)
}

// ProduceRawToPartition appends the body, as it is, to a partition.
func (s *server) ProduceRawToPartition(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, _ api.ProduceRawToPartitionParams,
) {
	s.produce(w, r, topic, partition, s.readRaw)
}

// read is how the records of a request come out of its body.
type read func(*http.Request, *requestBody) ([]eos.Record, error)

// produce appends what read makes of the body. partition is -1 for a topic.
func (s *server) produce(w http.ResponseWriter, r *http.Request, topic string, partition int64, read read) {
	result, err := s.append(r, bodyOf(r), topic, partition, read)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.produced(w, &result, encodeProduced(make([]byte, 0, 256), topic, &result))
}

func (s *server) append(
	r *http.Request, body *requestBody, topic string, partition int64, read read,
) (store.Result, error) {
	a, err := identity(r.Header)
	if err != nil {
		return store.Result{}, err
	}
	records, err := read(r, body)
	if err != nil {
		return store.Result{}, err
	}
	if err := body.countRecords(len(records)); err != nil {
		return store.Result{}, err
	}
	start := time.Now()
	a.RecordCount = len(records)
	if a.Any() {
		a.Fingerprint = eos.FingerprintRecords(records)
	}
	result, err := s.appender.Append(r.Context(), topic, int(partition), a, records)
	s.metrics.append.Observe(time.Since(start).Seconds())
	return result, err
}

func (s *server) produced(w http.ResponseWriter, result *store.Result, answer []byte) {
	if result.Repeated {
		s.metrics.duplicates.Inc()
	}
	replayed(w, result.Repeated)
	s.answerBytes(w, http.StatusOK, answer)
}

func (s *server) readRecords(r *http.Request, body *requestBody) ([]eos.Record, error) {
	b, media, err := s.readMedia(r, body, mediaJSON, mediaNDJSON)
	if err != nil {
		return nil, err
	}
	return s.records(b, media)
}

func (s *server) readRaw(r *http.Request, body *requestBody) ([]eos.Record, error) {
	b, err := s.readBody(r, body)
	if err != nil {
		return nil, err
	}
	rec := eos.Record{Value: b, Flags: eos.ValueBinary | eos.KeyNull, Timestamp: -1, Partition: -1}
	if key, ok := r.Header["Record-Key"]; ok {
		rec.Key, rec.Flags = []byte(key[0]), eos.ValueBinary
	}
	return []eos.Record{rec}, nil
}

// identity reads the headers that make a request the same request again.
// params has checked each of them; this checks that they go together.
func identity(h http.Header) (a eos.Append, err error) {
	a.ProducerID = eos.NoProducer
	given := 0
	number := func(name string, n *int64) {
		if v := first(h, name); v != "" && err == nil {
			if *n, err = strconv.ParseInt(v, 10, 64); err != nil {
				err = eos.InvalidParameter.Errorf("%s is not valid: %q", name, v)
			}
			given++
		}
	}
	number(headerProducerID, &a.ProducerID)
	number(headerProducerEpoch, &a.Epoch)
	number(headerProducerSeq, &a.Sequence)
	if err == nil {
		a.Key, err = unquote(first(h, headerIdempotencyKey))
	}
	if err != nil {
		return a, err
	}
	a.TransactionalID = first(h, headerTransactionalID)
	a.TransactionID = first(h, headerTransactionID)
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

// first returns the first value of a header, whose name is in canonical form.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// encodeProduced appends the answer to a produce request to b.
func encodeProduced(b []byte, topic string, result *store.Result) []byte {
	b = append(b, `{"topic":"`...)
	b = append(b, topic...) // a topic's name needs no escapes
	b = encodeShares(append(b, '"'), result.Shares, result.Staged)
	if result.NextSequence >= 0 {
		b = append(b, `,"next_sequence":`...)
		b = strconv.AppendInt(b, result.NextSequence, 10)
	}
	return append(b, '}', '\n')
}

// encodeShares appends where records are, behind another field.
func encodeShares(b []byte, shares []store.Share, staged bool) []byte {
	if staged {
		b = append(b, `,"staged":[`...)
	} else {
		b = append(b, `,"appended":[`...)
	}
	for i := range shares {
		if i > 0 {
			b = append(b, ',')
		}
		b = encodeShare(b, &shares[i], staged)
	}
	return append(b, ']')
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
