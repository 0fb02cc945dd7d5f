package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// GroupOffset is the offset that a group is to have committed for a partition.
type GroupOffset struct {
	Group     string
	Topic     string
	Partition int
	Offset    int64
	From      *int64 // the committed offset that the client saw; nil when it does not say
	Metadata  *string
}

// partitionOffset is a GroupOffset of a partition that exists.
type partitionOffset struct {
	Group     string
	Topic     string
	Number    int   // of the partition
	Partition int64 // its id
	Offset    int64
	From      *int64
	Metadata  *string
}

// AddOffsets stages offsets in an open transaction. The same again changes
// nothing.
func (s *Store) AddOffsets(ctx context.Context, id string, caller Caller, offsets []GroupOffset) (*TransactionState, error) {
	var state *TransactionState
	err := s.write(ctx, func(ctx context.Context, tx *tx) (err error) {
		defer tx.doubt(&err)
		t, err := lockTransaction(ctx, tx.Conn, id)
		if err != nil {
			return err
		}
		if err := caller.check(ctx, tx.Conn, &t.Transaction, false); err != nil {
			return err
		}
		if err := t.CheckOngoing(); err != nil {
			return err
		}
		if err := stageOffsets(ctx, tx.Conn, t.ref, offsets); err != nil {
			return err
		}
		state, err = loadTransaction(ctx, tx.Conn, id)
		return err
	})
	return state, err
}

func stageOffsets(ctx context.Context, conn *pgx.Conn, ref int64, offsets []GroupOffset) error {
	const sql = `
		INSERT INTO staged_offsets (transaction_ref, group_id, partition_id, committed_offset, from_offset, metadata)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (transaction_ref, group_id, partition_id) DO UPDATE
		SET committed_offset = excluded.committed_offset,
		    from_offset = excluded.from_offset,
		    metadata = excluded.metadata`
	resolved, err := resolveOffsets(ctx, conn, offsets)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for _, o := range resolved {
		batch.Queue(sql, ref, o.Group, o.Partition, o.Offset, o.From, o.Metadata)
	}
	return conn.SendBatch(ctx, batch).Close()
}

// resolveOffsets finds the partitions that offsets name, and refuses an offset
// beyond the high watermark, which never falls.
func resolveOffsets(ctx context.Context, conn *pgx.Conn, offsets []GroupOffset) ([]partitionOffset, error) {
	const sql = `
		SELECT p.partition_id,
		       GREATEST(p.log_start_offset, COALESCE((SELECT b.base_offset + b.record_count FROM batches b
		                                              WHERE b.log_id = p.partition_id
		                                              ORDER BY b.base_offset DESC LIMIT 1), 0))
		FROM topics t
		JOIN partitions p ON p.topic_id = t.topic_id
		WHERE t.topic = $1 AND p.partition = $2`
	resolved := make([]partitionOffset, len(offsets))
	for i, o := range offsets {
		var id, highWatermark int64
		err := conn.QueryRow(ctx, sql, o.Topic, o.Partition).Scan(&id, &highWatermark)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, eos.UnknownTopic.Errorf("topic %q has no partition %d, or does not exist", o.Topic, o.Partition)
		}
		if err != nil {
			return nil, err
		}
		if err := eos.CheckOffset(o.Offset, highWatermark); err != nil {
			return nil, about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Partition)
		}
		resolved[i] = partitionOffset{Group: o.Group, Topic: o.Topic, Number: o.Partition, Partition: id, Offset: o.Offset, From: o.From, Metadata: o.Metadata}
	}
	return resolved, nil
}

func applyStagedOffsets(ctx context.Context, conn *pgx.Conn, ref int64) error {
	const sql = `
		SELECT o.group_id, t.topic, p.partition, o.partition_id, o.committed_offset, o.from_offset, o.metadata
		FROM staged_offsets o
		JOIN partitions p ON p.partition_id = o.partition_id
		JOIN topics t ON t.topic_id = p.topic_id
		WHERE o.transaction_ref = $1`
	const gone = `
		SELECT EXISTS (SELECT FROM staged_offsets o
		               WHERE o.transaction_ref = $1
		                 AND NOT EXISTS (SELECT FROM partitions p WHERE p.partition_id = o.partition_id))`
	var deleted bool
	if err := conn.QueryRow(ctx, gone, ref).Scan(&deleted); err != nil {
		return err
	}
	if deleted {
		return eos.UnknownTopic.Errorf("a topic that the transaction has offsets of was deleted: abort it")
	}
	rows, err := conn.Query(ctx, sql, ref)
	if err != nil {
		return err
	}
	offsets, err := pgx.CollectRows(rows, pgx.RowToStructByPos[partitionOffset])
	if err != nil {
		return err
	}
	return applyOffsets(ctx, conn, offsets)
}

// applyOffsets commits offsets, each only if the committed one is still the
// one that the client saw.
func applyOffsets(ctx context.Context, conn *pgx.Conn, offsets []partitionOffset) error {
	const lock = `
		SELECT c.committed_offset
		FROM committed_offsets c
		WHERE c.group_id = $1 AND c.partition_id = $2
		FOR UPDATE`
	const set = `
		INSERT INTO committed_offsets (group_id, partition_id, committed_offset, metadata)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (group_id, partition_id) DO UPDATE
		SET committed_offset = excluded.committed_offset, metadata = excluded.metadata`
	// The insert of a group's first offset for a partition; if another
	// transaction inserts it at the same moment, both are not the first.
	const first = `
		INSERT INTO committed_offsets (group_id, partition_id, committed_offset, metadata)
		VALUES ($1, $2, $3, $4)`
	slices.SortFunc(offsets, func(a, b partitionOffset) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Partition, b.Partition))
	})
	for _, o := range offsets {
		var committed *int64
		err := conn.QueryRow(ctx, lock, o.Group, o.Partition).Scan(&committed)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err := eos.CheckFrom(o.From, committed); err != nil {
			return about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Number)
		}
		sql := set
		if committed == nil && o.From != nil {
			sql = first
		}
		if _, err := conn.Exec(ctx, sql, o.Group, o.Partition, o.Offset, o.Metadata); err != nil {
			return err
		}
	}
	return nil
}
