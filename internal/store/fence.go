package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// fences are groups as far as the commit of offsets needs them: whether a group
// has members where an offset names none, else the member that it names and the
// partition's owner (G1). They are read under the locks of the rows of these
// groups and members, behind those of the transactions that staged the offsets,
// and held to the commit.
type fences map[string]*fence // by group

type fence struct {
	eos.Group
	known   bool // it has a row; read where offsets name no member
	members bool // the same: it has members
	resting bool // the same: it was not written to for an hour
	used    map[string]*eos.Member
}

func (f fences) of(group string) *fence {
	if f[group] == nil {
		f[group] = &fence{Group: eos.NewGroup(group), used: map[string]*eos.Member{}}
	}
	return f[group]
}

// fenced are the offsets that a fence is asked about, column by column: those of
// requests, and by their ids those that transactions have staged.
type fenced struct {
	groups, members, topics []string // where a member is named
	numbers                 []int32  // the partitions, likewise
	without                 []string // groups where none is
	transactions            []string
}

func fencedBy(offsets []GroupOffset, transactions []string) fenced {
	k := fenced{transactions: transactions, without: []string{}}
	for _, o := range offsets {
		if o.MemberID == "" {
			k.without = append(k.without, o.Group)
			continue
		}
		k.groups, k.members = append(k.groups, o.Group), append(k.members, o.MemberID)
		k.topics, k.numbers = append(k.topics, o.Topic), append(k.numbers, int32(o.Partition))
	}
	return k
}

func (k *fenced) any() bool {
	return len(k.groups)+len(k.without)+len(k.transactions) > 0
}

const (
	// $1 are transactions, by their ids; the rest are columns of fenced.
	sqlFencedStaged = `
		FROM staged_offsets o
		WHERE o.transaction_ref = ANY (ARRAY (SELECT x.transaction_ref
		                                      FROM transactions x
		                                      WHERE x.transaction_id = ANY ($1)))`
	sqlFenceGroups = `
		SELECT g.group_id, g.idle_since IS NULL, COALESCE(g.idle_since < clock_timestamp() - interval '1 hour', false)
		FROM groups g
		WHERE g.group_id = ANY ($2::text[] || ARRAY (SELECT o.group_id` + sqlFencedStaged + `
		                                               AND o.member_id IS NULL))
		ORDER BY g.group_id`
	sqlFencedMembers = `
		(SELECT u.group_id, u.member_id
		 FROM unnest($2::text[], $3::text[]) AS u (group_id, member_id)
		 UNION
		 SELECT o.group_id, o.member_id` + sqlFencedStaged + `
		   AND o.member_id IS NOT NULL
		 ORDER BY group_id, member_id) AS k`
	// One probe a member, in the order of k.
	sqlFenceMembers = `
		SELECT k.group_id, k.member_id, m.member_epoch, m.previous_epoch
		FROM ` + sqlFencedMembers + `
		CROSS JOIN LATERAL (SELECT member_epoch, previous_epoch
		                    FROM members
		                    WHERE group_id = k.group_id AND member_id = k.member_id
		                    LIMIT 1`
	sqlFenceReplaced = `
		SELECT k.group_id, k.member_id
		FROM ` + sqlFencedMembers + `
		CROSS JOIN LATERAL (SELECT
		                    FROM replaced_members
		                    WHERE group_id = k.group_id AND member_id = k.member_id
		                    LIMIT 1) r`
	sqlFencePartitions = `
		SELECT k.group_id, k.topic_id, k.partition, COALESCE(g.owner_id, ''), COALESCE(g.since_epoch, 0)
		FROM (SELECT u.group_id, (SELECT t.topic_id FROM topics t WHERE t.topic = u.topic) AS topic_id, u.partition
		      FROM unnest($2::text[], $3::text[], $4::integer[]) AS u (group_id, topic, partition)
		      UNION ALL
		      SELECT o.group_id, (SELECT p.topic_id FROM partitions p WHERE p.partition_id = o.partition_id),
		             (SELECT p.partition FROM partitions p WHERE p.partition_id = o.partition_id)` + sqlFencedStaged + `
		        AND o.member_id IS NOT NULL) AS k
		CROSS JOIN LATERAL (SELECT owner_id, since_epoch
		                    FROM group_partitions
		                    WHERE group_id = k.group_id AND topic_id = k.topic_id AND partition = k.partition
		                    LIMIT 1) g`
	lockFence   = ` FOR NO KEY UPDATE`
	endOfMember = `) m`
)

// locks returns the statements that read groups and members, and lock them.
func (f fences) locks(k *fenced) []lock {
	return []lock{
		{sql: sqlFenceGroups + lockFence, args: []any{k.transactions, k.without}, rows: f.readGroups},
		{sql: sqlFenceMembers + lockFence + endOfMember, args: []any{k.transactions, k.groups, k.members}, rows: f.readMembers},
	}
}

