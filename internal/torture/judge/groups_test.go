package judge_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// consumer is a process that is a member of a group, one after the other.
type consumer struct {
	*world
	by       string
	group    string
	topics   []string
	instance string
	output   string // where it puts what it makes of its input; empty: it only reads and commits
	member   string
	epoch    int64
	done     map[part]int64   // what it is to commit with its next poll
	ahead    map[part]int64   // what it reads on from without a commit
	polled   []history.Polled // what it has to process
}

// beginGroups starts what reads in groups.
func (w *world) beginGroups() {
	for i := range 3 {
		instance := ""
		if i == 0 {
			instance = "static"
		}
		w.consume("reading", instance, "", "plain", "keyed")
		w.consume("processing", instance, "output", "input")
	}
	for range 2 {
		w.observe()
	}
	w.setOffsets()
}

func (w *world) consume(group, instance, output string, topics ...string) {
	c := &consumer{world: w, by: w.name(group), group: group, topics: topics, output: output, instance: instance}
	w.again(c.join)
}

// attempt is a request of the member.
func (c *consumer) attempt(kind history.Kind) history.Attempt {
	return history.Attempt{Operation: c.newOperation(), Process: c.by, Kind: kind, Member: &history.Member{
		Group: c.group, Member: c.member, Instance: c.instance, Epoch: c.epoch,
	}}
}

// join begins a new member, with nothing of the one before.
func (c *consumer) join() {
	c.member = fmt.Sprintf("%s-%d", c.by, c.ops)
	c.done, c.ahead, c.polled = map[part]int64{}, map[part]int64{}, nil
	a := c.attempt(history.KindJoin)
	a.Member.Epoch, a.Member.Topics, a.Member.Session = 0, c.topics, 1000
	c.until(a, c.service.join, func(got *history.Attempt) {
		if got.Outcome != history.OK {
			c.again(c.join)
			return
		}
		c.epoch = got.Member.NewEpoch
		c.again(c.step)
	})
}

// step is what a member does next: mostly it polls.
func (c *consumer) step() {
	switch dice := c.IntN(100); {
	case dice == 0: // it crashes, and another one begins
		c.again(c.join)
	case dice == 1: // it was not running for a while, and goes on as if nothing had been
		c.after(c.between(500, 2500), c.poll)
	case dice < 4:
		a := c.attempt(history.KindLeave)
		c.until(a, c.leave, func(*history.Attempt) { c.again(c.join) })
	case dice < 10:
		c.until(c.attempt(history.KindHeartbeat), c.service.poll, c.heard)
	default:
		c.poll()
	}
}

func (c *consumer) poll() {
	a := c.attempt(history.KindPoll)
	for _, at := range slices.SortedFunc(maps.Keys(c.done), func(a, b part) int {
		return slices.Compare([]string{a.topic, fmt.Sprint(a.number)}, []string{b.topic, fmt.Sprint(b.number)})
	}) {
		a.Member.Commits = append(
			a.Member.Commits,
			history.Commit{Topic: at.topic, Partition: at.number, From: -1, Offset: c.done[at]},
		)
	}
	for at, offset := range c.ahead {
		a.Member.Positions = append(
			a.Member.Positions,
			history.Commit{Topic: at.topic, Partition: at.number, Offset: offset},
		)
	}
	c.until(a, c.service.poll, func(got *history.Attempt) {
		c.done, c.ahead = map[part]int64{}, map[part]int64{}
		c.heard(got)
	})
}

// heard takes what a poll or a heartbeat told.
func (c *consumer) heard(got *history.Attempt) {
	if got.Outcome != history.OK {
		c.again(c.join)
		return
	}
	c.epoch, c.polled = got.Member.NewEpoch, got.Member.Polled
	if c.output != "" {
		c.process()
		return
	}
	for _, p := range c.polled {
		at := part{p.Topic, p.Partition}
		switch {
		case len(p.Spans) == 0:
		case c.chance(20):
			c.ahead[at] = p.Next
		default:
			c.done[at] = p.Next
		}
	}
	c.again(c.step)
}

// process makes one record of each that was polled, and commits both in one transaction a partition.
func (c *consumer) process() {
	if len(c.polled) == 0 {
		c.again(c.step)
		return
	}
	p := c.polled[0]
	c.polled = c.polled[1:]
	if len(p.Spans) == 0 {
		c.process()
		return
	}
	a := c.about(c.by, history.KindOneShot, fmt.Sprintf("%s-%d", c.member, c.ops))
	piece := history.Piece{Topic: c.output, Partition: p.Partition}
	for _, s := range p.Spans {
		for i := range s.Count {
			piece.Sources = append(piece.Sources, s.First+history.Value(i))
		}
	}
	piece.Count = len(piece.Sources)
	piece.First = c.newValues(piece.Count)
	a.Transaction.Pieces = []history.Piece{piece}
	a.Transaction.Offsets = []history.Commit{
		{
			Group:     c.group,
			Member:    c.member,
			Epoch:     c.epoch,
			Topic:     p.Topic,
			Partition: p.Partition,
			From:      max(0, p.Committed),
			Offset:    p.Next,
		},
	}
	c.until(a, c.put, func(got *history.Attempt) {
		if got.Outcome != history.OK {
			c.again(c.join)
			return
		}
		c.again(c.process)
	})
}

// observe asks for the committed offsets of the groups.
func (w *world) observe() {
	by := w.name("observer")
	var step func()
	step = func() {
		group := []string{"reading", "processing", "free"}[w.IntN(3)]
		a := history.Attempt{
			Operation: w.newOperation(),
			Try:       1,
			Process:   by,
			Kind:      history.KindOffsets,
			Offsets:   &history.Offsets{Group: group},
		}
		w.send(a, w.offsets, func(*history.Attempt) { w.again(step) })
	}
	w.again(step)
}

// setOffsets sets the offsets of a group without members, up and back, also in transactions.
func (w *world) setOffsets() {
	by := w.name("offsets")
	var step func()
	step = func() {
		c := history.Commit{Group: "free", Topic: "plain", Partition: w.IntN(2), From: -1, Offset: w.Int64N(1000)}
		if w.chance(50) {
			a := history.Attempt{
				Operation: w.newOperation(),
				Process:   by,
				Kind:      history.KindSetOffsets,
				Offsets: &history.Offsets{
					Group: "free", Offsets: []history.Commit{c},
				},
			}
			w.until(a, w.offsets, func(*history.Attempt) { w.again(step) })
			return
		}
		a := w.about(by, history.KindOneShot, fmt.Sprintf("free-%d", w.ops))
		a.Transaction.Offsets = []history.Commit{c}
		w.until(a, w.put, func(*history.Attempt) { w.again(step) })
	}
	w.again(step)
}

func (w *world) drainOffsets(source history.Source) {
	for _, name := range slices.Sorted(maps.Keys(w.groups)) {
		for _, p := range w.group(name).parts {
			if p.committed >= 0 {
				w.lines = append(w.lines, history.Line{Committed: &history.Committed{
					Source: source, Group: name, Topic: p.topic, Partition: p.number, Offset: p.committed,
				}})
			}
		}
	}
}
