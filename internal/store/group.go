package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Groups. The rules are those of eos.Group; here its rows are locked, loaded
// and saved. The groups row is the lock of all that is written of a group but
// two things, which members do beside each other: a member's commits, under the
// lock of its own row, which may make its previous epoch stale; and its
// deadline, which needs no lock. So what is saved of a member is guarded by what
// was read of these two.
//
// Locks are taken in the order groups, members, committed offsets, each sorted;
// a transaction takes those of producers and transactions before, and those of
// partitions after members.

// MemberState is the head of the answer to a join, a poll or a heartbeat.
type MemberState struct {
	Epoch             int64
	Assignment        []TopicPartitions // all that the member has
	Revoking          []TopicPartitions // what it was told to let go of
	HeartbeatInterval time.Duration
	Created           bool     // of a join: whether the member is new
	Wake              []string // members of the group whose waiting polls have something to be told now
}

// TopicPartitions are partitions of one topic, ascending.
type TopicPartitions struct {
	Topic      string
	Partitions []int
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int
}

// Join adds a member to a group, or changes it. It returns eos.UnknownTopic,
// eos.QuotaExceeded, and what eos.Group.Join refuses with.
func (s *Store) Join(ctx context.Context, group string, j eos.Join) (*MemberState, error) {
	var g *loadedGroup
	var state *MemberState
	var grew int64
	created := false
	err := s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newGroup(group)
		g.queueCreate(batch)
		g.queueLock(batch, "")
		g.queueWholeFor(batch, &j)
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		defer tx.doubt(&err)
		if err := g.mayCreate(s); err != nil {
			return err
		}
		if err := g.subscribe(&j); err != nil {
			return err
		}
		before := len(g.Members)
		a, change, err := g.Join(g.now, j)
		if err != nil {
			return err
		}
		if grew = int64(len(g.Members) - before); grew > 0 {
			if err := s.caps.members(&s.counts); err != nil {
				return err
			}
		}
		g.queueChange(saves, &change)
		state = g.state(&a, &change)
		created = created || state.Created // by the try whose answer was lost
		return nil
	})
	if err != nil {
		return nil, err
	}
	state.Created = created
	g.count(s, grew)
	return state, nil
}

// Leave removes a member, and returns the members whose waiting polls have
// something to be told now. It returns eos.UnknownMember or
// eos.FencedInstanceID.
func (s *Store) Leave(ctx context.Context, group, member string) (wake []string, err error) {
	var g *loadedGroup
	err = s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newGroup(group)
		g.queueLock(batch, "")
		g.queueReplaced(batch, member)
		g.queueWhole(batch)
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		defer tx.doubt(&err)
		g.subscribeAll()
		change, err := g.Leave(member)
		switch {
		case tx.again && errors.Is(err, eos.UnknownMember.Errorf("")):
			return nil // it left by the try whose answer was lost
		case err != nil:
			return err
		}
		g.queueChange(saves, &change)
		wake = change.Wake
		return nil
	})
	if err == nil {
		g.count(s, -1)
	}
	return wake, err
}

// mayCreate refuses to go on with a group that cannot be created.
func (g *loadedGroup) mayCreate(s *Store) error {
	switch {
	case !g.known:
		return errAgain // it was there, and is deleted by now
	case g.created:
		return s.caps.groups(&s.counts)
	}
	return nil
}

// count counts what was written, for the caps.
func (g *loadedGroup) count(s *Store, members int64) {
	s.counts.members.Add(members)
	if g.created {
		s.counts.groups.Add(1)
	}
}

// state returns the head of an answer.
func (g *loadedGroup) state(a *eos.Assignment, c *eos.Change) *MemberState {
	return &MemberState{
		Epoch: a.MemberEpoch, Assignment: g.byTopic(a.Partitions), Revoking: g.byTopic(a.Revoking),
		HeartbeatInterval: a.HeartbeatInterval, Created: a.Created, Wake: c.Wake,
	}
}

// byTopic names partitions; those of topics that are gone are left out.
func (g *loadedGroup) byTopic(partitions []eos.Partition) []TopicPartitions {
	var list []TopicPartitions
	last := int64(-1)
	for _, p := range partitions {
		name := g.names[p.Topic]
		switch {
		case name == "":
			continue
		case p.Topic != last:
			list = append(list, TopicPartitions{Topic: name})
			last = p.Topic
		}
		list[len(list)-1].Partitions = append(list[len(list)-1].Partitions, p.Number)
	}
	slices.SortFunc(list, func(a, b TopicPartitions) int { return cmp.Compare(a.Topic, b.Topic) })
	return list
}
