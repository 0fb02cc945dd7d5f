package store

import (
	"bytes"
	"context"
	"errors"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Position is where to read a partition from.
type Position struct {
	Partition int
	Offset    int64
}

// At names a position by time: At >= 0 is a timestamp in milliseconds.
type At int64

// The positions that are not times.
const (
	Earliest At = -2
	Latest   At = -1
)

// batchesAtOnce bounds how many rows one query returns.
const batchesAtOnce = 256

// Record returns one record, or the errors of Reader.Next; there is none at the
// high watermark.
func (s *Store) Record(ctx context.Context, t *Topic, pos Position) (record Record, err error) {
	r, err := s.NewReader(t, pos, 1, 1)
	if err != nil {
		return Record{}, err
	}
	found := false
	_, err = r.Next(ctx, func(b *Batch, from, _ int) error {
		kept := *b
		kept.Body = bytes.Clone(b.Body) // the batch is another's when Next returns
		record, found = kept.Record(from), true
		return nil
	})
	if err == nil && !found {
		err = eos.CheckRecord(pos.Offset, r.LogStartOffset, r.HighWatermark)
	}
	return record, err
}

// Ends returns the high watermarks of partitions by id. Those that are gone
// are left out.
func (s *Store) Ends(ctx context.Context, ids []int64) (map[int64]int64, error) {
	const sql = `
		SELECT p.partition_id,
		       ` + sqlHighWatermark + `
		FROM partitions p
		WHERE p.partition_id = ANY ($1)`
	return s.sizes(ctx, sql, ids)
}

func (s *Store) sizes(ctx context.Context, sql string, ids []int64) (map[int64]int64, error) {
	sizes := make(map[int64]int64, len(ids))
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, ids)
		if err != nil {
			return err
		}
		var id, size int64
		return each(rows, []any{&id, &size}, func() { sizes[id] = size })
	})
	return sizes, err
}

// Sizes returns what may grow by ids: of partitions the high watermarks, as Ends
// does, and of topics how many partitions they have. What is gone is left out.
func (s *Store) Sizes(ctx context.Context, ids []int64) (map[int64]int64, error) {
	const sql = `
		SELECT p.partition_id,
		       ` + sqlHighWatermark + `
		FROM partitions p
		WHERE p.partition_id = ANY ($1)
		UNION ALL
		SELECT t.topic_id, t.partition_count
		FROM topics t
		WHERE t.topic_id = ANY ($1)`
	return s.sizes(ctx, sql, ids)
}

// Positions returns the offset of every partition at a time: of the first
// record with that timestamp or a later one, else the high watermark.
func (s *Store) Positions(ctx context.Context, name string, at At) (*Topic, []Position, error) {
	var t *Topic
	var positions []Position
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var err error
		if t, err = loadTopic(ctx, conn, name); err != nil {
			return err
		}
		state, err := loadState(ctx, conn, t)
		if err != nil {
			return err
		}
		t = state.Topic
		positions = make([]Position, 0, len(state.Partitions))
		for _, p := range state.Partitions {
			offset := p.LogStartOffset
			switch at {
			case Earliest:
			case Latest:
				offset = p.HighWatermark
			default:
				if offset, err = offsetAt(ctx, conn, t.PartitionIDs[p.Partition], int64(at), p); err != nil {
					return err
				}
			}
			positions = append(positions, Position{p.Partition, offset})
		}
		return nil
	})
	return t, positions, err
}

// PositionAt is Positions for one partition.
func (s *Store) PositionAt(ctx context.Context, t *Topic, partition int, at At) (Position, error) {
	id, err := t.PartitionID(partition)
	if err != nil {
		return Position{}, err
	}
	pos := Position{Partition: partition}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var logStart, highWatermark int64
		err := conn.QueryRow(ctx, sqlSpan, id).Scan(&logStart, &highWatermark)
		if errors.Is(err, pgx.ErrNoRows) {
			return s.gone(t.Name)
		}
		if err != nil {
			return err
		}
		switch at {
		case Earliest:
			pos.Offset = logStart
		case Latest:
			pos.Offset = highWatermark
		default:
			pos.Offset, err = offsetAt(ctx, conn, id, int64(at), PartitionState{LogStartOffset: logStart, HighWatermark: highWatermark})
		}
		return err
	})
	return pos, err
}

// offsetAt finds the first record at or after a timestamp. Timestamps may go
// up and down along a log, but max_timestamp, which is that of all records so
// far, only goes up: the first batch in which it reaches the timestamp holds
// the record, and is found by halving the offsets.
func offsetAt(ctx context.Context, conn *pgx.Conn, log, timestamp int64, p PartitionState) (int64, error) {
	const probe = `
		SELECT base_offset, record_count, max_timestamp
		FROM batches
		WHERE log_id = $1 AND base_offset <= $2
		ORDER BY base_offset DESC LIMIT 1`
	const from = `
		SELECT base_offset, record_count, timestamp, timestamps
		FROM batches
		WHERE log_id = $1 AND base_offset >= $2
		ORDER BY base_offset
		LIMIT $3`
	low, high := p.LogStartOffset, p.HighWatermark // the batch begins in [low, high], high if there is none
	for low < high {
		var base, maxTimestamp int64
		var count int
		err := conn.QueryRow(ctx, probe, log, low+(high-low)/2).Scan(&base, &count, &maxTimestamp)
		if errors.Is(err, pgx.ErrNoRows) { // retention has removed it since
			low += (high-low)/2 + 1
			continue
		}
		if err != nil {
			return 0, err
		}
		if maxTimestamp >= timestamp {
			high = base
		} else {
			low = base + int64(count)
		}
	}
	// It is the first batch, unless retention removed the record that raised
	// max_timestamp: then go on until a record has it, some batches at a time.
	for limit := 1; ; limit = batchesAtOnce {
		rows, err := conn.Query(ctx, from, log, low, limit)
		if err != nil {
			return 0, err
		}
		found, batches := int64(-1), 0
		var b Batch
		err = each(rows, []any{&b.BaseOffset, &b.Count, &b.Timestamp, &b.Timestamps}, func() {
			batches++
			for i := 0; i < b.Count && found < 0; i++ {
				if b.TimestampAt(i) >= timestamp {
					found = b.BaseOffset + int64(i)
				}
			}
			low = b.BaseOffset + int64(b.Count)
		})
		switch {
		case err != nil:
			return 0, err
		case found >= 0:
			return found, nil
		case batches < limit:
			return max(p.HighWatermark, low), nil
		}
	}
}
