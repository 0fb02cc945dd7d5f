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
func (s *server) Fetch(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.FetchParams,
) {
	f, err := s.fetchPartition(r, topic, int(partition), fetchParams{
		offset:     value(params.Offset, -1),
		at:         value(params.At, ""),
		maxRecords: value(params.MaxRecords, defaultMaxRecords),
		maxBytes:   value(params.MaxBytes, defaultMaxBytes),
		waitMS:     value(params.WaitMs, 0),
	})
	if err != nil {
		s.problem(w, r, err)
		return
	}
	f.w = w
	f.run()
}

func (s *server) fetchPartition(r *http.Request, topic string, partition int, params fetchParams) (*fetch, error) {
	start, err := parsePartitionStart(params.offset, params.at)
	if err != nil {
		return nil, err
	}
	from := &partitionSource{server: s, topic: topic, partition: partition, from: start, params: params}
	f := s.newFetch(r, from, params.waitMS)
	f.page.topic, f.page.partition = topic, partition
	return f, nil
}

// partitionStart is where to begin in a partition.
type partitionStart struct {
	offset int64    // -1: at
	at     store.At // if there is no offset
}

// parsePartitionStart reads the parameters that say where to begin; offset -1
// and an empty at are not given.
func parsePartitionStart(offset int64, at string) (start partitionStart, err error) {
	if offset >= 0 && at != "" {
		return start, eos.InvalidParameter.Errorf("offset and at exclude each other")
	}
	start.offset = offset
	start.at, err = startAt(at)
	return start, err
}

// startAt returns where who has no position begins.
func startAt(at string) (store.At, error) {
	if at == "" {
		return store.Earliest, nil
	}
	return parseAt(at)
}

// startOf returns the position at which to begin in a partition.
func (s *server) startOf(
	ctx context.Context, t *store.Topic, partition int, from partitionStart,
) (store.Position, error) {
	if from.offset < 0 {
		return s.store.PositionAt(ctx, t, partition, from.at)
	}
	return store.Position{Partition: partition, Offset: from.offset}, nil
}

// partitionSource is a partition that is being fetched.
type partitionSource struct {
	server    *server
	topic     string
	partition int
	from      partitionStart
	params    fetchParams
	reader    *store.Reader // of the partition that the topic now has; nil before the first Next
}

// Next hands out more of the partition.
func (p *partitionSource) Next(
	ctx context.Context, take func(b *store.Batch, from, to int) error,
) (more bool, err error) {
	err = p.server.onTopic(ctx, p.topic, func(t *store.Topic) error {
		id, err := t.PartitionID(p.partition)
		if err != nil {
			return err
		}
		if p.reader == nil || p.reader.Log() != id {
			if err := p.open(ctx, t); err != nil {
				return err
			}
		}
		more, err = p.reader.Next(ctx, take)
		for p.params.offset < 0 && errors.Is(err, eos.OffsetBelowStart.Errorf("")) {
			// The client named no offset: retention has passed the place since that was found.
			if err = p.open(ctx, t); err == nil {
				more, err = p.reader.Next(ctx, take)
			}
		}
		return err
	})
	return more, err
}

func (p *partitionSource) open(ctx context.Context, t *store.Topic) error {
	pos, err := p.server.startOf(ctx, t, p.partition, p.from)
	if err != nil {
		return err
	}
	if p.reader, err = p.server.store.NewReader(t, pos, int(p.params.maxRecords), int(p.params.maxBytes)); err != nil {
		return err
	}
	if p.params.waitMS > 0 {
		p.reader.Follow()
	}
	return nil
}

func (p *partitionSource) moved(ctx context.Context) (bool, error) { return p.reader.Moved(ctx) }

func (p *partitionSource) wait(w *wake.Waiter) { w.WaitOne(p.reader.Log(), p.reader.HighWatermark) }

func (p *partitionSource) appendEnd(b []byte) []byte {
	b = append(b, `,"next_offset":`...)
	b = strconv.AppendInt(b, p.reader.NextOffset, 10)
	b = append(b, `,"high_watermark":`...)
	b = strconv.AppendInt(b, p.reader.HighWatermark, 10)
	b = append(b, `,"log_start_offset":`...)
	return strconv.AppendInt(b, p.reader.LogStartOffset, 10)
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
func (s *server) GetRecordRaw(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, offset api.OffsetPath,
) {
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
