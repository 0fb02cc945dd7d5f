package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Reader is one fetch of a partition, bit by bit: between two calls of Next it
// holds no connection and none of the records, so that its caller may take the
// time that a slow client needs. What this proxy committed last it reads from
// memory. It is used by one goroutine.
type Reader struct {
	NextOffset     int64 // of the first record that was not handed out
	HighWatermark  int64 // as of the last Next or Moved
	LogStartOffset int64 // the same

	store *Store
	topic string
	log   int64

	maxRecords, maxBytes int
	records, bytes       int // handed out
	window               int // bytes of the batches behind the first
	begun                bool
	full                 bool
	known                bool // the ends were read after the Reader was made
	follows              bool
}

// NewReader returns a Reader of up to maxRecords records of a partition from an
// offset on, which stops before maxBytes of them are passed, but not before the
// first, and before a batch that is larger than what the first left of
// maxBytes. It returns eos.UnknownTopic for a partition that the topic does not
// have.
func (s *Store) NewReader(t *Topic, pos Position, maxRecords, maxBytes int) (*Reader, error) {
	id, err := t.PartitionID(pos.Partition)
	if err != nil {
		return nil, err
	}
	return s.NewLogReader(t.Name, id, pos.Offset, maxRecords, maxBytes), nil
}

// NewLogReader is NewReader for a partition that is known by its id.
func (s *Store) NewLogReader(topic string, log, offset int64, maxRecords, maxBytes int) *Reader {
	return &Reader{NextOffset: offset, store: s, topic: topic, log: log, maxRecords: maxRecords, maxBytes: maxBytes}
}

// Follow tells that the position is likely to be the end: then whether it is
// is asked first, together with others who ask.
func (r *Reader) Follow() { r.follows = true }

// Log returns the id of the partition.
func (r *Reader) Log() int64 { return r.log }

// partBytes is about how many bytes of records one Next reads, but for the
// first batch, which may have more.
const partBytes = 1 << 20

// Next reads on, and calls take for each batch that it found with the records
// of it, from one to before another, that the limits leave. It reports whether
// there may be more. It returns the error of take, or eos.OffsetBelowStart,
// eos.OffsetBeyondEnd and eos.UnknownTopic when the log does not have the
// position (any more).
func (r *Reader) Next(ctx context.Context, take func(b *Batch, from, to int) error) (more bool, err error) {
	if !r.known && (r.follows || r.inTail()) {
		if err := r.ask(ctx); err != nil || r.NextOffset == r.HighWatermark {
			return false, err
		}
	}
	if r.known {
		if found, err := r.fromTail(take); err != nil || found {
			return r.goesOn(), err
		}
	}
	if err := r.query(ctx, take); err != nil {
		return false, err
	}
	if r.NextOffset == r.HighWatermark {
		r.store.tail.want(r.log)
	}
	return r.goesOn(), nil
}

func (r *Reader) goesOn() bool { return !r.full && r.NextOffset < r.HighWatermark }

// Moved reports whether the log may have records behind the end that Next has
// found. It does not notice at once what other proxies write, but what this
// one wrote before the call.
func (r *Reader) Moved(ctx context.Context) (bool, error) {
	r.store.tail.want(r.log)
	if _, end, ok := r.store.tail.span(r.log); ok {
		return end > r.HighWatermark, nil
	}
	err := r.ask(ctx)
	return r.HighWatermark > r.NextOffset, err
}

// ask asks where the log begins and ends.
func (r *Reader) ask(ctx context.Context) error {
	logStart, highWatermark, err := r.store.span(ctx, r.log)
	if errors.Is(err, pgx.ErrNoRows) {
		return r.store.gone(r.topic)
	}
	if err != nil {
		return err
	}
	return r.found(logStart, highWatermark)
}

// found takes note of where the log begins and ends, and checks the position.
func (r *Reader) found(logStart, highWatermark int64) error {
	r.LogStartOffset, r.HighWatermark, r.known = logStart, highWatermark, true
	return eos.CheckPosition(r.NextOffset, logStart, highWatermark)
}

// inTail reports whether the position is in memory, or just behind.
func (r *Reader) inTail() bool {
	start, end, ok := r.store.tail.span(r.log)
	return ok && start <= r.NextOffset && r.NextOffset <= end
}

// fromTail hands out what is in memory from the position on, and reports
// whether that is anything. The ends were read since the fetch began, so that
// no record is missing that was acknowledged by then; and if the tail ends
// behind them, that was the log's end when it was written.
func (r *Reader) fromTail(take func(b *Batch, from, to int) error) (found bool, err error) {
	var few [8]*tailBatch
	batches, end := r.store.tail.read(few[:0], r.log, r.NextOffset, partBytes)
	if len(batches) == 0 {
		return false, nil
	}
	r.HighWatermark = max(r.HighWatermark, end)
	var b Batch
	for _, kept := range batches {
		b.inMemory(kept)
		if err := r.hand(&b, take); err != nil || r.full {
			return true, err
		}
	}
	return true, nil
}

