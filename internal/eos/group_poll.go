package eos

import "time"

// heartbeatShare is the part of a session that may pass before the deadline is
// written again. A dead member's partitions are free after the session and one
// such part; within that and a third of a session, the heartbeat interval, the
// others must have taken them over (G2). So it is less than a third.
const heartbeatShare = 4

// Poll hears a member that commits offsets of some partitions, or none: a
// heartbeat. It returns the head of the answer; records are of its Partitions
// only.
//
// The member's current epoch says that the answer with it has arrived: what it
// was told to let go of is free from now on. Then it is told what else to let go
// of, or, when there is nothing, it gets those of its target's partitions that
// are free; either raises its epoch. The previous epoch, while it is accepted,
// is a repeat: the answer's head is the first one, and nothing moves.
//
// It refuses with UnknownMember, FencedInstanceID, FencedMemberEpoch or
// PartitionNotOwned, and then nothing has changed. A session that has run out
// is taken up again, unless Expire came first.
func (g *Group) Poll(now time.Time, id string, epoch int64, commits []Partition) (Assignment, Change, error) {
	if err := g.CheckCommit(id, epoch, commits); err != nil {
		return Assignment{}, Change{}, err
	}
	m := g.Members[id]
	s := step{Group: g}
	if epoch == m.Epoch {
		s.use(m)
		s.letGo(m)
		s.reconcile(m, now)
	}
	s.extend(m, now)
	return g.assignment(m), s.change(), nil
}

// CheckCommit refuses a member's commit of partitions that are not its own
// (G1), with UnknownMember, FencedInstanceID, FencedMemberEpoch or
// PartitionNotOwned. The previous epoch, while it is accepted, counts for the
// partitions that the member had in that epoch and has still.
func (g *Group) CheckCommit(id string, epoch int64, partitions []Partition) error {
	m, err := g.member(id)
	if err != nil {
		return err
	}
	if !m.accepts(epoch) {
		return FencedMemberEpoch.Errorf("member %q has epoch %d, not %d", id, m.Epoch, epoch).AtMemberEpoch(m.Epoch)
	}
	for _, p := range partitions {
		row := g.Partitions[p]
		switch {
		case row != nil && row.Owner == id && row.Since <= epoch:
		case epoch == m.Epoch:
			return PartitionNotOwned.Errorf("member %q does not own partition %d", id, p.Number).AtPartition(p)
		default:
			return FencedMemberEpoch.Errorf("member %q has epoch %d, and in epoch %d does not own partition %d",
				id, m.Epoch, epoch, p.Number).AtMemberEpoch(m.Epoch).AtPartition(p)
		}
	}
	return nil
}

// Commit is the commit of a transaction that names a member: CheckCommit, and
// the current epoch, once used, makes the previous one stale, which is the
// only change there may be. It lets go of nothing and extends no session.
func (g *Group) Commit(id string, epoch int64, partitions []Partition) (Change, error) {
	if err := g.CheckCommit(id, epoch, partitions); err != nil {
		return Change{}, err
	}
	s := step{Group: g}
	if m := g.Members[id]; epoch == m.Epoch {
		s.use(m)
	}
	return s.change(), nil
}

// Advance returns the committed offset that stands after a member's commit, and
// whether it is another: a commit below the committed offset changes nothing, so
// that a late duplicate cannot rewind (G4). committed is nil when the group has
// none for the partition.
func Advance(committed *int64, offset int64) (stands int64, changed bool) {
	if committed != nil && *committed > offset {
		return *committed, false
	}
	return offset, committed == nil || *committed != offset
}

// StartOffset returns the offset that a member reads a partition from: the
// position that it gives, else the group's committed offset, else the end of the
// log that reset names. What retention has passed is reset there, too, and
// resetFrom tells from where. It refuses a position beyond the high watermark
// with OffsetBeyondEnd.
//
// A start at the high watermark that nobody commits is another one at the next
// poll, and what came in between is skipped. So when keep is true, the start is
// to be committed for the group before the answer.
func StartOffset(position, committed *int64, reset string, logStart, highWatermark int64) (start int64, resetFrom *int64, keep bool, err error) {
	at := position
	if at == nil {
		at = committed
	}
	switch {
	case at != nil && *at >= logStart:
		return *at, nil, false, CheckOffset(*at, highWatermark)
	case reset == ResetLatest:
		return highWatermark, at, position == nil, nil
	}
	return logStart, at, false, nil
}
