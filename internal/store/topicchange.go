package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Settings are what a client may set of a topic; nil is "not given".
type Settings struct {
	PartitionCount *int
	RetentionMS    *int64
	RetentionBytes *int64
	MaxRecordBytes *int64
}

// The settings of a topic that was created without.
const (
	DefaultPartitionCount = 1
	DefaultRetentionMS    = 7 * 24 * 60 * 60 * 1000
	DefaultRetentionBytes = -1
)

// CreateTopic creates a topic, or returns the one that exists with the same
// settings; created reports which. Settings that are not given are not
// compared. It returns eos.TopicExists when they differ.
func (s *Store) CreateTopic(ctx context.Context, name string, set Settings, defaultMaxRecordBytes int64) (state *TopicState, created bool, err error) {
	const insertTopic = `
		INSERT INTO topics (topic, partition_count, retention_ms, retention_bytes, max_record_bytes)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (topic) DO NOTHING
		RETURNING topic_id`
	const insertPartitions = `
		INSERT INTO partitions (topic_id, partition)
		SELECT $1, i FROM generate_series(0, $2::integer - 1) AS i`
	made := false
	err = s.write(ctx, func(ctx context.Context, tx *tx) (err error) {
		defer tx.doubt(&err)
		var id int64
		count := value(set.PartitionCount, DefaultPartitionCount)
		err = tx.QueryRow(ctx, insertTopic, name, count,
			value(set.RetentionMS, DefaultRetentionMS), value(set.RetentionBytes, DefaultRetentionBytes),
			value(set.MaxRecordBytes, defaultMaxRecordBytes)).Scan(&id)
		created = err == nil
		switch {
		case created:
			made = true
			_, err = tx.Exec(ctx, insertPartitions, id, count)
		case errors.Is(err, pgx.ErrNoRows):
			created = tx.again && made // by the try whose answer was lost
			err = nil
		}
		if err != nil {
			return err
		}
		t, err := loadTopic(ctx, tx.Conn, name)
		if err != nil {
			return err
		}
		if diff := set.differ(t); diff != "" {
			return eos.TopicExists.Errorf("topic %q exists with %s", name, diff)
		}
		state, err = loadState(ctx, tx.Conn, t)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	s.remember(state.Topic)
	return state, created, nil
}

func value[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}

// differ returns the first given setting that t has otherwise, as "name has, not wanted"; empty: there is none.
func (set *Settings) differ(t *Topic) string {
	differs := func(name string, given *int64, has int64) string {
		if given == nil || *given == has {
			return ""
		}
		return fmt.Sprintf("%s %d, not %d", name, has, *given)
	}
	var count *int64
	if set.PartitionCount != nil {
		count = new(int64(*set.PartitionCount))
	}
	return cmp.Or(
		differs("partition_count", count, int64(len(t.PartitionIDs))),
		differs("retention_ms", set.RetentionMS, t.RetentionMS),
		differs("retention_bytes", set.RetentionBytes, t.RetentionBytes),
		differs("max_record_bytes", set.MaxRecordBytes, t.MaxRecordBytes),
	)
}

// Whoever appends holds a partition and then reads the partition count; so the
// count changes, and the topic goes, only under all partitions. The topic's own
// row comes first, so that none are added while they are being locked.
const (
	sqlLockTopic = `
		SELECT topic_id
		FROM topics
		WHERE topic = $1
		FOR UPDATE`
	sqlLockPartitionsOf = `
		SELECT p.partition_id
		FROM partitions p
		WHERE p.topic_id = (SELECT t.topic_id FROM topics t WHERE t.topic = $1)
		ORDER BY p.partition_id
		FOR UPDATE`
)

// UpdateTopic changes the given settings of a topic. It returns
// eos.InvalidPartitions for fewer partitions than there are.
func (s *Store) UpdateTopic(ctx context.Context, name string, set Settings) (*TopicState, error) {
	const update = `
		UPDATE topics
		SET partition_count = COALESCE($2, partition_count),
		    retention_ms = COALESCE($3, retention_ms),
		    retention_bytes = COALESCE($4, retention_bytes),
		    max_record_bytes = COALESCE($5, max_record_bytes)
		WHERE topic = $1
		RETURNING topic_id`
	const grow = `
		INSERT INTO partitions (topic_id, partition)
		SELECT $1, i
		FROM generate_series((SELECT count(*)::integer FROM partitions WHERE topic_id = $1), $2::integer - 1) AS i`
	var state *TopicState
	err := s.write(ctx, func(ctx context.Context, tx *tx) (err error) {
		defer tx.doubt(&err)
		if _, err := tx.Exec(ctx, sqlLockTopic, name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlLockPartitionsOf, name); err != nil {
			return err
		}
		old, err := loadTopic(ctx, tx.Conn, name)
		if err != nil {
			return err
		}
		if set.PartitionCount != nil && *set.PartitionCount < len(old.PartitionIDs) {
			return eos.InvalidPartitions.Errorf("topic %q has %d partitions, more than %d", name, len(old.PartitionIDs), *set.PartitionCount)
		}
		var id int64
		err = tx.QueryRow(ctx, update, name, set.PartitionCount, set.RetentionMS, set.RetentionBytes, set.MaxRecordBytes).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return unknownTopic(name)
		}
		if err != nil {
			return err
		}
		if set.PartitionCount != nil {
			if _, err := tx.Exec(ctx, grow, id, *set.PartitionCount); err != nil {
				return err
			}
		}
		t, err := loadTopic(ctx, tx.Conn, name)
		if err != nil {
			return err
		}
		state, err = loadState(ctx, tx.Conn, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.remember(state.Topic)
	return state, nil
}

// DeleteTopic deletes a topic with its records, sequences and keys; offsets that
// groups committed for it can be reached no more. The rows of its log and these
// offsets leave bit by bit (Sweep, ForgetOld). It returns eos.UnknownTopic for one
// that does not exist.
func (s *Store) DeleteTopic(ctx context.Context, name string) error {
	const dropPartitions = `
		WITH dropped AS (
			DELETE FROM partitions
			WHERE topic_id = (SELECT t.topic_id FROM topics t WHERE t.topic = $1)
			RETURNING partition_id
		)
		INSERT INTO dropped_logs (log_id)
		SELECT partition_id FROM dropped`
	const dropTopic = `DELETE FROM topics WHERE topic = $1`
	defer s.Forget(name)
	var doomed int64 // the topic that the first try found
	var logs []int64 // its partitions
	err := s.write(ctx, func(ctx context.Context, tx *tx) error {
		if _, err := tx.Exec(ctx, sqlLockTopic, name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlLockPartitionsOf, name); err != nil {
			return err
		}
		t, err := loadTopic(ctx, tx.Conn, name)
		switch {
		case tx.again && (errors.Is(err, unknownTopic(name)) || err == nil && t.ID != doomed):
			return nil // the lost try deleted it; another of that name is not this request's
		case err != nil:
			return err
		}
		doomed, logs = t.ID, t.PartitionIDs
		if _, err := tx.Exec(ctx, dropPartitions, name); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, dropTopic, name)
		return err
	})
	s.tail.drop(logs...)
	return err
}
