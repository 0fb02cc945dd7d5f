package store

import (
	"cmp"
	"context"
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
		SELECT $1, o.*
		FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) AS o
		ON CONFLICT (transaction_ref, group_id, partition_id) DO UPDATE
		SET committed_offset = excluded.committed_offset,
		    from_offset = excluded.from_offset,
		    metadata = excluded.metadata`
	resolved, err := resolveOffsets(ctx, conn, offsets)
	if err != nil || len(resolved) == 0 {
		return err
	}
	c := columnsOf(resolved)
	_, err = conn.Exec(ctx, sql, ref, c.groups, c.partitions, c.offsets, c.from, c.metadata)
	return err
}

// offsetColumns are offsets as one slice a column.
type offsetColumns struct {
	groups     []string
	partitions []int64
	offsets    []int64
	from       []*int64
	metadata   []*string
}

func columnsOf(offsets []partitionOffset) offsetColumns {
	var c offsetColumns
	for _, o := range offsets {
		c.groups, c.partitions, c.offsets = append(c.groups, o.Group), append(c.partitions, o.Partition), append(c.offsets, o.Offset)
		c.from, c.metadata = append(c.from, o.From), append(c.metadata, o.Metadata)
	}
	return c
}

// resolveOffsets finds the partitions that offsets name, and refuses an offset
// beyond the high watermark, which never falls.
func resolveOffsets(ctx context.Context, conn *pgx.Conn, offsets []GroupOffset) ([]partitionOffset, error) {
	const sql = `
		SELECT k.i, r.partition_id, r.high_watermark
		FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS k (topic, partition, i)
		CROSS JOIN LATERAL (
			SELECT p.partition_id,
			       ` + sqlHighWatermark + ` AS high_watermark
			FROM partitions p
			WHERE p.topic_id = (SELECT t.topic_id FROM topics t WHERE t.topic = k.topic) AND p.partition = k.partition
			LIMIT 1) r`
	if len(offsets) == 0 {
		return nil, nil
	}
	topics, numbers := make([]string, len(offsets)), make([]int32, len(offsets))
	for i, o := range offsets {
		topics[i], numbers[i] = o.Topic, int32(o.Partition)
	}
	rows, err := conn.Query(ctx, sql, topics, numbers)
	if err != nil {
		return nil, err
	}
	ids, ends := make([]int64, len(offsets)), make([]int64, len(offsets))
	var i, id, end int64
	if err := each(rows, []any{&i, &id, &end}, func() { ids[i-1], ends[i-1] = id, end }); err != nil {
		return nil, err
	}
	resolved := make([]partitionOffset, len(offsets))
	for i, o := range offsets {
		if ids[i] == 0 {
			return nil, eos.UnknownTopic.Errorf("topic %q has no partition %d, or does not exist", o.Topic, o.Partition)
		}
		if err := eos.CheckOffset(o.Offset, ends[i]); err != nil {
			return nil, about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Partition)
		}
		resolved[i] = partitionOffset{Group: o.Group, Topic: o.Topic, Number: o.Partition, Partition: ids[i], Offset: o.Offset, From: o.From, Metadata: o.Metadata}
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
		SELECT k.i, c.committed_offset
		FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS k (group_id, partition_id, i)
		JOIN committed_offsets c ON c.group_id = k.group_id AND c.partition_id = k.partition_id
		ORDER BY c.group_id, c.partition_id
		FOR UPDATE OF c`
	// A group's first offset for a partition, over a from, is inserted: if
	// another transaction inserts one at the same moment, not both are the first.
	const insert = `
		INSERT INTO committed_offsets (group_id, partition_id, committed_offset, metadata)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[])`
	const upsert = insert + `
		ON CONFLICT (group_id, partition_id) DO UPDATE
		SET committed_offset = excluded.committed_offset, metadata = excluded.metadata`
	if len(offsets) == 0 {
		return nil
	}
	slices.SortFunc(offsets, func(a, b partitionOffset) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Partition, b.Partition))
	})
	all := columnsOf(offsets)
	rows, err := conn.Query(ctx, lock, all.groups, all.partitions)
	if err != nil {
		return err
	}
	committed := make([]*int64, len(offsets))
	var i, stands int64
	if err := each(rows, []any{&i, &stands}, func() { offset := stands; committed[i-1] = &offset }); err != nil {
		return err
	}
	var first, others []partitionOffset
	for i, o := range offsets {
		if err := eos.CheckFrom(o.From, committed[i]); err != nil {
			return about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Number)
		}
		if committed[i] == nil && o.From != nil {
			first = append(first, o)
		} else {
			others = append(others, o)
		}
	}
	batch := &pgx.Batch{}
	if len(first) > 0 {
		c := columnsOf(first)
		batch.Queue(insert, c.groups, c.partitions, c.offsets, c.metadata)
	}
	if len(others) > 0 {
		c := columnsOf(others)
		batch.Queue(upsert, c.groups, c.partitions, c.offsets, c.metadata)
	}
	return conn.SendBatch(ctx, batch).Close()
}
