package store

import (
	"context"
	"errors"

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

// Topic is a topic as it was read. Its partitions may have grown since, or it
// may be gone: whoever writes finds out.
type Topic struct {
	ID             int64
	Name           string
	RetentionMS    int64
	RetentionBytes int64
	MaxRecordBytes int64
	PartitionIDs   []int64 // by partition number
}

// PartitionState is where the log of a partition begins and ends.
type PartitionState struct {
	Partition      int
	LogStartOffset int64
	HighWatermark  int64
	Bytes          int64 // size of the records, as limits count it
}

// TopicState is a topic with the state of its partitions.
type TopicState struct {
	*Topic
	Partitions []PartitionState
}

// Topic returns a topic by name, from memory if it was read before. It returns
// eos.UnknownTopic for one that does not exist.
func (s *Store) Topic(ctx context.Context, name string) (*Topic, error) {
	s.mu.RLock()
	t := s.topics[name]
	s.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var err error
		t, err = loadTopic(ctx, conn, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.remember(t)
	return t, nil
}

// Forget drops what is remembered of a topic, so that it is read again.
func (s *Store) Forget(name string) {
	s.mu.Lock()
	delete(s.topics, name)
	s.mu.Unlock()
}

func (s *Store) remember(t *Topic) {
	s.mu.Lock()
	s.topics[t.Name] = t
	s.mu.Unlock()
}

func loadTopic(ctx context.Context, conn *pgx.Conn, name string) (*Topic, error) {
	const sql = `
		SELECT t.topic_id, t.retention_ms, t.retention_bytes, t.max_record_bytes,
		       ARRAY (SELECT p.partition_id FROM partitions p
		              WHERE p.topic_id = t.topic_id ORDER BY p.partition)
		FROM topics t
		WHERE t.topic = $1`
	t := &Topic{Name: name}
	err := conn.QueryRow(ctx, sql, name).Scan(&t.ID, &t.RetentionMS, &t.RetentionBytes, &t.MaxRecordBytes, &t.PartitionIDs)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, unknownTopic(name)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func unknownTopic(name string) error {
	return eos.UnknownTopic.Errorf("topic %q does not exist", name)
}

// TopicExists reports whether there is a topic with an id.
func (s *Store) TopicExists(ctx context.Context, id int64) (exists bool, err error) {
	const sql = `SELECT EXISTS (SELECT FROM topics WHERE topic_id = $1)`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql, id).Scan(&exists)
	})
	return exists, err
}

// PartitionID returns the id of a partition, or eos.UnknownTopic.
func (t *Topic) PartitionID(partition int) (int64, error) {
	if partition < 0 || partition >= len(t.PartitionIDs) {
		return 0, eos.UnknownTopic.Errorf("topic %q has no partition %d", t.Name, partition)
	}
	return t.PartitionIDs[partition], nil
}

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
			return eos.TopicExists.Errorf("topic %q exists with another %s", name, diff)
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

// differ returns the name of the first given setting that t does not have.
func (set *Settings) differ(t *Topic) string {
	switch {
	case set.PartitionCount != nil && *set.PartitionCount != len(t.PartitionIDs):
		return "partition_count"
	case set.RetentionMS != nil && *set.RetentionMS != t.RetentionMS:
		return "retention_ms"
	case set.RetentionBytes != nil && *set.RetentionBytes != t.RetentionBytes:
		return "retention_bytes"
	case set.MaxRecordBytes != nil && *set.MaxRecordBytes != t.MaxRecordBytes:
		return "max_record_bytes"
	}
	return ""
}

// Whoever appends holds a partition and then reads the partition count; so the
// count changes, and the topic goes, only under all partitions. The topic's own
// row comes first, so that none are added while they are being locked.
const (
	lockTopic = `
	SELECT topic_id
	FROM topics
	WHERE topic = $1
	FOR UPDATE`
	lockPartitions = `
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
		if _, err := tx.Exec(ctx, lockTopic, name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, lockPartitions, name); err != nil {
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
// groups committed for it can be reached no more. The rows of its log leave bit
// by bit (Sweep). It returns
// eos.UnknownTopic for one that does not exist.
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
		if _, err := tx.Exec(ctx, lockTopic, name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, lockPartitions, name); err != nil {
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

// TopicState returns a topic as it is now.
func (s *Store) TopicState(ctx context.Context, name string) (*TopicState, error) {
	var state *TopicState
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		t, err := loadTopic(ctx, conn, name)
		if err != nil {
			return err
		}
		state, err = loadState(ctx, conn, t)
		return err
	})
	return state, err
}

// TopicSettings is a topic without its partitions.
type TopicSettings struct {
	Name           string
	PartitionCount int
	RetentionMS    int64
	RetentionBytes int64
	MaxRecordBytes int64
}

// Topics returns up to limit topics whose names follow after, in the order of
// their names' bytes, and whether there are more.
func (s *Store) Topics(ctx context.Context, after string, limit int) (topics []TopicSettings, more bool, err error) {
	const sql = `
		SELECT topic, partition_count, retention_ms, retention_bytes, max_record_bytes
		FROM topics
		WHERE topic > $1
		ORDER BY topic LIMIT $2`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, after, limit+1)
		if err != nil {
			return err
		}
		topics, err = pgx.CollectRows(rows, pgx.RowToStructByPos[TopicSettings])
		return err
	})
	if more = len(topics) > limit; more {
		topics = topics[:limit]
	}
	return topics, more, err
}

// loadState reads the partitions of a topic with their state, in one snapshot:
// those that t was read with may have grown since. It returns eos.UnknownTopic
// when the topic is gone.
func loadState(ctx context.Context, conn *pgx.Conn, t *Topic) (*TopicState, error) {
	const sql = `
		SELECT p.partition_id, p.partition, p.log_start_offset,
		       GREATEST(p.log_start_offset, COALESCE(b.base_offset + b.record_count, 0)),
		       GREATEST(0, COALESCE(b.end_bytes, 0) - p.log_start_bytes)
		FROM partitions p
		LEFT JOIN LATERAL (SELECT base_offset, record_count, end_bytes FROM batches
		                   WHERE log_id = p.partition_id
		                   ORDER BY base_offset DESC LIMIT 1) b ON true
		WHERE p.topic_id = $1
		ORDER BY p.partition`
	rows, err := conn.Query(ctx, sql, t.ID)
	if err != nil {
		return nil, err
	}
	now := *t
	now.PartitionIDs = nil
	state := &TopicState{Topic: &now}
	var id int64
	var p PartitionState
	err = each(rows, []any{&id, &p.Partition, &p.LogStartOffset, &p.HighWatermark, &p.Bytes}, func() {
		now.PartitionIDs = append(now.PartitionIDs, id)
		state.Partitions = append(state.Partitions, p)
	})
	if err == nil && len(state.Partitions) == 0 {
		err = unknownTopic(t.Name)
	}
	return state, err
}

func value[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}
