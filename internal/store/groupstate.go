package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// GroupSummary is a group in a list.
type GroupSummary struct {
	ID    string
	State string // one of eos.GroupEmpty, …
}

// Groups returns up to limit groups whose names follow after, in the order of
// their names' bytes, and whether there are more.
func (s *Store) Groups(ctx context.Context, after string, limit int) (groups []GroupSummary, more bool, err error) {
	const sql = `
		SELECT g.group_id,
		       CASE WHEN g.idle_since IS NOT NULL THEN $3::text
		            WHEN w.group_id IS NOT NULL THEN $4::text
		            ELSE $5::text END
		FROM groups g
		LEFT JOIN LATERAL (SELECT group_id
		                   FROM group_partitions
		                   WHERE group_id = g.group_id AND (owner_id IS DISTINCT FROM target_id OR revoking)
		                   LIMIT 1) w ON true
		WHERE g.group_id > $1
		ORDER BY g.group_id LIMIT $2`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, after, limit+1, eos.GroupEmpty, eos.GroupReconciling, eos.GroupStable)
		if err != nil {
			return err
		}
		groups, err = pgx.CollectRows(rows, pgx.RowToStructByPos[GroupSummary])
		return err
	})
	if more = len(groups) > limit; more {
		groups = groups[:limit]
	}
	return groups, more, err
}

// GroupState is a group as it is now.
type GroupState struct {
	GroupSummary
	Epoch      int64
	Members    []GroupMember    // by id
	Partitions []GroupPartition // those with a member or an offset, by topic and number
}

// GroupMember is a member of a group as it is now.
type GroupMember struct {
	eos.Member
	Assignment []TopicPartitions
}

// GroupPartition is a partition as a group has it.
type GroupPartition struct {
	TopicPartition
	MemberID       string // the member that has it; empty when there is none
	Latest         bool   // that member begins at the end where nothing is committed
	Committed      *int64 // nil when there is none
	LogStartOffset int64
	HighWatermark  int64
}

// Lag returns how many records the group has not committed yet, of those that
// are kept; where it has committed none, from where its member would begin.
func (p *GroupPartition) Lag() int64 {
	switch {
	case p.Committed != nil:
		return p.HighWatermark - max(*p.Committed, p.LogStartOffset)
	case p.Latest:
		return 0
	}
	return p.HighWatermark - p.LogStartOffset
}

// GroupState returns a group as it is now, or eos.GroupNotFound. Its parts are
// read one after the other.
func (s *Store) GroupState(ctx context.Context, id string) (*GroupState, error) {
	const group = `
		SELECT epoch, sweep_at, idle_since IS NOT NULL
		FROM groups
		WHERE group_id = $1`
	const lag = `
		SELECT p.topic_id, p.partition, t.topic, c.committed_offset, p.log_start_offset,
		       ` + sqlHighWatermark + `
		FROM (SELECT p.partition_id
		      FROM group_partitions o
		      CROSS JOIN LATERAL (SELECT partition_id
		                          FROM partitions
		                          WHERE topic_id = o.topic_id AND partition = o.partition LIMIT 1) p
		      WHERE o.group_id = $1
		      UNION
		      SELECT partition_id
		      FROM committed_offsets
		      WHERE group_id = $1) k
		CROSS JOIN LATERAL (SELECT partition_id, topic_id, partition, log_start_offset
		                    FROM partitions
		                    WHERE partition_id = k.partition_id LIMIT 1) p
		CROSS JOIN LATERAL (SELECT topic
		                    FROM topics
		                    WHERE topic_id = p.topic_id LIMIT 1) t
		LEFT JOIN LATERAL (SELECT committed_offset
		                   FROM committed_offsets
		                   WHERE group_id = $1 AND partition_id = k.partition_id LIMIT 1) c ON true`
	var g *loadedGroup
	var state *GroupState
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		g, state = newGroup(id), &GroupState{}
		batch := &pgx.Batch{}
		batch.Queue(sqlIndexed)
		batch.Queue(group, id).Query(func(rows pgx.Rows) error {
			return each(rows, []any{&g.Epoch, &g.sweepAt, &g.idle}, func() { g.known = true })
		})
		g.queueWhole(batch)
		batch.Queue(lag, id).Query(func(rows pgx.Rows) error {
			var topicID int64
			var p GroupPartition
			return each(rows, []any{&topicID, &p.Partition, &p.Topic, &p.Committed, &p.LogStartOffset, &p.HighWatermark}, func() {
				found := p
				found.Committed = copied(p.Committed)
				if o := g.Partitions[eos.Partition{Topic: topicID, Number: p.Partition}]; o != nil {
					found.MemberID = o.Owner
				}
				if m := g.Members[found.MemberID]; m != nil {
					found.Latest = m.AutoOffsetReset == eos.ResetLatest
				}
				state.Partitions = append(state.Partitions, found)
			})
		})
		return conn.SendBatch(ctx, batch).Close()
	})
	switch {
	case err != nil:
		return nil, err
	case !g.known:
		return nil, unknownGroup(id)
	}
	g.fill(state)
	return state, nil
}

