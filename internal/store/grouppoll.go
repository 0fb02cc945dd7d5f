package store

import (
	"context"
	"errors"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Poll is what a member says when it polls.
type Poll struct {
	Group, Member string
	Epoch         int64
	Commits       []GroupOffset            // of partitions of its own; their Group and From are not read
	Positions     map[TopicPartition]int64 // to read from, instead of the committed offsets
	Heartbeat     bool                     // it does not ask where to read
}

// Polled is the answer to a poll.
type Polled struct {
	MemberState
	GroupEpoch int64
	Readable   []Readable // the partitions that the member has, in the order of its assignment; none of a heartbeat
}

// Readable is a partition that a member may read, and from where.
type Readable struct {
	Topic         string
	Partition     int
	Log           int64  // the partition's id
	Committed     *int64 // nil when the group has none
	Offset        int64  // to read from
	ResetFrom     *int64 // what that would be, had retention not passed it
	HighWatermark int64
}

// readableLog is a Readable as it was read.
type readableLog struct {
	Readable
	logStart int64
}

// errAlone says that a poll changes what only a lock allows.
var errAlone = errors.New("the poll needs a lock")

// Poll hears a member, commits its offsets and tells where to read on. It
// returns eos.UnknownTopic, eos.OffsetBeyondEnd, and what eos.Group.Poll refuses
// with. Mostly it is one read: a deadline is written once in a quarter of a
// session, and nothing else unless the member commits or partitions move.
func (s *Store) Poll(ctx context.Context, p *Poll) (*Polled, error) {
	if len(p.Commits) == 0 {
		polled, err := s.pollFreely(ctx, p)
		if !errors.Is(err, errAlone) {
			return polled, err
		}
	}
	return s.pollLocked(ctx, p)
}

// pollFreely polls without a lock. It returns errAlone when more is to be
// written than a deadline.
func (s *Store) pollFreely(ctx context.Context, p *Poll) (polled *Polled, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		g := newPolled(p)
		batch := &pgx.Batch{}
		g.queue(batch)
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		var change eos.Change
		if polled, change, err = g.poll(); err != nil {
			return err
		}
		switch {
		case len(g.writes) > 0 || !change.Empty() && !change.OnlyDeadline():
			return errAlone
		case change.OnlyDeadline():
			return extendSession(ctx, conn, p, change.Extended)
		}
		return nil
	})
	return polled, err
}

// extendSession writes a member's deadline. A crash that takes it back makes the
// member expire earlier, but those who expire members wait after a crash: so it
// need not be flushed.
func extendSession(ctx context.Context, conn *pgx.Conn, p *Poll, m *eos.Member) error {
	const relax = `
		SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $1, true)`
	batch := &pgx.Batch{} // which is one SQL transaction
	batch.Queue(relax, milliseconds(patientWait))
	found := int64(0)
	batch.Queue(sqlExtend, p.Group, p.Member, m.ExpiresAt).Exec(affected(&found))
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if found == 0 {
		return errAlone // it is gone, or another poll came first
	}
	return nil
}

// pollLocked polls under the lock of the member's row, and then, if more is to
// change than that allows, again under the lock of the group's as well.
func (s *Store) pollLocked(ctx context.Context, p *Poll) (*Polled, error) {
	alone := false
	var g *polledGroup
	var polled, lost *Polled
	err := s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newPolled(p)
		if alone {
			g.queueLock(batch, "")
		}
		batch.Queue(sqlLockMember, p.Group, p.Member)
		g.queue(batch)
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		var change eos.Change
		polled, change, err = g.poll()
		switch {
		case tx.again && g.wasDone(err, lost):
			polled = lost
			return nil
		case err != nil:
			tx.doubt(&err)
			return err
		case !alone && !change.Empty() && !change.OnlyDeadline():
			alone = true
			return errAgain
		}
		lost = polled
		g.queueChange(saves, &change)
		queueOffsets(saves, g.writes)
		return nil
	})
	return polled, err
}

