package sim

import (
	"fmt"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// client is a process that uses the service as it is meant to: it sends what was
// not answered again, the same bytes, until it is. A role says what it does.
type client struct {
	*world
	name    string
	role    role
	pending []*op // sent, and not answered
	resting int64 // until when it does nothing
}

type role interface {
	act()                   // sends something new, if there is anything
	heard(o *op, a *answer) // gets the answer to an op, which is not pending any more
	finished() bool         // in the end: there is nothing left to do
	most() int              // how many ops may be pending
}

// The topics. Producers write to input and short, tellers to input and bank,
// workers read input and write output; the records of short leave soon.
const (
	inputTopic  = 1
	outputTopic = 2
	shortTopic  = 3
	bankTopic   = 4
)

func (w *world) newClient(name string) *client {
	c := &client{world: w, name: name}
	w.clients = append(w.clients, c)
	return c
}

// act has a client do something: something new, or the same again.
func (c *client) act() {
	if c.db.now < c.resting && !c.calm {
		return
	}
	if len(c.pending) > 0 && (len(c.pending) >= c.role.most() || c.one(3)) {
		if o := c.pending[c.n(len(c.pending))]; c.db.now >= o.again {
			c.ask(o)
		}
		return
	}
	if len(c.network) < crowded {
		c.role.act()
	}
}

// ask sends an op.
func (c *client) ask(o *op) {
	o.again = c.db.now + int64(20+c.world.n(400))
	c.tracef("%s sends %s", c.name, o)
	c.send(o)
}

// begin sends an op for the first time.
func (c *client) begin(o *op) {
	c.pending = append(c.pending, o)
	c.ask(o)
}

func (c *client) waits(o *op) bool { return slices.Contains(c.pending, o) }

// hear gets an answer. One that says nothing of the op is no answer.
func (c *client) hear(o *op, a *answer) {
	if a.unknown() || a.err != nil && a.err.Kind == eos.Unavailable {
		return
	}
	early := a.err != nil && a.err.Kind == eos.OutOfOrder && !o.spoiled // it is sent again
	if i := slices.Index(c.pending, o); i >= 0 && !early {
		c.pending = slices.Delete(c.pending, i, i+1)
	}
	if !o.spoiled {
		c.role.heard(o, a)
	}
}

// forget has a client lose its memory.
func (c *client) forget() { c.pending = nil }

func (c *client) newOp(k kind) *op {
	c.ops++
	o := &op{n: c.ops, kind: k, by: c}
	o.ProducerID, o.begin.ProducerID = eos.NoProducer, eos.NoProducer
	return o
}

func (c *client) values(n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		c.lastValue++
		list[i] = c.lastValue
	}
	return list
}

func (c *client) id(prefix string) string {
	c.ops++
	return fmt.Sprint(prefix, c.ops)
}

// fill completes an op with records.
func (o *op) fill() *op {
	parts := o.parts
	if o.spread != nil {
		parts = []part{{o.scope, o.spread}}
	}
	o.RecordCount = countOf(parts)
	o.Fingerprint = fingerprintOf(parts, int64(len(o.offsets)))
	o.begin.Fingerprint = o.Fingerprint
	return o
}

// spoil returns an op that is to be refused: one that was acknowledged with other
// records, with more, from a place behind the next one, or from an epoch that was
// never given out.
func (c *client) spoil(acked *op, next int64) *op {
	o := *acked
	c.ops++
	o.n, o.spoiled, o.done, o.tries, o.parts = c.ops, true, false, 0, nil
	count := acked.RecordCount
	switch {
	case !o.HasProducer():
	case c.one(4):
		o.Sequence = next + 1_000 // which comes never, however late this does
	case c.one(3):
		count = int(next-o.Sequence) + 1
	case c.one(2):
		o.Epoch += 2
	case o.RecordCount > 1:
		count--
	}
	if o.spread = c.values(count); acked.spread == nil {
		o.parts, o.spread = []part{{acked.parts[0].log, o.spread}}, nil
	}
	return o.fill()
}
