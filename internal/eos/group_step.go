package eos

import (
	"maps"
	"slices"
	"time"
)

// Change is what a transition changed: the rows to write, with their values as
// they are to be, and nothing but those. It holds pointers into the group.
type Change struct {
	Group    int64        // the group's epoch to write; 0: it is as it was
	Members  []*Member    // to insert or update, after Left and Replaced have gone
	Extended *Member      // of this one, ExpiresAt alone; unless it is in Members
	Left     []string     // members to delete
	Replaced []string     // members to delete and to remember as replaced
	Owned    []*Ownership // to insert or update
	Dropped  []Partition  // to delete, if they are there
	Wake     []string     // members whose waiting polls have something to be told now
}

// Empty reports whether there is nothing to write.
func (c *Change) Empty() bool { return c.Extended == nil && c.Group == 0 && len(c.Members) == 0 }

// OnlyDeadline reports whether there is nothing to write but Extended, which
// needs no lock: UPDATE … SET expires_at = $1 WHERE … AND expires_at < $1. If
// that finds no row, the member is gone.
func (c *Change) OnlyDeadline() bool { return c.Extended != nil && c.Group == 0 && len(c.Members) == 0 }

// step is a transition on its way. Transitions set up no step before they have
// refused all that they refuse.
type step struct {
	*Group
	raised   bool
	written  map[string]*Member
	extended *Member
	touched  map[Partition]*Ownership
	left     []string
	replaced []string
	wake     []string
}

// raise gives out the group's next epoch, one a step.
func (s *step) raise() int64 {
	if !s.raised {
		s.raised = true
		s.Epoch++
	}
	return s.Epoch
}

func (s *step) wrote(m *Member) {
	if s.written == nil {
		s.written = map[string]*Member{}
	}
	s.written[m.MemberID] = m
}

func (s *step) touch(row *Ownership) {
	if s.touched == nil {
		s.touched = map[Partition]*Ownership{}
	}
	s.touched[row.Partition] = row
	s.raise()
}

func (s *step) wakes(id string) { s.wake = append(s.wake, id) }

// use makes the previous epoch stale.
func (s *step) use(m *Member) {
	if m.Previous != 0 {
		m.Previous = 0
		s.wrote(m)
	}
}

// letGo frees what the member was told to let go of.
func (s *step) letGo(m *Member) {
	if m.RevokeBy.IsZero() {
		return
	}
	for _, row := range s.Partitions {
		if row.Owner == m.MemberID && row.Revoking {
			s.free(row)
		}
	}
	m.RevokeBy = time.Time{}
	s.wrote(m)
}

func (s *step) free(row *Ownership) {
	row.Owner, row.Since, row.Revoking = "", 0, false
	s.touch(row)
}

// reconcile takes a member one step nearer to its target: it shrinks first, and
// grows when it has said that it let go.
func (s *step) reconcile(m *Member, now time.Time) {
	for _, row := range s.Partitions {
		if row.Owner == m.MemberID && row.Target != m.MemberID {
			row.Revoking = true
			s.touch(row)
			m.RevokeBy = now.Add(m.RebalanceTimeout)
		}
	}
	if !m.RevokeBy.IsZero() {
		m.Previous, m.Epoch = m.Epoch, s.raise()
		s.wrote(m)
		return
	}
	before := m.Epoch
	if s.gain(m) {
		m.Previous = before
	}
}

// gain gives the member what is free of its target, in a new epoch, and reports
// whether that was anything.
func (s *step) gain(m *Member) bool {
	gained := false
	for _, row := range s.Partitions {
		if row.Owner == "" && row.Target == m.MemberID {
			row.Owner, row.Since = m.MemberID, s.raise()
			s.touch(row)
			gained = true
		}
	}
	if gained {
		m.Epoch = s.raise()
		s.wrote(m)
	}
	return gained
}

