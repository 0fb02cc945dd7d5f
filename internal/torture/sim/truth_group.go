package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// knownGroup judges a group, and knows nothing of targets, rows or how epochs are
// made. A member has a partition from the first answer that names it until it
// polls with its latest epoch and the answer of that did not, or until it joins
// again, is replaced, leaves, or is expired.
type knownGroup struct {
	has       map[eos.Partition]string
	answers   map[string]map[int64][]eos.Partition // member → epoch → what it was told it has
	latest    map[string]int64
	used      map[string]int64 // the highest epoch in a request that was heard
	alive     map[string]bool
	replaced  map[string]bool
	instances map[string]string // instance_id → member
	heard     map[string]int64  // when
	revoking  map[string]int64  // since when a member is to let go of something
	joins     map[string]eos.Join
	committed map[eos.Partition]int64
	done      map[eos.Partition]int64 // up to where the records are processed
}

func (t *truth) group(id string) *knownGroup {
	if t.groups[id] == nil {
		t.groups[id] = &knownGroup{
			has: map[eos.Partition]string{}, answers: map[string]map[int64][]eos.Partition{}, latest: map[string]int64{},
			used: map[string]int64{}, alive: map[string]bool{}, replaced: map[string]bool{}, instances: map[string]string{},
			heard: map[string]int64{}, revoking: map[string]int64{}, joins: map[string]eos.Join{},
			committed: map[eos.Partition]int64{}, done: map[eos.Partition]int64{},
		}
	}
	return t.groups[id]
}

func (g *knownGroup) living() int {
	n := 0
	for _, alive := range g.alive {
		if alive {
			n++
		}
	}
	return n
}

// verdictOfMember is whether a member is heard with an epoch, and commits of
// partitions (G1).
func (t *truth) verdictOfMember(group, member string, epoch int64, offsets []offset) string {
	g := t.group(group)
	told, known := g.answers[member][epoch]
	latest := epoch == g.latest[member]
	may := known && g.alive[member] && epoch >= g.used[member]
	must := may
	for _, o := range offsets {
		has, was := g.has[o.partition] == member, slices.Contains(told, o.partition)
		may = may && has && (latest || was)
		must = must && has && was
	}
	switch {
	case must:
		return ""
	case may:
		return perhapsIts
	}
	return notIts
}

// answeredMember is told of an answer that is saved, whether it arrives or not.
func (t *truth) answeredMember(group, member string, a eos.Assignment, readAt int64) {
	g := t.group(group)
	if g.answers[member] == nil {
		g.answers[member] = map[int64][]eos.Partition{}
	}
	if before, there := g.answers[member][a.MemberEpoch]; there && !slices.Equal(before, a.Partitions) {
		t.fail("ack differs from log", "epoch %d of %s/%s came with %v, and comes with %v",
			a.MemberEpoch, group, member, before, a.Partitions)
	}
	g.answers[member][a.MemberEpoch] = a.Partitions
	g.latest[member] = max(g.latest[member], a.MemberEpoch)
	for _, p := range a.Partitions {
		if other := g.has[p]; other != "" && other != member {
			t.fail("double ownership", "%d is given to %s/%s while %s has it", logOf(p), group, member, other)
		}
		g.has[p] = member
	}
	if since := g.revoking[member]; len(a.Revoking) == 0 || since == 0 {
		delete(g.revoking, member)
		if len(a.Revoking) > 0 {
			g.revoking[member] = readAt
		}
	}
}

// heard is told that a member was heard of.
func (t *truth) heard(o *op, at int64) {
	g := t.group(o.group)
	g.heard[o.member] = max(g.heard[o.member], at)
}

func (t *truth) joined(o *op, a eos.Assignment, c *eos.Change, settled bool, readAt int64) {
	g := t.group(o.group)
	var before []eos.Partition
	for _, old := range c.Replaced {
		before = g.answers[old][g.latest[old]]
		if settled {
			t.checkTakeover(o, old, before, a)
		}
		t.ended(o.group, old)
		g.replaced[old] = true
	}
	if o.join.InstanceID != "" {
		if old := g.instances[o.join.InstanceID]; old != "" && old != o.member && g.alive[old] {
			t.fail("stale member accepted", "%s took over instance %s, and %s is still heard", o.member, o.join.InstanceID, old)
		}
		g.instances[o.join.InstanceID] = o.member
	}
	if a.MemberEpoch <= g.latest[o.member] {
		t.fail("stale member accepted", "%s joined with epoch %d, and has had %d",
			o.member, a.MemberEpoch, g.latest[o.member])
	}
	t.ended(o.group, o.member)
	g.alive[o.member], g.used[o.member], g.joins[o.member] = true, a.MemberEpoch, o.join
	t.answeredMember(o.group, o.member, a, readAt)
	t.heard(o, readAt)
}

