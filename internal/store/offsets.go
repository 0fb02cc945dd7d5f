package store

import (
	"context"

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
	s.writer.forget(id)
	return state, err
}

const sqlStageOffsets = `
	INSERT INTO staged_offsets (transaction_ref, group_id, partition_id, committed_offset, from_offset, metadata)
	SELECT $1, o.*
	FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) AS o
	ON CONFLICT (transaction_ref, group_id, partition_id) DO UPDATE
	SET committed_offset = excluded.committed_offset,
	    from_offset = excluded.from_offset,
	    metadata = excluded.metadata`

func stageOffsets(ctx context.Context, conn *pgx.Conn, ref int64, offsets []GroupOffset) error {
	resolved, err := resolveOffsets(ctx, conn, offsets)
	if err != nil || len(resolved) == 0 {
		return err
	}
	c := columnsOf(resolved)
	_, err = conn.Exec(ctx, sqlStageOffsets, ref, c.groups, c.partitions, c.offsets, c.from, c.metadata)
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

const sqlResolveOffsets = `
	SELECT k.i, r.partition_id, r.high_watermark
	FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS k (topic, partition, i)
	CROSS JOIN LATERAL (
		SELECT p.partition_id,
		       ` + sqlHighWatermark + ` AS high_watermark
		FROM partitions p
		WHERE p.topic_id = (SELECT t.topic_id FROM topics t WHERE t.topic = k.topic) AND p.partition = k.partition
		LIMIT 1) r`

// resolveOffsets finds the partitions that offsets name, and refuses an offset
// beyond the high watermark, which never falls.
func resolveOffsets(ctx context.Context, conn *pgx.Conn, offsets []GroupOffset) ([]partitionOffset, error) {
	if len(offsets) == 0 {
		return nil, nil
	}
	topics, numbers := make([]string, len(offsets)), make([]int32, len(offsets))
	for i, o := range offsets {
		topics[i], numbers[i] = o.Topic, int32(o.Partition)
	}
	rows, err := conn.Query(ctx, sqlResolveOffsets, topics, numbers)
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
		if resolved[i], err = o.in(ids[i], ends[i]); err != nil {
			return nil, err
		}
	}
	return resolved, nil
}

// in returns the offset of a partition by its id, 0 when there is none; or
// refuses it when it is beyond the high watermark.
func (o *GroupOffset) in(id, highWatermark int64) (partitionOffset, error) {
	if id == 0 {
		return partitionOffset{}, eos.UnknownTopic.Errorf("topic %q has no partition %d, or does not exist", o.Topic, o.Partition)
	}
	if err := eos.CheckOffset(o.Offset, highWatermark); err != nil {
		return partitionOffset{}, about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Partition)
	}
	return partitionOffset{Group: o.Group, Topic: o.Topic, Number: o.Partition, Partition: id, Offset: o.Offset, From: o.From, Metadata: o.Metadata}, nil
}