// forget frees what a member has that it is not to have, without asking it: all
// its epochs so far are stale.
func (s *step) forget(m *Member) {
	for _, row := range s.Partitions {
		if row.Owner == m.MemberID && (row.Revoking || row.Target != m.MemberID) {
			s.free(row)
		}
	}
}

// extend moves the deadline of a member that was heard of, if a part of its
// session has passed since that was written.
func (s *step) extend(m *Member, now time.Time) {
	if m.ExpiresAt.Sub(now) <= m.SessionTimeout {
		m.ExpiresAt = now.Add(m.SessionTimeout + m.SessionTimeout/heartbeatShare)
		s.extended = m
	}
}

// admit adds a member, in the place of the one with its instance_id if there is
// one.
func (s *step) admit(j Join) *Member {
	m := &Member{}
	for _, old := range s.Members {
		if j.InstanceID == "" || old.InstanceID != j.InstanceID {
			continue
		}
		m = old
		delete(s.Members, old.MemberID)
		s.Replaced[old.MemberID] = true
		s.replaced = append(s.replaced, old.MemberID)
		for _, row := range s.Partitions {
			if row.Owner == old.MemberID {
				s.free(row) // and the new one gains it with its epoch
			}
			if row.Target == old.MemberID {
				row.Target = j.MemberID
				s.touch(row)
			}
		}
		break
	}
	s.Members[j.MemberID] = m
	return m
}

// remove takes a member out, who loses all that it had.
func (s *step) remove(m *Member) {
	delete(s.Members, m.MemberID)
	s.left = append(s.left, m.MemberID)
	for _, row := range s.Partitions {
		if row.Owner == m.MemberID {
			s.free(row)
		}
	}
	s.raise()
}

// retarget says anew who is to have what.
func (s *step) retarget() {
	subscribers := make([]subscriber, 0, len(s.Members))
	for id, m := range s.Members {
		subscribers = append(subscribers, subscriber{id, m.TopicIDs})
	}
	targets := assign(s.assignor(), subscribers, s.Topics, s.Partitions)
	for p, target := range targets {
		row := s.Partitions[p]
		if row == nil {
			row = &Ownership{Partition: p}
			s.Partitions[p] = row
		}
		if row.Target != target {
			row.Target = target
			s.touch(row)
		}
	}
	for p, row := range s.Partitions {
		if targets[p] == "" && (row.Target != "" || row.Owner == "") {
			row.Target = ""
			s.touch(row)
		}
	}
}

// assignor returns the one that most members want, uniform on equal terms.
func (g *Group) assignor() string {
	ranges := 0
	for _, m := range g.Members {
		switch m.Assignor {
		case AssignRange:
			ranges++
		case AssignUniform:
			ranges--
		}
	}
	if ranges > 0 {
		return AssignRange
	}
	return AssignUniform
}

// change ends the step.
func (s *step) change() Change {
	c := Change{Left: s.left, Replaced: s.replaced}
	if s.raised {
		c.Group = s.Epoch
	}
	for _, id := range slices.Sorted(maps.Keys(s.written)) {
		c.Members = append(c.Members, s.written[id])
	}
	if s.extended != nil && s.written[s.extended.MemberID] == nil {
		c.Extended = s.extended
	}
	wake := slices.Concat(s.wake, s.left, s.replaced)
	for _, p := range slices.SortedFunc(maps.Keys(s.touched), Partition.Compare) {
		row := s.touched[p]
		switch {
		case row.Owner == "" && row.Target == "":
			delete(s.Partitions, p)
			c.Dropped = append(c.Dropped, p)
			continue
		case row.Owner == "":
			wake = append(wake, row.Target)
		case row.Owner != row.Target && !row.Revoking:
			wake = append(wake, row.Owner)
		}
		c.Owned = append(c.Owned, row)
	}
	slices.Sort(c.Left)
	slices.Sort(wake)
	c.Wake = slices.Compact(wake)
	return c
}
