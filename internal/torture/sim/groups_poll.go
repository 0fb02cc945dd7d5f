package sim

import (
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// poll hears a member. more says that it has to run again, under the group's
// lock.
func (w *world) poll(c *call, again, alone bool, lost *answer) (a *answer, write func() bool, more bool) {
	g := w.db.part(c.group, c.member)
	read := membersOf(g)
	partitions := make([]eos.Partition, len(c.offsets))
	for i, o := range c.offsets {
		partitions[i] = o.partition
	}
	epoch := w.memberEpoch(g, c.member, c.epoch)
	if w.mutant == HandedOverAtOnce {
		for _, row := range g.Partitions {
			if row.Target == c.member && row.Owner != c.member {
				row.Owner = ""
			}
		}
	}
	readAt := w.db.now
	assignment, change, err := g.Poll(at(w.db.now), c.member, epoch, partitions)
	if again && lost != nil && wasDone(g, c.member, lost, err) {
		return lost, nil, false
	}
	if err != nil {
		a, write = w.doubt(c, again, err)
		return a, write, false
	}
	if !alone && !change.Empty() && !change.OnlyDeadline() {
		return nil, nil, true
	}
	a = &answer{assignment: assignment}
	offsets := w.advanced(c)
	for _, p := range assignment.Partitions {
		stands := w.db.group(c.group).committed[p]
		if i := slices.Index(partitions, p); i >= 0 {
			stands = offsets[i]
		}
		a.readable = append(a.readable, readable{p, stands, w.db.logs[logOf(p)].end})
	}
	if len(c.offsets) == 0 && (change.Empty() || change.OnlyDeadline()) {
		w.truth.polled(c.op, assignment, &change, readAt) // at this moment: it changes nothing
		return a, w.extend(c, &change, readAt), false
	}
	return a, func() bool {
		if !w.saveChange(c.group, read, &change) {
			return false
		}
		w.truth.applies(c)
		w.truth.polled(c.op, assignment, &change, readAt)
		w.truth.heard(c.op, readAt)
		for i, o := range c.offsets {
			w.db.group(c.group).committed[o.partition] = offsets[i]
			w.truth.processed(o)
			w.truth.committedOffset(o, offsets[i])
			w.truth.together(o)
		}
		return true
	}, false
}

// extend writes a member's deadline, without a lock.
func (w *world) extend(c *call, change *eos.Change, readAt int64) func() bool {
	if change.Empty() {
		w.truth.heard(c.op, readAt)
		return nil
	}
	return func() bool {
		m, there := w.db.group(c.group).members[c.member]
		if !there || !m.ExpiresAt.Before(change.Extended.ExpiresAt) {
			return false
		}
		m.ExpiresAt = change.Extended.ExpiresAt
		w.db.group(c.group).members[c.member] = m
		w.truth.heard(c.op, readAt)
		return true
	}
}

// wasDone is that of store/grouppoll.go.
func wasDone(g *eos.Group, member string, lost *answer, err error) bool {
	notIts := errors.Is(err, eos.PartitionNotOwned.Errorf("")) || errors.Is(err, eos.FencedMemberEpoch.Errorf(""))
	m := g.Members[member]
	return notIts && m != nil && m.Epoch == lost.assignment.MemberEpoch
}

// advanced is what stands after the commits of a poll (G4).
func (w *world) advanced(c *call) []int64 {
	stand := make([]int64, len(c.offsets))
	for i, o := range c.offsets {
		stand[i] = o.offset
		if committed, there := w.db.group(c.group).committed[o.partition]; there {
			stand[i] = w.advance2(committed, o.offset)
		}
	}
	return stand
}

func (w *world) advance2(committed, offset int64) int64 {
	if w.mutant == OffsetGoesBack {
		return offset
	}
	stands, _ := eos.Advance(&committed, offset)
	return stands
}
