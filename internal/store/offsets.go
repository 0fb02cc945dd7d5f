package store

import (
	"context"
	"errors"
	"strconv"
	"time"

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

	MemberID    string // who commits it; empty: the group must have no members
	MemberEpoch int64
}

func (o *GroupOffset) at() TopicPartition { return TopicPartition{o.Topic, o.Partition} }

// partitionOffset is a GroupOffset of a partition that exists.
type partitionOffset struct {
	Group       string
	Topic       string
	TopicID     int64
	Number      int // of the partition
	PartitionID int64
	Offset      int64
	From        *int64
	Metadata    *string

	MemberID    string
	MemberEpoch int64
}

// Print adds the offset to the fingerprint of what commits it, but for who does.
func (o *GroupOffset) Print(f *eos.Fingerprinter) {
	from, metadata := int64(-1), ""
	if o.From != nil {
		from = *o.From
	}
	if o.Metadata != nil {
		metadata = *o.Metadata
	}
	f.Text(o.Group)
	f.Text(o.Topic)
	f.Int(int64(o.Partition))
	f.Int(o.Offset)
	f.Int(from)
	f.Text(strconv.FormatBool(o.Metadata != nil))
	f.Text(metadata)
}

// fingerprintOffsets covers a request that stages offsets. Their member is part
// of it: one with a new epoch stages them again, or the commit would be refused.
func fingerprintOffsets(offsets []GroupOffset) eos.Fingerprint {
	f := eos.NewFingerprinter()
	for _, o := range offsets {
		o.Print(f)
		f.Text(o.MemberID)
		f.Int(o.MemberEpoch)
	}
	return f.Sum()
}

const (
	sqlStagedRequest = `
		SELECT expires_at
		FROM staged_requests
		WHERE transaction_ref = $1 AND fingerprint = $2`
	sqlStageRequest = `
		INSERT INTO staged_requests (transaction_ref, fingerprint, expires_at)
		VALUES ($1, $2, $3)`
)

// AddOffsets stages offsets in an open transaction, over those of the same
// partitions that are staged. An exact repeat of such a request gets its first
// answer, also when the transaction is committed, and changes nothing: one that
// comes late does not undo what was staged since (T4).
func (s *Store) AddOffsets(ctx context.Context, id string, caller Caller, offsets []GroupOffset) (*TransactionState, error) {
	var state *TransactionState
	fingerprint := fingerprintOffsets(offsets)
	staged := false // by a try whose answer may be lost
	err := s.write(ctx, func(ctx context.Context, tx *tx) (err error) {
		defer tx.doubt(&err)
		t, err := lockTransaction(ctx, tx.Conn, id)
		if err != nil {
			return err
		}
		var expires time.Time
		err = tx.QueryRow(ctx, sqlStagedRequest, t.ref, fingerprint[:]).Scan(&expires)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		verdict, refusal := t.DecideStage(err == nil)
		if err := caller.check(ctx, tx.Conn, &t.Transaction, refusal == nil && verdict == eos.Repeat); err != nil {
			return err
		}
		state = &t.TransactionState
		switch {
		case refusal != nil:
			return refusal
		case verdict == eos.Repeat:
			*state = TransactionState{Transaction: t.Transaction, ExpiresAt: expires, Repeated: !staged}
			state.State = eos.StateOngoing // as it was
			return nil
		}
		if err := stageOffsets(ctx, tx.Conn, t.ref, offsets); err != nil {
			return err
		}
		staged = true
		_, err = tx.Exec(ctx, sqlStageRequest, t.ref, fingerprint[:], state.ExpiresAt)
		return err
	})
	s.writer.forget(id)
	if err != nil {
		return nil, err
	}
	return state, nil
}

const sqlStageOffsets = `
	INSERT INTO staged_offsets (transaction_ref, group_id, partition_id, committed_offset, from_offset, metadata, member_id, member_epoch)
	SELECT $1, o.*
	FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[]) AS o
	ON CONFLICT (transaction_ref, group_id, partition_id) DO UPDATE
	SET committed_offset = excluded.committed_offset,
	    from_offset = excluded.from_offset,
	    metadata = excluded.metadata,
	    member_id = excluded.member_id,
	    member_epoch = excluded.member_epoch`