// queue queues the reading of the rest, or of all if nothing was locked.
func (f fences) queue(batch *pgx.Batch, k *fenced, locked bool) {
	if !locked {
		batch.Queue(sqlFenceGroups, k.transactions, k.without).Query(f.readGroups)
		batch.Queue(sqlFenceMembers+endOfMember, k.transactions, k.groups, k.members).Query(f.readMembers)
	}
	batch.Queue(sqlFenceReplaced, k.transactions, k.groups, k.members).Query(func(rows pgx.Rows) error {
		var group, member string
		return each(rows, []any{&group, &member}, func() { f.of(group).Replaced[member] = true })
	})
	batch.Queue(sqlFencePartitions, k.transactions, k.groups, k.topics, k.numbers).Query(func(rows pgx.Rows) error {
		var group string
		var o eos.Ownership
		return each(rows, []any{&group, &o.Topic, &o.Number, &o.Owner, &o.Since}, func() { f.of(group).Partitions[o.Partition] = new(o) })
	})
}

func (f fences) readGroups(rows pgx.Rows) error {
	var group string
	var members, resting bool
	return each(rows, []any{&group, &members, &resting}, func() {
		g := f.of(group)
		g.known, g.members, g.resting = true, members, resting
	})
}

func (f fences) readMembers(rows pgx.Rows) error {
	var group string
	var m eos.Member
	return each(rows, []any{&group, &m.MemberID, &m.Epoch, &m.Previous}, func() { f.of(group).Members[m.MemberID] = new(m) })
}

// caller is who commits offsets of a group.
type caller struct {
	group, member string
	epoch         int64
}

func byCaller(offsets []partitionOffset) map[caller][]partitionOffset {
	sorted := map[caller][]partitionOffset{}
	for _, o := range offsets {
		c := caller{o.Group, o.MemberID, o.MemberEpoch}
		sorted[c] = append(sorted[c], o)
	}
	return sorted
}

// check refuses offsets that are not their member's to commit, or of a group
// that has members where they name none.
func (f fences) check(offsets []partitionOffset) error {
	for c, own := range byCaller(offsets) {
		g := f.of(c.group)
		if c.member != "" {
			if err := g.CheckCommit(c.member, c.epoch, partitionsOf(own)); err != nil {
				return nameTopic(err, own)
			}
			continue
		}
		if g.members {
			return eos.NonEmptyGroup.Errorf("group %q has members: only they commit its offsets, by their member_id and member_epoch", c.group)
		}
	}
	return nil
}

// creates reports whether offsets are of a group that is not there.
func (f fences) creates(offsets []partitionOffset) bool {
	return slices.ContainsFunc(offsets, func(o partitionOffset) bool { return o.MemberID == "" && !f.of(o.Group).known })
}

// use notes that the members of offsets that check let pass have used their
// epochs.
func (f fences) use(offsets []partitionOffset) error {
	for c, own := range byCaller(offsets) {
		if c.member == "" {
			continue
		}
		change, err := f.of(c.group).Commit(c.member, c.epoch, partitionsOf(own))
		if err != nil {
			return err
		}
		for _, m := range change.Members {
			f.of(c.group).used[m.MemberID] = m
		}
	}
	return nil
}

func partitionsOf(offsets []partitionOffset) []eos.Partition {
	list := make([]eos.Partition, len(offsets))
	for i, o := range offsets {
		list[i] = o.in()
	}
	return list
}

// in returns the partition as groups know it.
func (o *partitionOffset) in() eos.Partition {
	return eos.Partition{Topic: o.TopicID, Number: o.Number}
}

// nameTopic adds the name of the topic to what a rule says of a partition.
func nameTopic(err error, offsets []partitionOffset) error {
	var refusal *eos.Error
	if !errors.As(err, &refusal) || refusal.Partition == nil {
		return err
	}
	for _, o := range offsets {
		if o.in() == *refusal.Partition {
			refusal.Detail += fmt.Sprintf(" of topic %q", o.Topic)
			break
		}
	}
	return err
}

const (
	// A group that somebody else creates at this moment is met as a key.
	sqlCreateGroups = `
		INSERT INTO groups (group_id, idle_since)
		SELECT k.group_id, clock_timestamp()
		FROM unnest($1::text[]) AS k (group_id)`
	sqlTouchGroups = `
		UPDATE groups
		SET idle_since = clock_timestamp()
		WHERE group_id = ANY ($1)`
	sqlUseEpochs = `
		UPDATE members m
		SET previous_epoch = 0
		FROM unnest($1::text[], $2::text[]) AS k (group_id, member_id)
		WHERE m.group_id = k.group_id AND m.member_id = k.member_id`
)

// fenceSaves are what is written of groups beside committed offsets.
type fenceSaves struct {
	create, touch   []string
	groups, members []string // of the members whose previous epoch is stale
}

// saves returns what is to be written when offsets of these groups are.
func (f fences) saves(offsets map[groupPartition]*offsetRow) fenceSaves {
	var s fenceSaves
	without := map[string]bool{}
	for _, o := range offsets {
		if o.MemberID == "" {
			without[o.Group] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(without)) {
		switch g := f.of(id); {
		case !g.known:
			s.create = append(s.create, id)
		case g.resting:
			s.touch = append(s.touch, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f)) {
		for _, member := range slices.Sorted(maps.Keys(f[id].used)) {
			s.groups, s.members = append(s.groups, id), append(s.members, member)
		}
	}
	return s
}
