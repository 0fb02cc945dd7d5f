package eos

import (
	"cmp"
	"slices"
	"time"
)

// Group is what is stored of a consumer group, as far as a transition needs it.
// The model is KIP-848's: the server computes who is to have which partition,
// the target; a partition moves there only when its owner has let go of it, or
// is gone; the epochs of members fence what they left behind.
//
// It is kept in rows of four tables:
//
//	groups             group; epoch
//	members            group, member_id; a Member
//	replaced members   group, member_id; when
//	group partitions   group, partition; an Ownership
//
// A transition takes the group as it was loaded, changes it, and returns as a
// Change the rows to write, in the SQL transaction that loaded it. What is to
// be loaded, and locked while a Change that is not empty is written:
//
//   - Join, Leave, Expire, Refresh, CheckEmpty, State: all of the group, with
//     Topics and with TopicIDs of all members; under the lock of its groups row.
//   - Poll: the member and the partitions that it owns or is the target of, in
//     one snapshot. If it would change more than a deadline, once more under the
//     lock of the groups row; if it commits, under that of the member's row.
//   - Commit: the member and the partitions that are named, under the lock of the
//     member's row alone: a member loses a partition only in a transaction that
//     writes its row, too.
//   - Of Replaced, the members that the request names.
//
// So members that poll and commit do not wait for each other, and nothing of
// one group waits for another (G6).
type Group struct {
	ID string
	// Epoch rises with every change of a target, an owner or a member's epoch.
	// All epochs of members come from it. So it stays when the members leave: a
	// member that joins under an id that was used before is above all epochs
	// that this id ever had.
	Epoch      int64
	Members    map[string]*Member
	Replaced   map[string]bool // ids whose instance_id another member took over (G7)
	Partitions map[Partition]*Ownership
	Topics     map[int64]int // the partition counts of the topics that members subscribe to
}

// NewGroup returns a group of which nothing is stored, to load what is.
func NewGroup(id string) Group {
	return Group{
		ID: id, Members: map[string]*Member{}, Replaced: map[string]bool{},
		Partitions: map[Partition]*Ownership{}, Topics: map[int64]int{},
	}
}

// Partition is a partition of a topic as groups know it. A topic that was
// deleted and created again has another id.
type Partition struct {
	Topic  int64
	Number int
}

// Compare orders partitions by topic and number.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.Number, q.Number))
}

// Ownership is who has a partition and who is to have it. One row a partition,
// so that it cannot have two owners (G1); a partition that has and needs none
// has no row.
type Ownership struct {
	Partition
	Owner    string // the member that may commit; empty when there is none
	Since    int64  // the member epoch with which Owner got it
	Revoking bool   // whether Owner was told to let go of it, and has not said yet that it did
	Target   string // the member that is to have it; empty when nobody subscribes any more
}

// Member is what is stored of a member.
type Member struct {
	Join           // as it last joined
	Epoch    int64 // the current one
	Previous int64 // the one before, while the current one was not used yet; else 0
	// ExpiresAt is when the session is over unless the member is heard of. It
	// is written only when a quarter of a session has passed since it was
	// written last, and is that quarter later for it. No index may have it, so
	// that writing it stays cheap.
	ExpiresAt time.Time
	RevokeBy  time.Time // when it must have let go of what is Revoking; zero while nothing is
}

// accepts reports whether a request with this epoch is heard. The previous one
// is until the current one has been used: the answer that told of the current
// one may be lost (G1).
func (m *Member) accepts(epoch int64) bool {
	return epoch > 0 && (epoch == m.Epoch || epoch == m.Previous)
}

// heartbeatInterval returns how often the member should be heard of.
func (m *Member) heartbeatInterval() time.Duration { return m.SessionTimeout / 3 }

// Assignment is the head of the answer to a join, a poll or a heartbeat.
type Assignment struct {
	MemberEpoch       int64
	Partitions        []Partition   // all that the member has, ascending: records are of these only
	Revoking          []Partition   // what it was told to let go of, ascending; it can commit these still
	HeartbeatInterval time.Duration // how often it should be heard of
	Created           bool          // of a join: whether the member id is new
}

// The states of a group, as GET tells them.
const (
	GroupEmpty       = "empty"       // it has no members
	GroupReconciling = "reconciling" // partitions are on their way to other members
	GroupStable      = "stable"      // all is as it is to be
)

// State returns one of the states of a group.
func (g *Group) State() string {
	if len(g.Members) == 0 {
		return GroupEmpty
	}
	for _, row := range g.Partitions {
		if row.Owner != row.Target || row.Revoking {
			return GroupReconciling
		}
	}
	return GroupStable
}

// CheckEmpty refuses what only a group without members allows: its deletion,
// and the offsets of somebody who is not a member. The caller runs Expire first.
func (g *Group) CheckEmpty() error {
	if n := len(g.Members); n > 0 {
		return NonEmptyGroup.Errorf("group %q has %d members", g.ID, n)
	}
	return nil
}

// member returns the member, if its id is (still) one.
func (g *Group) member(id string) (*Member, error) {
	if g.Replaced[id] {
		return nil, g.fencedInstance(id)
	}
	m := g.Members[id]
	if m == nil {
		return nil, UnknownMember.Errorf("group %q has no member %q: join", g.ID, id)
	}
	return m, nil
}

func (g *Group) fencedInstance(id string) *Error {
	return FencedInstanceID.Errorf("another member of group %q has taken over the instance_id of member %q", g.ID, id)
}

// assignment is the same for the same member epoch, until that is used: the
// answer to a repeat.
func (g *Group) assignment(m *Member) Assignment {
	a := Assignment{MemberEpoch: m.Epoch, HeartbeatInterval: m.heartbeatInterval()}
	for p, row := range g.Partitions {
		switch {
		case row.Owner != m.MemberID:
		case row.Revoking:
			a.Revoking = append(a.Revoking, p)
		default:
			a.Partitions = append(a.Partitions, p)
		}
	}
	slices.SortFunc(a.Partitions, Partition.Compare)
	slices.SortFunc(a.Revoking, Partition.Compare)
	return a
}