// wasDone reports whether a refusal is that of a poll that a try had done whose
// answer was lost: the member is still in the epoch that this try gave it, so
// that nobody but that try took from it what it committed and let go of.
func (g *polledGroup) wasDone(err error, lost *Polled) bool {
	notIts := errors.Is(err, eos.PartitionNotOwned.Errorf("")) || errors.Is(err, eos.FencedMemberEpoch.Errorf(""))
	return notIts && lost != nil && g.session != nil && g.session.Epoch == lost.Epoch
}

// poll decides, and fills in writes.
func (g *polledGroup) poll() (*Polled, eos.Change, error) {
	if err := g.checkTargets(); err != nil {
		return nil, eos.Change{}, err
	}
	a, change, err := g.Poll(g.now, g.asked.Member, g.asked.Epoch, g.targets())
	if err != nil {
		return nil, eos.Change{}, g.named(err)
	}
	g.commit()
	polled := &Polled{MemberState: *g.state(&a, &change), GroupEpoch: g.Epoch}
	if g.asked.Heartbeat {
		return polled, change, nil
	}
	for _, p := range a.Partitions {
		if g.logs[p] == nil {
			continue
		}
		if err := g.start(p); err != nil {
			return nil, eos.Change{}, err
		}
		polled.Readable = append(polled.Readable, g.logs[p].Readable)
	}
	return polled, change, nil
}

// targets returns the partitions that the poll commits.
func (g *polledGroup) targets() []eos.Partition {
	partitions := make([]eos.Partition, len(g.commits))
	for i := range g.commits {
		partitions[i] = g.target(i)
	}
	return partitions
}

// target returns the partition that a commit names, as groups know it.
func (g *polledGroup) target(i int) eos.Partition {
	return eos.Partition{Topic: g.commits[i].topicID, Number: g.asked.Commits[i].Partition}
}

// checkTargets refuses commits of partitions that do not exist, and of offsets
// that they do not have.
func (g *polledGroup) checkTargets() error {
	for i, o := range g.asked.Commits {
		o.Group = g.ID
		if _, err := o.in(g.commits[i]); err != nil {
			return err
		}
	}
	return nil
}

// commit sets the offsets that the poll commits, where they are not below those
// that stand (G4).
func (g *polledGroup) commit() {
	for i, o := range g.asked.Commits {
		known := g.logs[g.target(i)]
		if known == nil {
			continue // it was deleted since it was owned
		}
		stands, changed := eos.Advance(known.Committed, o.Offset)
		if changed || stands == o.Offset && o.Metadata != nil {
			g.writes[known.Log] = partitionOffset{Group: g.ID, PartitionID: known.Log, Offset: stands, Metadata: o.Metadata}
		}
		known.Committed = &stands
	}
}

// start finds out where to read a partition from.
func (g *polledGroup) start(p eos.Partition) (err error) {
	l := g.logs[p]
	var position *int64
	if given, ok := g.asked.Positions[TopicPartition{l.Topic, l.Partition}]; ok {
		position = &given
	}
	keep := false
	l.Offset, l.ResetFrom, keep, err = eos.StartOffset(position, l.Committed, g.session.AutoOffsetReset, l.logStart, l.HighWatermark)
	if err != nil {
		return about(err, "topic %q, partition %d: ", l.Topic, l.Partition)
	}
	if keep {
		l.Committed = &l.Offset
		g.writes[l.Log] = partitionOffset{Group: g.ID, PartitionID: l.Log, Offset: l.Offset}
	}
	return nil
}

// named is nameTopic of what the poll commits.
func (g *polledGroup) named(err error) error {
	named := make([]partitionOffset, len(g.commits))
	for i, t := range g.commits {
		named[i].Topic, named[i].TopicID, named[i].Number = g.asked.Commits[i].Topic, t.topicID, g.asked.Commits[i].Partition
	}
	return nameTopic(err, named)
}
