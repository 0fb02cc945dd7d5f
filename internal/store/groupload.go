package store

import (
	"regexp"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// loadedGroup is a group, or the part of it that a poll needs, as it was read.
type loadedGroup struct {
	eos.Group
	known   bool       // it has a row
	created bool       // by this transaction
	idle    bool       // it has no members
	sweepAt *time.Time // no deadline is before; nil when there is none
	now     time.Time  // by the database's clock, behind the locks

	read  map[string]eos.Member // members as they were read
	names map[int64]string      // of topics, by id
	ids   map[string]int64      // the same the other way round
}

func newGroup(id string) *loadedGroup {
	return &loadedGroup{
		Group: eos.NewGroup(id),
		read:  map[string]eos.Member{}, names: map[int64]string{}, ids: map[string]int64{},
	}
}

const (
	sqlClock = `SELECT clock_timestamp()`

	sqlCreateGroup = `
		INSERT INTO groups (group_id, idle_since)
		VALUES ($1, clock_timestamp())
		ON CONFLICT (group_id) DO NOTHING`
	// A group that never had a member begins above the last one that had its id,
	// which has gone before this statement began.
	sqlLockGroup = `
		SELECT CASE WHEN g.epoch > 0 THEN g.epoch
		            ELSE COALESCE((SELECT max(e.floor)
		                           FROM group_epochs e
		                           WHERE e.group_id IN ($1, '')), 0) END,
		       g.sweep_at, g.idle_since IS NOT NULL
		FROM groups g
		WHERE g.group_id = $1
		FOR NO KEY UPDATE OF g`
	sqlMemberColumns = `
		m.member_id, COALESCE(m.instance_id, ''), m.topics, COALESCE(m.topics_pattern, ''), COALESCE(m.assignor, ''),
		m.auto_offset_reset, m.session_timeout_ms, m.rebalance_timeout_ms, m.member_epoch, m.previous_epoch,
		m.expires_at, m.revoke_by`
	sqlMembers = `
		SELECT` + sqlMemberColumns + `
		FROM members m
		WHERE m.group_id = $1`
	sqlGroupPartitions = `
		SELECT topic_id, partition, COALESCE(owner_id, ''), COALESCE(since_epoch, 0), revoking, COALESCE(target_id, '')
		FROM group_partitions
		WHERE group_id = $1`
	sqlReplaced = `
		SELECT member_id
		FROM replaced_members
		WHERE group_id = $1 AND member_id = ANY ($2)`
	// The topics that members name, and $2; all topics if somebody has a
	// pattern, which only Go can match.
	sqlSubscribed = `
		SELECT t.topic_id, t.topic, t.partition_count
		FROM topics t
		WHERE t.topic = ANY (ARRAY (SELECT DISTINCT unnest(m.topics)
		                            FROM members m
		                            WHERE m.group_id = $1) || $2::text[])`
	sqlMatchable = `
		SELECT t.topic_id, t.topic, t.partition_count
		FROM topics t
		WHERE t.topic > '' -- all of them, by the index: the planner knows no other way to it
		  AND ($2 OR EXISTS (SELECT FROM members m WHERE m.group_id = $1 AND m.topics_pattern IS NOT NULL))`
)

// queueCreate queues the insertion of a group that is not there.
func (g *loadedGroup) queueCreate(batch *pgx.Batch) {
	batch.Queue(sqlCreateGroup, g.ID).Exec(func(tag pgconn.CommandTag) error {
		g.created = tag.RowsAffected() == 1
		return nil
	})
}

// queueLock queues the lock of the group, with SKIP LOCKED or nothing.
func (g *loadedGroup) queueLock(batch *pgx.Batch, skip string) {
	batch.Queue(sqlLockGroup+skip, g.ID).Query(func(rows pgx.Rows) error {
		return each(rows, []any{&g.Epoch, &g.sweepAt, &g.idle}, func() { g.known = true })
	})
}

// queueWhole queues all of the group but who was replaced.
func (g *loadedGroup) queueWhole(batch *pgx.Batch) { g.queueWith(batch, []string{}, false) }

// queueWholeFor queues what queueWhole does, and what else a join may need.
func (g *loadedGroup) queueWholeFor(batch *pgx.Batch, j *eos.Join) {
	g.queueReplaced(batch, j.MemberID)
	g.queueWith(batch, append([]string{}, j.Topics...), j.Pattern != "")
}

// queueWith queues all of the group and the topics that its members subscribe
// to, and further ones.
func (g *loadedGroup) queueWith(batch *pgx.Batch, topics []string, all bool) {
	batch.Queue(sqlClock).QueryRow(func(row pgx.Row) error { return row.Scan(&g.now) })
	batch.Queue(sqlMembers, g.ID).Query(g.readMembers)
	batch.Queue(sqlGroupPartitions, g.ID).Query(func(rows pgx.Rows) error {
		var o eos.Ownership
		return each(rows, []any{&o.Topic, &o.Number, &o.Owner, &o.Since, &o.Revoking, &o.Target}, func() {
			g.Partitions[o.Partition] = new(o)
		})
	})
	batch.Queue(sqlSubscribed, g.ID, topics).Query(g.readTopics)
	batch.Queue(sqlMatchable, g.ID, all).Query(g.readTopics)
}

// queueReplaced queues which of these members another one replaced.
func (g *loadedGroup) queueReplaced(batch *pgx.Batch, ids ...string) {
	batch.Queue(sqlReplaced, g.ID, ids).Query(func(rows pgx.Rows) error {
		var id string
		return each(rows, []any{&id}, func() { g.Replaced[id] = true })
	})
}

func (g *loadedGroup) readMembers(rows pgx.Rows) error {
	var m memberRow
	return each(rows, m.columns(), func() { g.addMember(m.member()) })
}

func (g *loadedGroup) addMember(m *eos.Member) {
	g.Members[m.MemberID] = m
	g.read[m.MemberID] = *m
}

func (g *loadedGroup) readTopics(rows pgx.Rows) error {
	var id int64
	var name string
	var count int
	return each(rows, []any{&id, &name, &count}, func() {
		g.names[id], g.ids[name], g.Topics[id] = name, id, count
	})
}

// memberRow is sqlMemberColumns.
type memberRow struct {
	eos.Member
	sessionMS, rebalanceMS int64
	revokeBy               *time.Time
}

func (m *memberRow) columns() []any {
	return []any{
		&m.MemberID, &m.InstanceID, &m.Topics, &m.Pattern, &m.Assignor, &m.AutoOffsetReset, &m.sessionMS, &m.rebalanceMS,
		&m.Epoch, &m.Previous, &m.ExpiresAt, &m.revokeBy,
	}
}

func (m *memberRow) member() *eos.Member {
	found := m.Member
	found.SessionTimeout = time.Duration(m.sessionMS) * time.Millisecond
	found.RebalanceTimeout = time.Duration(m.rebalanceMS) * time.Millisecond
	if m.revokeBy != nil {
		found.RevokeBy = *m.revokeBy
	}
	return &found
}

// subscribe finds out what the members subscribe to at this moment, and whoever
// joins. It refuses a join that names a topic that does not exist.
func (g *loadedGroup) subscribe(j *eos.Join) error {
	g.subscribeAll()
	for _, name := range j.Topics {
		if g.ids[name] == 0 {
			return unknownTopic(name)
		}
	}
	matches, err := eos.TopicsPattern(j.Pattern)
	j.TopicIDs = g.topicsOf(j, matches)
	return err
}

// subscribeAll is subscribe without a join.
func (g *loadedGroup) subscribeAll() {
	patterns := map[string]*regexp.Regexp{}
	for _, m := range g.Members {
		matches, known := patterns[m.Pattern]
		if !known && m.Pattern != "" {
			matches, _ = eos.TopicsPattern(m.Pattern) // it was checked at the join
			patterns[m.Pattern] = matches
		}
		m.TopicIDs = g.topicsOf(&m.Join, matches)
	}
}

func (g *loadedGroup) topicsOf(j *eos.Join, matches *regexp.Regexp) []int64 {
	var ids []int64
	for _, name := range j.Topics {
		if id := g.ids[name]; id != 0 {
			ids = append(ids, id)
		}
	}
	if j.Pattern != "" && matches != nil {
		for name, id := range g.ids {
			if matches.MatchString(name) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
