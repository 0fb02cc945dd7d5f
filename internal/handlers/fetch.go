package handlers

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// The bounds of a fetch that names none.
const (
	defaultMaxRecords = 500
	defaultMaxBytes   = 1 << 20
)

// Fetch answers with the records of a partition from a position on.
func (s *server) Fetch(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.FetchParams) {
	p := &page{server: s, w: w, topic: topic, partition: int(partition)}
	defer p.close()
	ctx := r.Context()
	reader, more, err := s.fetch(ctx, p, params)
	for err == nil && more {
		p.flush()
		more, err = reader.Next(ctx, p.take)
	}
	if err != nil {
		p.fail(r, err)
		return
	}
	p.finish(func(b []byte) []byte {
		b = append(b, `,"next_offset":`...)
		b = strconv.AppendInt(b, reader.NextOffset, 10)
		b = append(b, `,"high_watermark":`...)
		b = strconv.AppendInt(b, reader.HighWatermark, 10)
		b = append(b, `,"log_start_offset":`...)
		return strconv.AppendInt(b, reader.LogStartOffset, 10)
	})
}

// fetch reads the first records into p, waiting for them if the client will,
// and returns where there may be more.
func (s *server) fetch(ctx context.Context, p *page, params api.FetchParams) (reader *store.Reader, more bool, err error) {
	if params.Offset != nil && params.At != nil {
		return nil, false, eos.InvalidParameter.Errorf("offset and at exclude each other")
	}
	at, err := parseAt(value(params.At, "earliest"))
	if err != nil {
		return nil, false, err
	}
	waitMS := value(params.WaitMs, 0)
	err = s.onTopic(ctx, p.topic, func(t *store.Topic) error {
		if _, err := t.PartitionID(p.partition); err != nil {
			return err
		}
		pos := store.Position{Partition: p.partition, Offset: value(params.Offset, 0)}
		if params.Offset == nil {
			if pos, err = s.store.PositionAt(ctx, t, p.partition, at); err != nil {
				return err
			}
		}
		maxRecords, maxBytes := int(value(params.MaxRecords, defaultMaxRecords)), int(value(params.MaxBytes, defaultMaxBytes))
		if reader, err = s.store.NewReader(t, pos, maxRecords, maxBytes); err != nil {
			return err
		}
		if waitMS > 0 {
			reader.Follow()
		}
		more, err = s.untilRecords(ctx, waitMS, reader, p, func() *wake.Waiter {
			return s.hub.WaitOne(reader.Log(), reader.HighWatermark)
		})
		return err
	})
	return reader, more, err
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
