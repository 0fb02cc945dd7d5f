package store

import (
	"context"
	"errors"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// DeleteRecords raises the start of a partition's log behind all batches that
// end at an offset or below it, which is Kafka's DeleteRecords but that only
// whole batches leave (R1). It returns eos.UnknownTopic, and
// eos.OffsetBeyondEnd for an offset beyond the high watermark.
func (s *Store) DeleteRecords(ctx context.Context, t *Topic, partition int, before int64) error {
	id, err := t.PartitionID(partition)
	if err != nil {
		return err
	}
	start, highWatermark, err := s.spanOf(ctx, t, id)
	if err != nil {
		return err
	}
	if before > highWatermark {
		return eos.CheckPosition(before, start, highWatermark)
	}
	raised, err := s.raise(ctx, retained{partition: id, start: start, Retention: all, before: before})
	return halfWay(raised, err)
}

// halfWay returns the error of a deletion. One that has begun has had an effect.
func halfWay(begun bool, err error) error {
	if begun && errors.As(err, new(*eos.Error)) {
		return eos.Lost("a part of the records is deleted: send the same again")
	}
	return err
}

// all is the retention of what everything has expired for.
var all = eos.Retention{MS: -1, Bytes: 0}

// DeleteRecordsBefore does the same in all partitions of a topic, or in one if
// partition is not negative, with the batches that were appended before a time
// by the database's clock, which must not lie in its future: so the same again
// deletes nothing else.
func (s *Store) DeleteRecordsBefore(ctx context.Context, t *Topic, partition int, before time.Time) error {
	now, err := s.Clock(ctx)
	if err != nil {
		return err
	}
	if before.After(now) {
		return eos.InvalidParameter.Errorf("before is in the future of the database's clock")
	}
	ids := t.PartitionIDs
	if partition >= 0 {
		id, err := t.PartitionID(partition)
		if err != nil {
			return err
		}
		ids = []int64{id}
	}
	begun := false
	for _, id := range ids {
		start, _, err := s.spanOf(ctx, t, id)
		if err != nil {
			return halfWay(begun, err)
		}
		raised, err := s.raise(ctx, retained{partition: id, start: start, Retention: all, before: eos.MaxInteger, notSince: before})
		if begun = begun || raised; err != nil {
			return halfWay(begun, err)
		}
	}
	return nil
}

// spanOf returns where a partition's log begins and ends, or eos.UnknownTopic
// when it is gone.
func (s *Store) spanOf(ctx context.Context, t *Topic, id int64) (logStart, highWatermark int64, err error) {
	logStart, highWatermark, err = s.span(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.gone(t.Name)
	}
	return logStart, highWatermark, err
}