// A part begins with the batch that holds the position, and ends before the
// one that passes the wanted bytes: both by the index, so that the cost follows
// the answer and not the log (F5). The ends of the log stand in each row, and
// in a row of their own where there is no batch.
const sqlFetch = `
	SELECT p.log_start_offset, e.high_watermark,
	       b.base_offset, b.record_count, b.timestamp, b.body, b.ends, b.flags, b.headers, b.timestamps
	FROM partitions p
	CROSS JOIN LATERAL (SELECT ` + sqlHighWatermark + ` AS high_watermark
	                    OFFSET 0) e -- once, not for each row
	LEFT JOIN LATERAL (SELECT base_offset, end_bytes
	                   FROM batches
	                   WHERE log_id = p.partition_id AND base_offset <= $2
	                   ORDER BY base_offset DESC LIMIT 1) first ON true
	-- Its own LIMIT keeps a generic plan from joining by reading the log from its start.
	LEFT JOIN LATERAL (SELECT base_offset, record_count, end_bytes, timestamp, body, ends, flags, headers, timestamps
	                   FROM batches
	                   WHERE log_id = p.partition_id AND base_offset >= first.base_offset AND base_offset < $2 + $3
	                   ORDER BY base_offset LIMIT $5) b
	       ON b.base_offset + b.record_count > $2 -- not the last batch for an answer without records
	      AND (b.base_offset = first.base_offset OR b.end_bytes <= first.end_bytes + $4)
	WHERE p.partition_id = $1
	ORDER BY b.base_offset`

// rowBatches are used for one query each.
var rowBatches = sync.Pool{New: func() any { return new(rowBatch) }}

// query hands out what the database has from the position on.
func (r *Reader) query(ctx context.Context, take func(b *Batch, from, to int) error) error {
	b, ok := rowBatches.Get().(*rowBatch)
	if !ok {
		panic("rowBatches holds what is none")
	}
	defer rowBatches.Put(b)
	// A second try, on another connection, goes on behind what was handed out.
	return r.store.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		before := r.NextOffset
		wanted := r.maxBytes - r.window
		part := min(wanted, partBytes)
		rows, err := conn.Query(ctx, sqlFetch, r.log, r.NextOffset, r.maxRecords-r.records, part, batchesAtOnce)
		if err != nil {
			return err
		}
		defer rows.Close()
		n := 0
		for ; rows.Next(); n++ {
			if r.full {
				continue
			}
			found, err := b.read(rows)
			if err != nil {
				return err
			}
			if n == 0 {
				err := r.found(b.logStart, b.highWatermark)
				if errors.Is(err, eos.OffsetBelowStart.Errorf("")) && r.begun {
					r.full = true // retention has passed an answer that has begun: it ends here
					continue
				}
				if err != nil {
					return err
				}
			}
			if found {
				if err := r.hand(&b.Batch, take); err != nil {
					return err
				}
			}
		}
		switch err := rows.Err(); {
		case err != nil:
			return err
		case n == 0:
			return r.store.gone(r.topic)
		case part == wanted && n < batchesAtOnce:
			r.full = r.full || r.NextOffset < r.HighWatermark // the next batch is too large
		}
		if r.goesOn() && r.NextOffset == before {
			return fmt.Errorf("the log %d has no batch at %d", r.log, before)
		}
		return nil
	})
}

// hand hands out what the limits leave of a batch, which holds the position.
func (r *Reader) hand(b *Batch, take func(b *Batch, from, to int) error) error {
	from := int(r.NextOffset - b.BaseOffset)
	size := b.Size(from, b.Count)
	if r.begun {
		if r.window += size; r.window > r.maxBytes {
			r.full = true
			return nil
		}
	}
	to := min(b.Count, from+r.maxRecords-r.records)
	if to < b.Count || r.bytes+size > r.maxBytes {
		to, size = r.fit(b, from, to)
	}
	if to > from {
		if err := take(b, from, to); err != nil {
			return err
		}
	}
	r.begun = true
	r.NextOffset += int64(to - from)
	r.records += to - from
	r.bytes += size
	r.full = to < b.Count || r.records >= r.maxRecords || r.bytes >= r.maxBytes
	return nil
}

// fit returns how many of the records from one to before another fit into what
// is left of the bytes, and their size. The very first always fits.
func (r *Reader) fit(b *Batch, from, to int) (end, size int) {
	for end = from; end < to; end++ {
		one := b.Size(end, end+1)
		if (r.records > 0 || end > from) && r.bytes+size+one > r.maxBytes {
			break
		}
		size += one
	}
	return end, size
}
