package handlers

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"

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

func newCursor(t *store.Topic, positions []store.Position) *cursor {
	c := &cursor{topicID: t.ID, offsets: make([]int64, len(positions))}
	for i, p := range positions {
		c.offsets[i] = p.Offset
	}
	return c
}

func (c *cursor) encode() string { return base64.RawURLEncoding.EncodeToString(c.appendBinary(nil)) }

// appendBinary appends the cursor as it is before it becomes text.
func (c *cursor) appendBinary(b []byte) []byte {
	b = binary.AppendUvarint(append(b, cursorVersion), uint64(c.topicID))
	b = binary.AppendUvarint(b, uint64(c.first))
	for _, o := range c.offsets {
		b = binary.AppendUvarint(b, uint64(o))
	}
	return b
}

var errMalformedCursor = eos.InvalidParameter.Errorf("the cursor is not one that a fetch has answered")

// decodeCursor reads what encode writes, and nothing else: a cursor is written
// in one way.
func decodeCursor(s string) (*cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	lines := base64.RawURLEncoding.EncodedLen(len(b)) != len(s) // breaks between them, which base64 passes
	if err != nil || lines || len(b) == 0 || b[0] != cursorVersion {
		return nil, errMalformedCursor
	}
	var numbers []int64
	for b = b[1:]; len(b) > 0; {
		n, size := binary.Uvarint(b)
		if padded := size > 1 && b[size-1] == 0; size <= 0 || padded || n > eos.MaxInteger {
			return nil, errMalformedCursor
		}
		numbers, b = append(numbers, int64(n)), b[size:]
	}
	if len(numbers) < 3 || len(numbers) > 2+eos.MaxPartitions || numbers[1] >= int64(len(numbers)-2) {
		return nil, errMalformedCursor
	}
	return &cursor{topicID: numbers[0], first: int(numbers[1]), offsets: numbers[2:]}, nil
}

// topicStart is where to begin in a topic.
type topicStart struct {
	at    store.At
	given *cursor // instead of at, unless nil
}

// parseTopicStart reads the parameters that say where to begin; empty is not given.
func parseTopicStart(cursor, at string) (start topicStart, err error) {
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
	c := newCursor(topic, positions)
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
	gone.NextCursor = newCursor(t, positions).encode()
	return gone
}

// topicRound goes through the partitions of a topic that have more than a
// cursor has read, once each.
type topicRound struct {
	server *server
	name   string
	topic  *store.Topic    // nil before begin
	cursor cursor          // behind what was read
	ends   map[int64]int64 // by partition id, with the number of partitions by the topic's; nil: to be read

	first   int // the partition that this round began with
	visited int // partitions of this round, from first on
}

// begin finds the topic, and where to begin in it.
func (t *topicRound) begin(ctx context.Context, from topicStart) error {
	topic, at, err := t.server.start(ctx, t.name, from)
	if err != nil {
		return err
	}
	t.topic, t.cursor = topic, *at
	return nil
}

// readEnds begins a round, of all partitions that the topic has by now.
func (t *topicRound) readEnds(ctx context.Context) (err error) {
	for {
		ids := append(slices.Clone(t.topic.PartitionIDs), t.topic.ID)
		if t.ends, err = t.server.store.Sizes(ctx, ids); err != nil {
			return err
		}
		if len(t.ends) < len(ids) {
			t.server.store.Forget(t.name)
			return eos.UnknownTopic.Errorf("topic %q does not exist any more", t.name)
		}
		if t.ends[t.topic.ID] == int64(len(t.topic.PartitionIDs)) {
			t.first, t.visited = t.cursor.first, 0
			return nil
		}
		if err := t.grow(ctx); err != nil {
			return err
		}
	}
}

// grow takes the partitions in that were added.
func (t *topicRound) grow(ctx context.Context) error {
	at := t.cursor
	at.offsets = slices.Clone(at.offsets)
	topic, extended, err := t.server.start(ctx, t.name, topicStart{at: store.Earliest, given: &at})
	if err == nil {
		t.topic, t.cursor = topic, *extended
	}
	return err
}

// unread returns the next partition of the round that has something behind the
// cursor, if there is one.
func (t *topicRound) unread() (partition int, ok bool) {
	for n := len(t.cursor.offsets); t.visited < n; {
		p := (t.first + t.visited) % n
		t.visited++
		if t.cursor.offsets[p] != t.ends[t.topic.PartitionIDs[p]] {
			return p, true
		}
	}
	return 0, false
}

// position returns where the cursor is in a partition.
func (t *topicRound) position(p int) store.Position {
	return store.Position{Partition: p, Offset: t.cursor.offsets[p]}
}

// moved reads the ends again and reports whether there is something behind the
// cursor.
func (t *topicRound) moved(ctx context.Context) (bool, error) {
	if err := t.readEnds(ctx); err != nil {
		return false, err
	}
	for p, offset := range t.cursor.offsets {
		if offset != t.ends[t.topic.PartitionIDs[p]] {
			return true, nil
		}
	}
	t.ends = nil
	return false, nil
}

func (t *topicRound) wait(w *wake.Waiter) { w.Wait(t.ends) }
