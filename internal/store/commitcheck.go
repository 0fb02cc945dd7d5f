package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// commitChecks are groups as far as the commit of offsets needs them: whether a group
// has members where an offset names none, else the member that it names and the
// partition's owner (G1). They are read under the locks of the rows of these
// groups and members, behind those of the transactions that staged the offsets,
// and held to the commit.
type commitChecks map[string]*groupCheck // by group

type groupCheck struct {
	eos.Group
	known   bool // it has a row; read where offsets name no member
	members bool // the same: it has members
	resting bool // the same: it was not written to for an hour
	used    map[string]*eos.Member
}

func (checks commitChecks) of(group string) *groupCheck {
	if checks[group] == nil {
		checks[group] = &groupCheck{Group: eos.NewGroup(group), used: map[string]*eos.Member{}}
	}
	return checks[group]
}

// checkedOffsets are the offsets that the checks are asked about, column by
// column: those of requests, and those that transactions have staged, by the ids
// of these.
type checkedOffsets struct {
	groups, members, topics []string // where a member is named
	numbers                 []int32  // the partitions, likewise
	without                 []string // groups where none is
	transactions            []string
}

func offsetsToCheck(offsets []GroupOffset, transactions []string) checkedOffsets {
	k := checkedOffsets{transactions: transactions, without: []string{}}
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

func (k *checkedOffsets) any() bool {
	return len(k.groups)+len(k.without)+len(k.transactions) > 0
}

const (
	// $1 are transactions, by their ids; the rest are columns of checkedOffsets.
	sqlCheckedStaged = `
		FROM staged_offsets o
		WHERE o.transaction_ref = ANY (ARRAY (SELECT x.transaction_ref
		                                      FROM transactions x
		                                      WHERE x.transaction_id = ANY ($1)))`
	sqlCheckGroups = `
		SELECT g.group_id, g.idle_since IS NULL, COALESCE(g.idle_since < clock_timestamp() - interval '1 hour', false)
		FROM groups g
		WHERE g.group_id = ANY ($2::text[] || ARRAY (SELECT o.group_id` + sqlCheckedStaged + `
		                                               AND o.member_id IS NULL))
		ORDER BY g.group_id`
	sqlCheckedMembers = `
		(SELECT u.group_id, u.member_id
		 FROM unnest($2::text[], $3::text[]) AS u (group_id, member_id)
		 UNION
		 SELECT o.group_id, o.member_id` + sqlCheckedStaged + `
		   AND o.member_id IS NOT NULL
		 ORDER BY group_id, member_id) AS k`
	// One probe a member, in the order of k; see checkMembers.
	sqlCheckMembers = `
		SELECT k.group_id, k.member_id, m.member_epoch, m.previous_epoch
		FROM ` + sqlCheckedMembers + `
		CROSS JOIN LATERAL (SELECT member_epoch, previous_epoch
		                    FROM members
		                    WHERE group_id = k.group_id AND member_id = k.member_id
		                    LIMIT 1`
	sqlCheckReplaced = `
		SELECT k.group_id, k.member_id
		FROM ` + sqlCheckedMembers + `
		CROSS JOIN LATERAL (SELECT
		                    FROM replaced_members
		                    WHERE group_id = k.group_id AND member_id = k.member_id
		                    LIMIT 1) r`
	sqlCheckPartitions = `
		SELECT k.group_id, k.topic_id, k.partition, COALESCE(g.owner_id, ''), COALESCE(g.since_epoch, 0)
		FROM (SELECT u.group_id, (SELECT t.topic_id FROM topics t WHERE t.topic = u.topic) AS topic_id, u.partition
		      FROM unnest($2::text[], $3::text[], $4::integer[]) AS u (group_id, topic, partition)
		      UNION ALL
		      SELECT o.group_id, (SELECT p.topic_id FROM partitions p WHERE p.partition_id = o.partition_id),
		             (SELECT p.partition FROM partitions p WHERE p.partition_id = o.partition_id)` + sqlCheckedStaged + `
		        AND o.member_id IS NOT NULL) AS k
		CROSS JOIN LATERAL (SELECT owner_id, since_epoch
		                    FROM group_partitions
		                    WHERE group_id = k.group_id AND topic_id = k.topic_id AND partition = k.partition
		                    LIMIT 1) g`
	lockChecked = ` FOR NO KEY UPDATE`
)

// checkMembers is the statement that reads members. The lock, or nothing, has its
// place within, where their rows are.
func checkMembers(lock string) string { return sqlCheckMembers + lock + `) m` }

// locks returns the statements that read groups and members, and lock them.
func (checks commitChecks) locks(k *checkedOffsets) []lock {
	return []lock{
		{sql: sqlCheckGroups + lockChecked, args: []any{k.transactions, k.without}, rows: checks.readGroups},
		{sql: checkMembers(lockChecked), args: []any{k.transactions, k.groups, k.members}, rows: checks.readMembers},
	}
}

// queue queues the reading of the rest, or of all if nothing was locked.
func (checks commitChecks) queue(batch *pgx.Batch, k *checkedOffsets, locked bool) {
	if !locked {
		batch.Queue(sqlCheckGroups, k.transactions, k.without).Query(checks.readGroups)
		batch.Queue(checkMembers(""), k.transactions, k.groups, k.members).Query(checks.readMembers)
	}
	batch.Queue(sqlCheckReplaced, k.transactions, k.groups, k.members).Query(func(rows pgx.Rows) error {
		var group, member string
		return each(rows, []any{&group, &member}, func() { checks.of(group).Replaced[member] = true })
	})
	batch.Queue(sqlCheckPartitions, k.transactions, k.groups, k.topics, k.numbers).Query(func(rows pgx.Rows) error {
		var group string
		var o eos.Ownership
		return each(rows, []any{&group, &o.Topic, &o.Number, &o.Owner, &o.Since}, func() {
			checks.of(group).Partitions[o.Partition] = new(o)
		})
	})
}

func (checks commitChecks) readGroups(rows pgx.Rows) error {
	var group string
	var members, resting bool
	return each(rows, []any{&group, &members, &resting}, func() {
		g := checks.of(group)
		g.known, g.members, g.resting = true, members, resting
	})
}

func (checks commitChecks) readMembers(rows pgx.Rows) error {
	var group string
	var m eos.Member
	return each(rows, []any{&group, &m.MemberID, &m.Epoch, &m.Previous}, func() {
		checks.of(group).Members[m.MemberID] = new(m)
	})
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
func (checks commitChecks) check(offsets []partitionOffset) error {
	for c, own := range byCaller(offsets) {
		g := checks.of(c.group)
		if c.member != "" {
			if err := g.CheckCommit(c.member, c.epoch, partitionsOf(own)); err != nil {
				return nameTopic(err, own)
			}
			continue
		}
		if g.members {
			return eos.NonEmptyGroup.Errorf(
				"group %q has members: only they commit its offsets, by their member_id and member_epoch", c.group)
		}
	}
	return nil
}

// creates reports whether offsets are of a group that is not there.
func (checks commitChecks) creates(offsets []partitionOffset) bool {
	return slices.ContainsFunc(offsets, func(o partitionOffset) bool {
		return o.MemberID == "" && !checks.of(o.Group).known
	})
}

// use notes that the members of offsets that check let pass have used their
// epochs.
func (checks commitChecks) use(offsets []partitionOffset) error {
	for c, own := range byCaller(offsets) {
		if c.member == "" {
			continue
		}
		change, err := checks.of(c.group).Commit(c.member, c.epoch, partitionsOf(own))
		if err != nil {
			return err
		}
		for _, m := range change.Members {
			checks.of(c.group).used[m.MemberID] = m
		}
	}
	return nil
}

func partitionsOf(offsets []partitionOffset) []eos.Partition {
	list := make([]eos.Partition, len(offsets))
	for i, o := range offsets {
		list[i] = o.partition()
	}
	return list
}

// partition returns it as groups know it.
func (o *partitionOffset) partition() eos.Partition {
	return eos.Partition{Topic: o.TopicID, Number: o.Number}
}

// nameTopic adds the name of the topic to what a rule says of a partition.
func nameTopic(err error, offsets []partitionOffset) error {
	var refusal *eos.Error
	if !errors.As(err, &refusal) || refusal.Partition == nil {
		return err
	}
	for _, o := range offsets {
		if o.partition() == *refusal.Partition {
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

// groupSaves are what is written of groups beside committed offsets.
type groupSaves struct {
	create, touch   []string
	groups, members []string // of the members whose previous epoch is stale
}

// saves returns what is to be written when offsets of these groups are.
func (checks commitChecks) saves(offsets map[groupPartition]*offsetRow) groupSaves {
	var s groupSaves
	without := map[string]bool{}
	for _, o := range offsets {
		if o.MemberID == "" {
			without[o.Group] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(without)) {
		switch g := checks.of(id); {
		case !g.known:
			s.create = append(s.create, id)
		case g.resting:
			s.touch = append(s.touch, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(checks)) {
		for _, member := range slices.Sorted(maps.Keys(checks[id].used)) {
			s.groups, s.members = append(s.groups, id), append(s.members, member)
		}
	}
	return s
}
