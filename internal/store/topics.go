package store

import (
	"context"
	"errors"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
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

// gone forgets a topic of which a partition is gone, and returns the refusal.
func (s *Store) gone(name string) error {
	s.Forget(name)
	return unknownTopic(name)
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
