package handlers

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// cursor is a position in all partitions of a topic. It names the topic by its
// id, so that it cannot be used on another topic of the same name.
type cursor struct {
	topicID int64
	first   int     // the partition to read first, so that none starves
	offsets []int64 // by partition
}

const cursorVersion = 1

func (c *cursor) encode() string {
	b := binary.AppendUvarint([]byte{cursorVersion}, uint64(c.topicID))
	b = binary.AppendUvarint(b, uint64(c.first))
	for _, o := range c.offsets {
		b = binary.AppendUvarint(b, uint64(o))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

var errMalformedCursor = eos.InvalidParameter.Errorf("the cursor is not one that a fetch has answered")

func decodeCursor(s string) (*cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != cursorVersion {
		return nil, errMalformedCursor
	}
	var numbers []int64
	for b = b[1:]; len(b) > 0; {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > eos.MaxInteger {
			return nil, errMalformedCursor
		}
		numbers, b = append(numbers, int64(n)), b[size:]
	}
	if len(numbers) < 3 || len(numbers) > 2+eos.MaxPartitions || numbers[1] >= int64(len(numbers)-2) {
		return nil, errMalformedCursor
	}
	return &cursor{topicID: numbers[0], first: int(numbers[1]), offsets: numbers[2:]}, nil
}

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
	from, err := parseStart(params.cursor, params.at)
	if err != nil {
		return nil, err
	}
	t := &topicReader{server: s, name: topic, from: from, records: int(params.maxRecords), bytes: int(params.maxBytes)}
	f := s.newFetch(r, t, params.waitMS)
	f.page.topic, f.page.eachRecord = topic, true
	t.page = &f.page
	return f, nil
}

// topicStart is where to begin in a topic.
type topicStart struct {
	at    store.At
	given *cursor // instead of at, unless nil
}

// parseStart reads the parameters that say where to begin; empty is not given.
func parseStart(cursor, at string) (start topicStart, err error) {
	if cursor != "" && at != "" {
		return start, eos.InvalidParameter.Errorf("cursor and at exclude each other")
	}
	if start.at, err = startAt(at); err == nil && cursor != "" {
		start.given, err = decodeCursor(cursor)
	}
	return start, err
}

// start finds a topic, and where to begin in it.
func (s *server) start(ctx context.Context, name string, from topicStart) (*store.Topic, *cursor, error) {
	topic, positions, err := s.store.Positions(ctx, name, from.at)
	if err != nil {
		return nil, nil, err
	}
	c := &cursor{topicID: topic.ID, offsets: make([]int64, len(positions))}
	for i, p := range positions {
		c.offsets[i] = p.Offset
	}
	if from.given == nil {
		return topic, c, nil
	}
	return topic, from.given, s.resume(ctx, topic, from.given, c)
}

// resume checks that the cursor that was given is one of the topic, whose log
// starts are in another. Partitions that were added since are read from their
// start.
func (s *server) resume(ctx context.Context, t *store.Topic, given, starts *cursor) error {
	if given.topicID != t.ID {
		other, err := s.store.TopicExists(ctx, given.topicID)
		switch {
		case err != nil:
			return err
		case other:
			return eos.InvalidParameter.Errorf("the cursor is of another topic than %q", t.Name)
		}
		gone := eos.OffsetBelowStart.Errorf("the cursor is of a topic %q that was deleted", t.Name)
		gone.NextCursor = starts.encode()
		return gone
	}
	if len(given.offsets) > len(starts.offsets) {
		return errMalformedCursor
	}
	given.offsets = append(given.offsets, starts.offsets[len(given.offsets):]...)
	return nil
}

// topicReader reads the partitions that have more than the cursor has read, one
// after the other, and moves the cursor.
type topicReader struct {
	server         *server
	name           string
	from           topicStart
	page           *page
	topic          *store.Topic // nil before the first Next
	cursor         cursor
	first          int             // the partition that this fetch began with
	visited        int             // partitions, from first on
	records, bytes int             // that may still be read
	ends           map[int64]int64 // by partition id
	current        bool            // ends were read for the next Next
	reader         *store.Reader   // of the partition that is open; nil between two
}

// Next hands out more of one partition.
func (t *topicReader) Next(ctx context.Context, take func(b *store.Batch, from, to int) error) (bool, error) {
	if t.topic == nil {
		topic, at, err := t.server.start(ctx, t.name, t.from)
		if err != nil {
			return false, err
		}
		t.topic, t.cursor, t.first = topic, *at, at.first
	}
	if !t.current {
		if err := t.readEnds(ctx); err != nil {
			return false, err
		}
	}
	for {
		if t.reader == nil {
			if err := t.open(); err != nil {
				return false, err
			}
		}
		if t.reader == nil {
			t.current = false // should somebody wait for more
			return false, nil
		}
		if found, err := t.read(ctx, take); err != nil || found {
			return found, err
		}
	}
}

// open opens the next partition that has more than the cursor has read, if
// there is one and the limits leave something.
func (t *topicReader) open() (err error) {
	count := len(t.cursor.offsets)
	for ; t.visited < count && t.records > 0 && t.bytes > 0; t.visited++ {
		p := (t.first + t.visited) % count
		if t.cursor.offsets[p] == t.ends[t.topic.PartitionIDs[p]] {
			continue
		}
		t.visited++
		t.page.partition = p
		t.reader, err = t.server.store.NewReader(t.topic, store.Position{Partition: p, Offset: t.cursor.offsets[p]}, t.records, t.bytes)
		return err
	}
	return nil
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

// Moved reads the ends again and reports whether there is something behind the
// cursor.
func (t *topicReader) Moved(ctx context.Context) (bool, error) {
	if err := t.readEnds(ctx); err != nil {
		return false, err
	}
	for p, offset := range t.cursor.offsets {
		if offset != t.ends[t.topic.PartitionIDs[p]] {
			return true, nil
		}
	}
	t.current = false
	return false, nil
}

func (t *topicReader) wait(w *wake.Waiter) { w.Wait(t.ends) }

func (t *topicReader) appendEnd(b []byte) []byte {
	b = append(b, `,"cursor":"`...)
	b = append(b, t.cursor.encode()...)
	return append(b, '"')
}

func (t *topicReader) readEnds(ctx context.Context) (err error) {
	t.visited, t.current = 0, true
	if t.ends, err = t.server.store.Ends(ctx, t.topic.PartitionIDs); err != nil {
		return err
	}
	if len(t.ends) < len(t.topic.PartitionIDs) {
		t.server.store.Forget(t.topic.Name)
		return eos.UnknownTopic.Errorf("topic %q does not exist any more", t.topic.Name)
	}
	return nil
}

// cursorGone adds the cursor at the log starts to the error of a position that
// retention has passed.
func (s *server) cursorGone(ctx context.Context, t *store.Topic, err error) error {
	var gone *eos.Error
	if !errors.As(err, &gone) || gone.Kind != eos.OffsetBelowStart {
		return err
	}
	_, positions, err := s.store.Positions(ctx, t.Name, store.Earliest)
	if err != nil {
		return err
	}
	c := &cursor{topicID: t.ID}
	for _, p := range positions {
		c.offsets = append(c.offsets, p.Offset)
	}
	gone.NextCursor = c.encode()
	return gone
}
