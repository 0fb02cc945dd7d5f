package handlers

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a fetch that names none.
const (
	defaultMaxRecords = 500
	defaultMaxBytes   = 1 << 20
)

// Fetch answers with the records of a partition from a position on.
func (s *server) Fetch(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.FetchParams) {
	page, err := s.fetch(r.Context(), topic, int(partition), params)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	size := int64(sizeOf(page.Records))
	if !s.answers.take(size) {
		s.problem(w, r, errAnswers)
		return
	}
	defer s.answers.give(size)
	w.Header().Set("Cache-Control", "no-store")
	s.answerBytes(w, http.StatusOK, encodePage(topic, page))
}

var errAnswers = eos.Unavailable.Errorf("the answers to other fetches take all the memory there is for them")

func (s *server) fetch(ctx context.Context, topic string, partition int, params api.FetchParams) (*store.Page, error) {
	if params.Offset != nil && params.At != nil {
		return nil, eos.InvalidParameter.Errorf("offset and at exclude each other")
	}
	at, err := parseAt(value(params.At, "earliest"))
	if err != nil {
		return nil, err
	}
	var page *store.Page
	err = s.onTopic(ctx, topic, func(t *store.Topic) error {
		id, err := t.PartitionID(partition)
		if err != nil {
			return err
		}
		pos := store.Position{Partition: partition, Offset: value(params.Offset, 0)}
		if params.Offset == nil {
			if pos, err = s.store.PositionAt(ctx, t, partition, at); err != nil {
				return err
			}
		}
		maxRecords, maxBytes := int(value(params.MaxRecords, defaultMaxRecords)), int(value(params.MaxBytes, defaultMaxBytes))
		return s.untilRecords(ctx, value(params.WaitMs, 0), func() (map[int64]int64, error) {
			page, err = s.store.Fetch(ctx, t, pos, maxRecords, maxBytes)
			if err != nil || len(page.Records) > 0 {
				return nil, err
			}
			return map[int64]int64{id: page.HighWatermark}, nil
		})
	})
	return page, err
}

// onTopic calls fn with a topic as it is remembered, and again with the topic
// as it is now if fn finds that it, or the partition, does not exist and that
// is news.
func (s *server) onTopic(ctx context.Context, name string, fn func(*store.Topic) error) error {
	t, err := s.store.Topic(ctx, name)
	if err != nil {
		return err
	}
	unknown := fn(t)
	if !errors.Is(unknown, eos.UnknownTopic.Errorf("")) {
		return unknown
	}
	s.store.Forget(name)
	now, err := s.store.Topic(ctx, name)
	if err != nil {
		return err
	}
	if now.ID == t.ID && len(now.PartitionIDs) == len(t.PartitionIDs) {
		return unknown
	}
	return fn(now)
}

// untilRecords calls read until it finds records, returning nil, or waitMS is
// over. read returns the ends that it saw of what it read. Between two reads
// nothing is held but the place in the hub (rule F4).
func (s *server) untilRecords(ctx context.Context, waitMS int64, read func() (map[int64]int64, error)) error {
	seen, err := read()
	if seen == nil || err != nil || waitMS == 0 {
		return err
	}
	timeout := time.NewTimer(time.Duration(waitMS) * time.Millisecond)
	defer timeout.Stop()
	for {
		again, err := s.waitFor(ctx, seen, timeout.C, read)
		if again == nil || err != nil {
			return err
		}
		seen = again
	}
}

// waitFor waits until one of the partitions goes beyond the end that was seen,
// and reads again. It returns nil when there is nothing to wait for any more.
func (s *server) waitFor(ctx context.Context, seen map[int64]int64, timeout <-chan time.Time, read func() (map[int64]int64, error)) (map[int64]int64, error) {
	waiter := s.hub.Wait(seen)
	defer waiter.Stop()
	// What came between the last read and the registration wakes nobody.
	again, err := read()
	if again == nil || err != nil {
		return nil, err
	}
	select {
	case <-waiter.Woken():
		return read()
	case <-timeout:
	case <-s.draining:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

// GetRecordRaw answers with the bytes of a record's value. A tombstone has none.
func (s *server) GetRecordRaw(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, offset api.OffsetPath) {
	var rec store.Record
	err := s.onTopic(r.Context(), topic, func(t *store.Topic) (err error) {
		rec, err = s.store.Record(r.Context(), t, store.Position{Partition: int(partition), Offset: offset})
		return err
	})
	switch {
	case err != nil:
		s.problem(w, r, err)
	case rec.Flags&eos.ValueNull != 0:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(rec.Value)
	}
}

func encodePage(topic string, p *store.Page) []byte {
	b := make([]byte, 0, sizeOf(p.Records)+256)
	b = append(b, `{"topic":"`...)
	b = append(b, topic...)
	b = append(b, `","partition":`...)
	b = strconv.AppendInt(b, int64(p.Partition), 10)
	b = append(b, `,"records":[`...)
	for i := range p.Records {
		if i > 0 {
			b = append(b, ',')
		}
		b = encodeRecord(b, -1, &p.Records[i])
	}
	b = append(b, `],"next_offset":`...)
	b = strconv.AppendInt(b, p.NextOffset, 10)
	b = append(b, `,"high_watermark":`...)
	b = strconv.AppendInt(b, p.HighWatermark, 10)
	b = append(b, `,"log_start_offset":`...)
	b = strconv.AppendInt(b, p.LogStartOffset, 10)
	return append(b, '}', '\n')
}

func sizeOf(records []store.Record) int {
	n := 0
	for i := range records {
		n += records[i].Size() + 96
	}
	return n
}

// encodeRecord appends a record as JSON; partition -1 is left out.
func encodeRecord(b []byte, partition int, r *store.Record) []byte {
	b = append(b, '{')
	if partition >= 0 {
		b = append(b, `"partition":`...)
		b = strconv.AppendInt(b, int64(partition), 10)
		b = append(b, ',')
	}
	b = append(b, `"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, r.Timestamp, 10)
	switch {
	case r.Flags&eos.KeyNull != 0:
		b = append(b, `,"key":null`...)
	case r.Flags&eos.KeyBinary != 0:
		b = append(b, `,"key_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Key)
		b = append(b, '"')
	default:
		b = append(b, `,"key":`...)
		b, _ = jsontext.AppendQuote(b, r.Key) // was valid UTF-8 when it came
	}
	switch {
	case r.Flags&eos.ValueNull != 0:
		b = append(b, `,"value":null`...)
	case r.Flags&eos.ValueBinary != 0:
		b = append(b, `,"value_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Value)
		b = append(b, '"')
	default:
		b = append(b, `,"value":`...)
		b = append(b, r.Value...)
	}
	if r.Headers != "" {
		b = append(b, `,"headers":`...)
		b = append(b, r.Headers...)
	}
	return append(b, '}')
}