func stageOffsets(ctx context.Context, conn *pgx.Conn, ref int64, offsets []GroupOffset) error {
	if len(offsets) == 0 {
		return nil
	}
	targets := make([]target, len(offsets))
	// Without locks: the commit asks again.
	checks, asked := commitChecks{}, offsetsToCheck(offsets, nil)
	batch := &pgx.Batch{}
	queueTargets(batch, offsets, func(i int, t target) { targets[i] = t })
	checks.queue(batch, &asked, false)
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	resolved := make([]partitionOffset, len(offsets))
	var err error
	for i, o := range offsets {
		if resolved[i], err = o.in(targets[i]); err != nil {
			return err
		}
	}
	if err := checks.check(resolved); err != nil {
		return err
	}
	c := columnsOf(resolved)
	_, err = conn.Exec(ctx, sqlStageOffsets, ref, c.groups, c.partitions, c.offsets, c.from, c.metadata, c.members, c.epochs)
	return err
}

// offsetColumns are offsets as one slice a column.
type offsetColumns struct {
	groups     []string
	partitions []int64
	offsets    []int64
	from       []*int64
	metadata   []*string
	members    []*string
	epochs     []*int64
}

func columnsOf(offsets []partitionOffset) offsetColumns {
	var c offsetColumns
	for _, o := range offsets {
		c.groups, c.partitions, c.offsets = append(c.groups, o.Group), append(c.partitions, o.PartitionID), append(c.offsets, o.Offset)
		c.from, c.metadata = append(c.from, o.From), append(c.metadata, o.Metadata)
		c.members = append(c.members, orNull(o.MemberID))
		if o.MemberID == "" {
			c.epochs = append(c.epochs, nil)
		} else {
			c.epochs = append(c.epochs, &o.MemberEpoch)
		}
	}
	return c
}

const sqlResolveOffsets = `
	SELECT k.i, r.topic_id, r.partition_id, r.high_watermark
	FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS k (topic, partition, i)
	CROSS JOIN LATERAL (
		SELECT p.topic_id, p.partition_id,
		       ` + sqlHighWatermark + ` AS high_watermark
		FROM partitions p
		WHERE p.topic_id = (SELECT t.topic_id FROM topics t WHERE t.topic = k.topic) AND p.partition = k.partition
		LIMIT 1) r`

// queueTargets queues the search for the partitions that offsets name; found is
// called with each that exists, and the index of its offset.
func queueTargets(batch *pgx.Batch, offsets []GroupOffset, found func(i int, t target)) {
	if len(offsets) == 0 {
		return
	}
	topics, numbers := make([]string, len(offsets)), make([]int32, len(offsets))
	for i, o := range offsets {
		topics[i], numbers[i] = o.Topic, int32(o.Partition)
	}
	batch.Queue(sqlResolveOffsets, topics, numbers).Query(func(rows pgx.Rows) error {
		var i int
		var t target
		return each(rows, []any{&i, &t.topicID, &t.id, &t.highWatermark}, func() { found(i-1, t) })
	})
}

// in returns the offset of a partition that was found, or refuses it: when it
// was not, and when the offset is beyond the high watermark.
func (o *GroupOffset) in(t target) (partitionOffset, error) {
	if t.id == 0 {
		return partitionOffset{}, eos.UnknownTopic.Errorf("topic %q has no partition %d, or does not exist", o.Topic, o.Partition)
	}
	if err := eos.CheckOffset(o.Offset, t.highWatermark); err != nil {
		return partitionOffset{}, about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Partition)
	}
	return partitionOffset{
		Group: o.Group, Topic: o.Topic, TopicID: t.topicID, Number: o.Partition, PartitionID: t.id, Offset: o.Offset,
		From: o.From, Metadata: o.Metadata, MemberID: o.MemberID, MemberEpoch: o.MemberEpoch,
	}, nil
}
