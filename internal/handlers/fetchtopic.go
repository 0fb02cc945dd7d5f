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
	records, next, err := s.fetchTopic(r.Context(), topic, params)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	size := int64(0)
	for _, p := range records {
		size += int64(sizeOf(p.Records))
	}
	if !s.answers.take(size) {
		s.problem(w, r, errAnswers)
		return
	}
	defer s.answers.give(size)
	b := append([]byte(`{"topic":"`), topic...)
	b = append(b, `","records":[`...)
	for i := range records {
		for j := range records[i].Records {
			if b[len(b)-1] != '[' {
				b = append(b, ',')
			}
			b = encodeRecord(b, records[i].Partition, &records[i].Records[j])
		}
	}
	b = append(b, `],"cursor":"`...)
	b = append(b, next.encode()...)
	w.Header().Set("Cache-Control", "no-store")
	s.answerBytes(w, http.StatusOK, append(b, '"', '}', '\n'))
}

func (s *server) fetchTopic(ctx context.Context, topic string, params api.FetchTopicParams) ([]*store.Page, *cursor, error) {
	t, at, err := s.start(ctx, topic, params)
	if err != nil {
		return nil, nil, err
	}
	maxRecords, maxBytes := int(value(params.MaxRecords, defaultMaxRecords)), int(value(params.MaxBytes, defaultMaxBytes))
	var pages []*store.Page
	next := &cursor{}
	err = s.untilRecords(ctx, value(params.WaitMs, 0), func() (map[int64]int64, error) {
		ends, err := s.store.Ends(ctx, t.PartitionIDs)
		if err != nil {
			return nil, err
		}
		if len(ends) < len(t.PartitionIDs) {
			s.store.Forget(topic)
			return nil, eos.UnknownTopic.Errorf("topic %q does not exist any more", topic)
		}
		*next = cursor{topicID: at.topicID, first: at.first, offsets: append([]int64(nil), at.offsets...)}
		pages, err = s.pages(ctx, t, next, ends, maxRecords, maxBytes)
		if err != nil || len(pages) > 0 {
			return nil, err
		}
		return ends, nil
	})
	return pages, next, err
}

// start returns the topic and the position that the parameters name.
func (s *server) start(ctx context.Context, topic string, params api.FetchTopicParams) (*store.Topic, *cursor, error) {
	if params.Cursor != nil && params.At != nil {
		return nil, nil, eos.InvalidParameter.Errorf("cursor and at exclude each other")
	}
	at, err := parseAt(value(params.At, "earliest"))
	if err != nil {
		return nil, nil, err
	}
	var given *cursor
	if params.Cursor != nil {
		if given, err = decodeCursor(*params.Cursor); err != nil {
			return nil, nil, err
		}
	}
	t, positions, err := s.store.Positions(ctx, topic, at)
	if err != nil {
		return nil, nil, err
	}
	c := &cursor{topicID: t.ID, offsets: make([]int64, len(positions))}
	for i, p := range positions {
		c.offsets[i] = p.Offset
	}
	if given == nil {
		return t, c, nil
	}
	if given.topicID != t.ID {
		other, err := s.store.TopicExists(ctx, given.topicID)
		switch {
		case err != nil:
			return nil, nil, err
		case other:
			return nil, nil, eos.InvalidParameter.Errorf("the cursor is of another topic than %q", topic)
		}
		gone := eos.OffsetBelowStart.Errorf("the cursor is of a topic %q that was deleted", topic)
		gone.NextCursor = c.encode()
		return nil, nil, gone
	}
	if len(given.offsets) > len(c.offsets) {
		return nil, nil, errMalformedCursor
	}
	// Partitions that were added since are read from their start.
	given.offsets = append(given.offsets, c.offsets[len(given.offsets):]...)
	return t, given, nil
}

// pages reads the partitions that have more than c has read, and moves c.
func (s *server) pages(ctx context.Context, t *store.Topic, c *cursor, ends map[int64]int64, maxRecords, maxBytes int) ([]*store.Page, error) {
	var pages []*store.Page
	first, count := c.first, len(c.offsets)
	for i := range count {
		p := (first + i) % count
		if maxRecords <= 0 || maxBytes <= 0 {
			break
		}
		if c.offsets[p] == ends[t.PartitionIDs[p]] {
			continue
		}
		page, err := s.store.Fetch(ctx, t, store.Position{Partition: p, Offset: c.offsets[p]}, maxRecords, maxBytes)
		if err != nil {
			return nil, s.cursorGone(ctx, t, err)
		}
		if len(page.Records) == 0 {
			continue
		}
		for j := range page.Records {
			maxBytes -= page.Records[j].Size()
		}
		maxRecords -= len(page.Records)
		pages = append(pages, page)
		c.offsets[p] = page.NextOffset
		c.first = (p + 1) % count
	}
	return pages, nil
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
