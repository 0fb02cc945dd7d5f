package store

import (
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// What is written of a member fails with a division by zero unless its deadline
// and previous epoch are as they were read: nothing else of it can have changed,
// as the group is locked.
const (
	sqlSaveGroup = `
		UPDATE groups
		SET epoch = $2,
		    sweep_at = $3,
		    idle_since = CASE WHEN $3::timestamptz IS NULL THEN COALESCE(idle_since, clock_timestamp()) END
		WHERE group_id = $1`
	sqlDeleteMembers = `
		WITH gone AS (
			DELETE FROM members m
			USING unnest($2::text[], $3::bigint[], $4::timestamptz[]) AS k (member_id, previous_epoch, expires_at)
			WHERE m.group_id = $1 AND m.member_id = k.member_id
			  AND m.previous_epoch = k.previous_epoch AND m.expires_at = k.expires_at
			RETURNING m.member_id
		)
		SELECT 1 / (count(*) = cardinality($2))::integer
		FROM gone`
	sqlRememberReplaced = `
		INSERT INTO replaced_members (group_id, member_id)
		SELECT $1, r.member_id
		FROM unnest($2::text[]) AS r (member_id)
		ON CONFLICT (group_id, member_id) DO UPDATE
		SET replaced_at = excluded.replaced_at`
	sqlInsertMember = `
		INSERT INTO members (group_id, member_id, instance_id, topics, topics_pattern, assignor, auto_offset_reset,
		                     session_timeout_ms, rebalance_timeout_ms, member_epoch, previous_epoch, expires_at, revoke_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	sqlUpdateMember = `
		WITH done AS (
			UPDATE members
			SET instance_id = $3, topics = $4, topics_pattern = $5, assignor = $6, auto_offset_reset = $7,
			    session_timeout_ms = $8, rebalance_timeout_ms = $9, member_epoch = $10, previous_epoch = $11,
			    expires_at = $12, revoke_by = $13
			WHERE group_id = $1 AND member_id = $2 AND previous_epoch = $14 AND expires_at = $15
			RETURNING member_id
		)
		SELECT 1 / (count(*) = 1)::integer
		FROM done`
	sqlExtend = `
		UPDATE members
		SET expires_at = $3
		WHERE group_id = $1 AND member_id = $2 AND expires_at < $3`
	sqlSaveOwned = `
		INSERT INTO group_partitions (group_id, topic_id, partition, owner_id, since_epoch, revoking, target_id)
		SELECT $1, o.topic_id, o.partition, NULLIF(o.owner_id, ''), NULLIF(o.since_epoch, 0), o.revoking, NULLIF(o.target_id, '')
		FROM unnest($2::bigint[], $3::integer[], $4::text[], $5::bigint[], $6::boolean[], $7::text[])
		     AS o (topic_id, partition, owner_id, since_epoch, revoking, target_id)
		ON CONFLICT (group_id, topic_id, partition) DO UPDATE
		SET owner_id = excluded.owner_id,
		    since_epoch = excluded.since_epoch,
		    revoking = excluded.revoking,
		    target_id = excluded.target_id`
	sqlDropPartitions = `
		DELETE FROM group_partitions g
		USING unnest($2::bigint[], $3::integer[]) AS k (topic_id, partition)
		WHERE g.group_id = $1 AND g.topic_id = k.topic_id AND g.partition = k.partition`
)

// queueChange queues the rows of a change.
func (g *loadedGroup) queueChange(batch *pgx.Batch, c *eos.Change) {
	if c.Empty() {
		return
	}
	if c.Group != 0 {
		batch.Queue(sqlSaveGroup, g.ID, c.Group, g.sweepBy(false))
	}
	if len(c.Left) > 0 {
		g.queueDelete(batch, c.Left)
	}
	if len(c.Replaced) > 0 {
		g.queueDelete(batch, c.Replaced)
		batch.Queue(sqlRememberReplaced, g.ID, c.Replaced)
	}
	for _, m := range c.Members {
		g.queueMember(batch, m)
	}
	if c.Extended != nil {
		batch.Queue(sqlExtend, g.ID, c.Extended.MemberID, c.Extended.ExpiresAt)
	}
	if len(c.Owned) > 0 {
		g.queueOwned(batch, c.Owned)
	}
	if len(c.Dropped) > 0 {
		topics, numbers := make([]int64, len(c.Dropped)), make([]int32, len(c.Dropped))
		for i, p := range c.Dropped {
			topics[i], numbers[i] = p.Topic, int32(p.Number)
		}
		batch.Queue(sqlDropPartitions, g.ID, topics, numbers)
	}
}

// sweepBy returns a time that no deadline of a member is before: the one that
// stands if it still is one, or else, or if it shall be exact, the first
// deadline. It is nil when there are no members.
func (g *loadedGroup) sweepBy(exact bool) *time.Time {
	var first *time.Time
	before := func(t time.Time) {
		if first == nil || t.Before(*first) {
			first = &t
		}
	}
	for _, m := range g.Members {
		before(m.ExpiresAt)
		if !m.RevokeBy.IsZero() {
			before(m.RevokeBy)
		}
	}
	if !exact && first != nil && g.sweepAt != nil && g.sweepAt.Before(*first) {
		return g.sweepAt
	}
	return first
}

func (g *loadedGroup) queueDelete(batch *pgx.Batch, ids []string) {
	previous, deadlines := make([]int64, len(ids)), make([]time.Time, len(ids))
	for i, id := range ids {
		previous[i], deadlines[i] = g.read[id].Previous, g.read[id].ExpiresAt
	}
	batch.Queue(sqlDeleteMembers, g.ID, ids, previous, deadlines)
}

func (g *loadedGroup) queueMember(batch *pgx.Batch, m *eos.Member) {
	var topics []string // null when there is a pattern
	if m.Pattern == "" {
		topics = m.Topics
	}
	var revokeBy *time.Time
	if !m.RevokeBy.IsZero() {
		revokeBy = &m.RevokeBy
	}
	args := []any{
		g.ID, m.MemberID, orNull(m.InstanceID), topics, orNull(m.Pattern), orNull(m.Assignor), m.AutoOffsetReset,
		m.SessionTimeout.Milliseconds(), m.RebalanceTimeout.Milliseconds(), m.Epoch, m.Previous, m.ExpiresAt, revokeBy,
	}
	if old, known := g.read[m.MemberID]; known {
		batch.Queue(sqlUpdateMember, append(args, old.Previous, old.ExpiresAt)...)
		return
	}
	batch.Queue(sqlInsertMember, args...)
}

func (g *loadedGroup) queueOwned(batch *pgx.Batch, rows []*eos.Ownership) {
	n := len(rows)
	topics, numbers, since := make([]int64, n), make([]int32, n), make([]int64, n)
	owners, targets, revoking := make([]string, n), make([]string, n), make([]bool, n)
	for i, o := range rows {
		topics[i], numbers[i], since[i] = o.Topic, int32(o.Number), o.Since
		owners[i], targets[i], revoking[i] = o.Owner, o.Target, o.Revoking
	}
	batch.Queue(sqlSaveOwned, g.ID, topics, numbers, owners, since, revoking, targets)
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