// checkTakeover: who takes over an instance_id has at once what its member had
// (G7), unless something of it was on its way to somebody else.
func (t *truth) checkTakeover(o *op, old string, before []eos.Partition, a eos.Assignment) {
	g := t.group(o.group)
	for _, p := range before {
		if g.has[p] == old && !slices.Contains(a.Partitions, p) {
			t.fail("takeover lost partitions", "%s took over from %s, who has %d, and has %v",
				o.member, old, logOf(p), a.Partitions)
		}
	}
}

func (t *truth) polled(o *op, a eos.Assignment, c *eos.Change, readAt int64) {
	g := t.group(o.group)
	t.must(o)
	for _, gone := range slices.Concat(c.Left, c.Replaced) {
		t.ended(o.group, gone)
	}
	g.used[o.member] = max(g.used[o.member], o.epoch)
	if o.epoch == g.latest[o.member] {
		for p, holder := range g.has {
			if holder == o.member && !slices.Contains(g.answers[o.member][o.epoch], p) {
				delete(g.has, p)
			}
		}
	}
	t.answeredMember(o.group, o.member, a, readAt)
}

func (t *truth) ended(group, member string) {
	g := t.group(group)
	g.alive[member] = false
	delete(g.revoking, member)
	for p, holder := range g.has {
		if holder == member {
			delete(g.has, p)
		}
	}
}

func (t *truth) left(group string, members []string) {
	for _, m := range members {
		t.ended(group, m)
	}
}

// expired is told of members whose time is over: none before its session or
// rebalance timeout, by the database's clock (R2).
func (t *truth) expired(group string, members []string) {
	g := t.group(group)
	for _, m := range members {
		silent := t.w.db.now - g.heard[m]
		since := g.revoking[m]
		over := silent >= g.joins[m].SessionTimeout.Milliseconds() ||
			since != 0 && t.w.db.now-since >= g.joins[m].RebalanceTimeout.Milliseconds()
		if !over {
			t.fail("expired before its timeout", "%s/%s was heard %d ms ago", group, m, silent)
		}
		t.ended(group, m)
	}
}

// used is told that a member's epoch counted for a commit in a transaction.
func (t *truth) usedEpoch(o offset) {
	if g := t.group(o.group); o.member != "" {
		g.used[o.member] = max(g.used[o.member], o.epoch)
	}
}

// processedIn is told of offsets that are committed with a transaction's records:
// those are what was made of the inputs up to there (G5).
func (t *truth) processedIn(o offset) {
	g := t.group(o.group)
	t.usedEpoch(o)
	switch done := g.done[o.partition]; {
	case o.began < done:
		t.fail("processed twice", "%s/%s: %d from %d to %d, and %d is done",
			o.group, o.member, logOf(o.partition), o.began, o.offset, done)
	case o.began > done:
		t.fail("processed never", "%s/%s: %d from %d to %d, and %d is done",
			o.group, o.member, logOf(o.partition), o.began, o.offset, done)
	}
	g.done[o.partition] = max(g.done[o.partition], o.offset)
}

// processed is told of the commit of a poll: one below what stands changes nothing.
func (t *truth) processed(o offset) {
	if g := t.group(o.group); o.offset > g.done[o.partition] {
		t.processedIn(o)
	}
}

// together is told when what is committed is what is done (G3).
func (t *truth) together(o offset) {
	if g := t.group(o.group); g.committed[o.partition] != g.done[o.partition] {
		t.fail("offset and output apart", "%s: %d of %d is done, and %d committed",
			o.group, g.done[o.partition], logOf(o.partition), g.committed[o.partition])
	}
}

// committedOffset is told of a committed offset (G4).
func (t *truth) committedOffset(o offset, stands int64) {
	g := t.group(o.group)
	if o.member != "" && stands < g.committed[o.partition] {
		t.fail("committed offset back", "%s/%s: from %d to %d", o.group, o.member, g.committed[o.partition], stands)
	}
	g.committed[o.partition] = stands
}
