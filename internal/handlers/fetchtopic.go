package handlers

import (
	"context"
	"net/http"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// FetchTopic answers with records of all partitions of a topic.
func (s *server) FetchTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath, params api.FetchTopicParams) {
	f, err := s.fetchTopic(r, topic, fetchParams{
		cursor:     value(params.Cursor, ""),
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

func (s *server) fetchTopic(r *http.Request, topic string, params fetchParams) (*fetch, error) {
	from, err := parseTopicStart(params.cursor, params.at)
	if err != nil {
		return nil, err
	}
	t := &topicReader{
		topicRound: topicRound{server: s, name: topic},
		from:       from, records: int(params.maxRecords), bytes: int(params.maxBytes),
	}
	f := s.newFetch(r, t, params.waitMS)
	f.page.topic, f.page.eachRecord = topic, true
	t.page = &f.page
	return f, nil
}

// topicReader reads the partitions that have more than the cursor has read, one
// after the other, and moves the cursor.
type topicReader struct {
	topicRound
	from           topicStart
	page           *page
	records, bytes int           // that may still be read
	reader         *store.Reader // of the partition that is open; nil between two
}

// Next hands out more of one partition.
func (t *topicReader) Next(ctx context.Context, take func(b *store.Batch, from, to int) error) (bool, error) {
	if t.topic == nil {
		if err := t.begin(ctx, t.from); err != nil {
			return false, err
		}
	}
	if t.ends == nil {
		if err := t.readEnds(ctx); err != nil {
			return false, err
		}
	}
	for {
		if t.reader == nil {
			if err := t.open(); err != nil || t.reader == nil {
				return false, err
			}
		}
		if found, err := t.read(ctx, take); err != nil || found {
			return found, err
		}
	}
}

// open opens the next partition that has more than the cursor has read, if
// there is one and the limits leave something.
func (t *topicReader) open() (err error) {
	if t.records <= 0 || t.bytes <= 0 {
		return nil
	}
	p, ok := t.unread()
	if !ok {
		return nil
	}
	t.page.partition = p
	t.reader, err = t.server.store.NewReader(t.topic, t.position(p), t.records, t.bytes)
	return err
}

// read reads on in the partition that is open, and reports whether there were
// records.
func (t *topicReader) read(ctx context.Context, take func(b *store.Batch, from, to int) error) (found bool, err error) {
	more, err := t.reader.Next(ctx, func(b *store.Batch, from, to int) error {
		t.records -= to - from
		t.bytes -= b.Size(from, to)
		return take(b, from, to)
	})
	if err != nil {
		return false, t.server.cursorGone(ctx, t.topic, err)
	}
	p := t.page.partition
	if found = t.cursor.offsets[p] != t.reader.NextOffset; found {
		t.cursor.offsets[p] = t.reader.NextOffset
		t.cursor.first = (p + 1) % len(t.cursor.offsets)
	}
	if !more {
		t.reader = nil
	}
	return found, nil
}

func (t *topicReader) wait(w *wake.Waiter) { w.Wait(t.ends) }

func (t *topicReader) appendEnd(b []byte) []byte {
	b = append(b, `,"cursor":"`...)
	b = append(b, t.cursor.encode()...)
	return append(b, '"')
}