// sqlIndexed keeps the statements that follow in a batch from reading whole
// tables, whatever is known of these.
const sqlIndexed = `
	SELECT set_config('enable_seqscan', 'off', true),
	       set_config('enable_hashjoin', 'off', true),
	       set_config('enable_mergejoin', 'off', true)`

// fill fills in what a loaded group tells.
func (g *loadedGroup) fill(state *GroupState) {
	state.ID, state.State, state.Epoch = g.ID, g.State(), g.Epoch
	had := map[string][]eos.Partition{}
	for p, o := range g.Partitions {
		had[o.Owner] = append(had[o.Owner], p)
	}
	for id, m := range g.Members {
		slices.SortFunc(had[id], eos.Partition.Compare)
		state.Members = append(state.Members, GroupMember{*m, g.byTopic(had[id])})
	}
	slices.SortFunc(state.Members, func(a, b GroupMember) int { return cmp.Compare(a.MemberID, b.MemberID) })
	slices.SortFunc(state.Partitions, func(a, b GroupPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// DeleteGroup deletes a group without members, with its offsets. It returns
// eos.NonEmptyGroup and eos.GroupNotFound.
func (s *Store) DeleteGroup(ctx context.Context, id string) error {
	const offsets = `DELETE FROM committed_offsets WHERE group_id = $1`
	var g *loadedGroup
	deleted, expired := false, int64(0)
	err := s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newGroup(id)
		g.queueLock(batch, "")
		g.queueWhole(batch)
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		defer tx.doubt(&err)
		switch {
		case !g.known && tx.again && deleted:
			return nil // by the try whose answer was lost
		case !g.known:
			return unknownGroup(id)
		}
		if err := g.expireAll(saves, &expired); err != nil {
			return err
		}
		deleted = true
		saves.Queue(offsets, id)
		g.queueForget(saves)
		return nil
	})
	if err == nil {
		s.counts.groups.Add(-1)
		s.countExpired(expired)
	}
	return err
}

// queueForget queues the end of a group that has neither members nor offsets.
// Who creates it again while somebody of it may be left begins above all epochs
// that it had.
func (g *loadedGroup) queueForget(batch *pgx.Batch) {
	const replaced = `DELETE FROM replaced_members WHERE group_id = $1`
	const floor = `
		INSERT INTO group_epochs AS e (group_id, floor)
		VALUES ($1, $2)
		ON CONFLICT (group_id) DO UPDATE
		SET floor = GREATEST(e.floor, excluded.floor), deleted_at = excluded.deleted_at`
	const forget = `DELETE FROM groups WHERE group_id = $1`
	batch.Queue(replaced, g.ID)
	if g.Epoch > 0 {
		batch.Queue(floor, g.ID, g.Epoch)
	}
	batch.Queue(forget, g.ID)
}
