package sim

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// at is a moment of the database's clock as eos has it.
func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func (w *world) groupExchange(c *call) (locks func() []lockKey, run exchanged) {
	group := lockKey{table: lockGroup, name: c.group}
	member := lockKey{table: lockMember, name: c.group + "/" + c.member}
	none := func() []lockKey { return nil }
	lockGroup := func() []lockKey { return []lockKey{group} }
	switch c.kind {
	case kindJoin:
		return lockGroup, func(again bool) (*answer, func() bool) { return w.join(c, again) }
	case kindLeave:
		return lockGroup, func(again bool) (*answer, func() bool) { return w.leave(c, again) }
	case kindOffsets:
		return none, func(bool) (*answer, func() bool) { return w.readOffsets(c), nil }
	}
	alone := false
	var lost *answer
	return func() []lockKey {
			switch {
			case alone:
				return []lockKey{group, member}
			case len(c.offsets) > 0 && w.mutant != NoMemberLock:
				return []lockKey{member}
			}
			return nil
		}, func(again bool) (*answer, func() bool) {
			a, write, more := w.poll(c, again, alone, lost)
			if more {
				alone = true
				return nil, nil
			}
			if a.err == nil && write != nil {
				lost = a
			}
			return a, write
		}
}

// doubt is an answer of unknown effect for a refusal, when an earlier try may
// have been committed.
func (w *world) doubt(c *call, again bool, err error) (*answer, func() bool) {
	if again && w.mutant != NoDoubt {
		return &answer{err: eos.Lost("the database did not answer the COMMIT, and the state is another by now")}, nil
	}
	return w.refused(c, err)
}

func (w *world) join(c *call, again bool) (*answer, func() bool) {
	g := w.db.whole(c.group)
	read := membersOf(g)
	j := c.join
	readAt := w.db.now
	a, change, err := g.Join(at(w.db.now), j)
	if err != nil {
		return w.doubt(c, again, err)
	}
	if w.mutant == TakeoverLosesAll && len(change.Replaced) > 0 {
		a.Partitions = nil
		for _, row := range change.Owned {
			if row.Owner == j.MemberID {
				row.Owner, row.Since = "", 0
			}
		}
	}
	ans := &answer{assignment: a}
	return ans, func() bool {
		settled := w.db.settled(c.group)
		if !w.saveChange(c.group, read, &change) {
			return false
		}
		w.truth.applies(c)
		w.truth.joined(c.op, a, &change, settled, readAt)
		return true
	}
}

func (w *world) leave(c *call, again bool) (*answer, func() bool) {
	g := w.db.whole(c.group)
	read := membersOf(g)
	change, err := g.Leave(c.member)
	switch {
	case again && errors.Is(err, eos.UnknownMember.Errorf("")):
		return &answer{}, nil
	case err != nil:
		return w.doubt(c, again, err)
	}
	return &answer{}, func() bool {
		if !w.saveChange(c.group, read, &change) {
			return false
		}
		w.truth.applies(c)
		w.truth.left(c.group, change.Left)
		return true
	}
}

func (w *world) readOffsets(c *call) *answer {
	a := &answer{}
	row := w.db.group(c.group)
	for n := range w.db.counts[inputTopic] {
		p := eos.Partition{Topic: inputTopic, Number: n}
		a.readable = append(a.readable, readable{p, row.committed[p], w.db.logs[logOf(p)].end})
	}
	return a
}

func membersOf(g *eos.Group) map[string]eos.Member {
	read := map[string]eos.Member{}
	for id, m := range g.Members {
		read[id] = *m
	}
	return read
}

// saveChange writes the rows of a change, unless a member's deadline or previous
// epoch is another than was read, or its row is locked: store/groupsave.go. In
// the store who meets that lock waits, and finds the same behind it.
func (w *world) saveChange(group string, read map[string]eos.Member, c *eos.Change) bool {
	row := w.db.group(group)
	gone := slices.Concat(c.Left, c.Replaced)
	written := slices.Clone(gone)
	for _, m := range c.Members {
		written = append(written, m.MemberID)
	}
	for _, id := range written {
		old, was := read[id]
		now, is := row.members[id]
		if was && (!is || now.Previous != old.Previous || !now.ExpiresAt.Equal(old.ExpiresAt)) || !was && is {
			return false
		}
		if holder := w.db.locks[lockKey{table: lockMember, name: group + "/" + id}]; holder != nil && holder != w.writing {
			return false
		}
	}
	if c.Group != 0 {
		row.epoch = c.Group
	}
	for _, id := range gone {
		if w.mutant == ReplacedStillHeard && slices.Contains(c.Replaced, id) {
			continue
		}
		delete(row.members, id)
	}
	for _, id := range c.Replaced {
		if w.mutant != ReplacedStillHeard {
			row.replaced[id] = true
		}
	}
	for _, m := range c.Members {
		row.members[m.MemberID] = *m
	}
	if c.Extended != nil {
		if m, there := row.members[c.Extended.MemberID]; there && m.ExpiresAt.Before(c.Extended.ExpiresAt) {
			m.ExpiresAt = c.Extended.ExpiresAt
			row.members[c.Extended.MemberID] = m
		}
	}
	for _, o := range c.Owned {
		row.rows[o.Partition] = *o
	}
	for _, p := range c.Dropped {
		delete(row.rows, p)
	}
	return true
}

// sweep removes members whose time is over (G2).
func (w *world) sweep(p *proxy) {
	for _, id := range slices.Sorted(maps.Keys(w.db.groups)) {
		if len(w.db.groups[id].members) == 0 {
			continue
		}
		now := w.db.now
		if w.mutant == ExpiredByProxyClock {
			now += p.skew
		}
		w.changeGroup(p, "expiry of members of "+id, id, func(g *eos.Group) eos.Change { return g.Expire(at(now)) })
	}
}

// refresh picks up new partitions.
func (w *world) refresh(p *proxy) {
	for _, id := range slices.Sorted(maps.Keys(w.db.groups)) {
		w.changeGroup(p, "refresh of "+id, id, func(g *eos.Group) eos.Change { return g.Refresh() })
	}
}

func (w *world) changeGroup(p *proxy, what, id string, change func(g *eos.Group) eos.Change) {
	w.start(p, what, nil, nil, func(t *task) {
		t.early = true
		t.locks = func() []lockKey { return []lockKey{{table: lockGroup, name: id}} }
		t.read = func(*task) plan {
			g := w.db.whole(id)
			read := membersOf(g)
			c := change(g)
			if c.Empty() {
				return plan{}
			}
			return plan{write: func() bool {
				if !w.saveChange(id, read, &c) {
					return false
				}
				w.truth.expired(id, c.Left)
				return true
			}}
		}
	})
}

// checkCommit is that of the rules, or of a mutant.
func (w *world) checkCommit(g *eos.Group, member string, epoch int64, partitions []eos.Partition) error {
	return g.CheckCommit(member, w.memberEpoch(g, member, epoch), partitions)
}

// memberEpoch is the epoch that a request names.
func (w *world) memberEpoch(g *eos.Group, member string, epoch int64) int64 {
	if m := g.Members[member]; w.mutant == OldMemberEpoch && m != nil {
		return m.Epoch
	}
	return epoch
}
