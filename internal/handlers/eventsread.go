package handlers

import (
	"context"
	"encoding/base64"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// partitionEvents is a partition that is being followed. At the end of the log
// it reads by one Reader, which has the newest records from memory; behind that,
// by one for each piece, so that the database sends no more than fits into it.
type partitionEvents struct {
	server    *server
	name      string
	partition int
	from      partitionStart

	topic  *store.Topic  // one of the same name that comes later is another
	reader *store.Reader // has the position; nil before the first next
	behind bool          // the end
}

// No limit of a fetch ends a stream. Half of the largest number, as they are
// added up.
const endless = 1 << 53

// next hands out more of the partition.
func (p *partitionEvents) next(ctx context.Context, to *eventLines) (more bool, err error) {
	if p.reader != nil {
		err = p.read(ctx, to)
		return p.behind, err
	}
	err = p.server.onTopic(ctx, p.name, func(t *store.Topic) (err error) {
		if err = p.open(ctx, t, to); err == nil {
			err = p.read(ctx, to)
		}
		return err
	})
	return p.behind, err
}

func (p *partitionEvents) open(ctx context.Context, t *store.Topic, to *eventLines) error {
	pos, err := p.server.startOf(ctx, t, p.partition, p.from)
	if err != nil {
		return err
	}
	if p.from.offset < 0 && p.from.at != store.Earliest {
		to.place(strconv.AppendInt(nil, pos.Offset-1, 10))
	}
	if p.reader, err = p.server.store.NewReader(t, pos, endless, endless); err != nil {
		return err
	}
	p.topic = t
	p.reader.Follow()
	return nil
}

func (p *partitionEvents) read(ctx context.Context, to *eventLines) error {
	reader := p.reader
	if p.behind {
		var err error
		pos := store.Position{Partition: p.partition, Offset: reader.NextOffset}
		reader, err = p.server.store.NewReader(p.topic, pos, to.size/aroundEvent, to.size/2)
		if err != nil {
			return err
		}
	}
	next := reader.NextOffset
	_, err := reader.Next(ctx, func(b *store.Batch, from, end int) error {
		added, err := to.add(b, from, end, -1, appendOffset)
		next += int64(added)
		return err
	})
	p.reader.NextOffset, p.reader.HighWatermark = next, reader.HighWatermark
	p.behind = next < reader.HighWatermark
	return err
}

func appendOffset(to []byte, offset int64) []byte { return strconv.AppendInt(to, offset, 10) }

func (p *partitionEvents) moved(ctx context.Context) (bool, error) { return p.reader.Moved(ctx) }

func (p *partitionEvents) wait(w *wake.Waiter) { w.WaitOne(p.reader.Log(), p.reader.HighWatermark) }

// topicEvents are all partitions of a topic that are being followed, a piece of
// each that has more after the other.
type topicEvents struct {
	topicRound
	from topicStart

	binary     []byte // the cursor, before it is encoded
	reading    int    // the partition that is being read
	unfinished bool   // a partition of this round has more
}

// next hands out more of one partition.
func (t *topicEvents) next(ctx context.Context, to *eventLines) (more bool, err error) {
	if t.topic == nil {
		if err := t.begin(ctx, t.from); err != nil {
			return false, err
		}
		if t.from.given == nil && t.from.at != store.Earliest {
			to.place([]byte(t.cursor.encode()))
		}
	}
	if t.ends == nil {
		t.unfinished = false
		if err := t.readEnds(ctx); err != nil {
			return false, err
		}
	}
	if p, ok := t.unread(); ok {
		return true, t.read(ctx, p, to)
	}
	if t.unfinished {
		t.ends = nil
	}
	return t.unfinished, nil
}

// read hands out a piece of a partition.
func (t *topicEvents) read(ctx context.Context, p int, to *eventLines) error {
	t.reading = p
	// A record comes with the cursor, which may be longer than the record.
	records := max(1, to.size/(len(t.binary)+aroundEvent))
	reader, err := t.server.store.NewReader(t.topic, t.position(p), records, to.size/2)
	if err != nil {
		return err
	}
	_, err = reader.Next(ctx, func(b *store.Batch, from, end int) error {
		_, err := to.add(b, from, end, p, t.appendCursor)
		return err
	})
	if err != nil {
		return t.server.cursorGone(ctx, t.topic, err)
	}
	t.cursor.first = (p + 1) % len(t.cursor.offsets)
	t.unfinished = t.unfinished || t.cursor.offsets[p] != reader.HighWatermark
	return nil
}

// appendCursor moves the cursor behind a record of the partition that is being
// read, and appends it.
func (t *topicEvents) appendCursor(to []byte, offset int64) []byte {
	t.cursor.offsets[t.reading] = offset + 1
	t.binary = t.cursor.appendBinary(t.binary[:0])
	return base64.RawURLEncoding.AppendEncode(to, t.binary)
}
