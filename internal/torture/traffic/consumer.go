package traffic

import (
	"context"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// consumer is a member that polls, and commits what it polled with a later poll. It leaves, dies, and comes back; and
// it goes on under an epoch that is not its own any more.
type consumer struct {
	*member
	all  []string         // the topics that it may subscribe to
	back bool             // reports whether it goes back now and then, to what may have left by now
	done []history.Commit // to be committed
	read []history.Commit // where it has come to
}

func newConsumer(h *hand, group, instance, reset string, topics ...string) *consumer {
	m := &member{hand: h, group: group, instance: instance, reset: reset}
	for _, name := range topics {
		m.topics = append(m.topics, h.t.topic(name).Topic.Topic)
	}
	m.again()
	return &consumer{member: m, all: m.topics}
}

func (c *consumer) run(ctx context.Context) {
	h := c.hand
	for h.goesOn() {
		if c.epoch == 0 && !c.begin(ctx) {
			return
		}
		switch n := h.rand.IntN(1000); {
		case n < 8:
			c.leave(ctx)
			c.again()
			h.rest(ctx, 0, time.Second)
		case n < 12:
			c.die(ctx)
		case n < 32:
			c.replaced(ctx)
		case n < 60:
			c.heartbeat(ctx)
		case n < 72:
			c.resubscribe(ctx)
		default:
			c.pollOn(ctx)
		}
	}
	if h.chance(500) {
		c.leave(ctx)
	}
}

// begin joins, as another member if this one cannot.
func (c *consumer) begin(ctx context.Context) bool {
	c.done, c.read = nil, nil
	for !c.join(ctx) {
		if ctx.Err() != nil {
			return false
		}
		c.again()
	}
	return true
}

// pollOn polls, with what is to be committed.
func (c *consumer) pollOn(ctx context.Context) {
	var positions []history.Commit
	if c.hand.chance(150) {
		positions = c.read
	}
	if c.back && c.hand.chance(50) {
		positions = c.goneBack()
	}
	a := c.poll(ctx, c.done, positions, 20+c.hand.rand.IntN(300))
	c.done, c.read = nil, nil
	if a.Outcome != history.OK {
		c.hand.rest(ctx, 0, retryPause)
		return
	}
	for _, p := range a.Member.Polled {
		if p.Next > max(p.Committed, 0) {
			c.read = append(c.read, history.Commit{Topic: p.Topic, Partition: p.Partition, From: -1, Offset: p.Next})
		}
	}
	if !c.hand.chance(200) { // else it is committed later, or by nobody
		c.done = c.read
	}
}

// goneBack returns positions before those where it has come to.
func (c *consumer) goneBack() []history.Commit {
	positions := slices.Clone(c.read)
	for i := range positions {
		positions[i].Offset = c.hand.rand.Int64N(positions[i].Offset)
	}
	return positions
}

// resubscribe joins once more, with other topics: one of the two, or both again.
func (c *consumer) resubscribe(ctx context.Context) {
	h := c.hand
	if len(c.topics) == len(c.all) {
		i := h.rand.IntN(len(c.all))
		c.topics = c.all[i : i+1]
	} else {
		c.topics = c.all
	}
	if c.done, c.read = nil, nil; !c.join(ctx) {
		c.again()
	}
}

// die stops without a word. A member without an instance is missed after its session; one with an instance may come
// back within it.
func (c *consumer) die(ctx context.Context) {
	if c.instance == "" || c.hand.chance(300) {
		c.hand.rest(ctx, session, session+2*time.Second)
	} else {
		c.hand.rest(ctx, 0, time.Second)
	}
	c.again()
}

// replaced has the member replaced: by another one with its instance, or by a join of its own that raised the epoch.
// Then it goes on as if it did not know, with a commit, which must be refused.
func (c *consumer) replaced(ctx context.Context) {
	z := c.zombie()
	commits := c.done
	if c.instance != "" {
		c.again()
	}
	if !c.begin(ctx) {
		return
	}
	h := c.hand
	switch h.rand.IntN(3) {
	case 0:
		h.settle(ctx, z.pollRequest(commits, nil, 10, 0))
	case 1:
		h.settle(ctx, z.heartbeatRequest())
	default:
		h.settle(ctx, z.pollRequest(nil, nil, 10, 0))
	}
}
