package sim

import "slices"

// message is a request on its way to a proxy, or an answer on its way back.
type message struct {
	call   *call
	proxy  int
	answer *answer // nil: a request
	from   int64   // when it can arrive at the earliest
}

const crowded = 40 // messages on their way, from which on clients wait

// send sends an attempt of an op to some proxy, perhaps twice, perhaps late.
func (w *world) send(o *op) {
	o.tries++
	w.post(message{call: &call{op: o, try: o.tries}, proxy: w.n(len(w.proxies))})
}

func (w *world) post(m message) {
	m.from = w.db.now
	switch {
	case w.fault(12):
		m.from += int64(w.n(w.longest()))
	case w.fault(12) && m.answer == nil:
		twin := m
		twin.call = &call{op: m.call.op, try: m.call.try}
		twin.proxy, twin.from = w.n(len(w.proxies)), twin.from+int64(w.n(w.longest()/4))
		w.network = append(w.network, twin)
	}
	w.network = append(w.network, m)
}

// deliver has a message arrive, unless it is lost.
func (w *world) deliver() bool {
	if len(w.network) == 0 {
		return false
	}
	i := w.n(len(w.network))
	m := w.network[i]
	if m.from > w.db.now && !w.calm {
		return false
	}
	w.network = slices.Delete(w.network, i, i+1)
	switch p := w.proxies[m.proxy]; {
	case w.fault(15):
		w.tracef("lost: %s", m.call)
	case m.answer != nil:
		w.tracef("%s hears: %s: %s", m.call.by.name, m.call.op, m.answer)
		if m.call.by.waits(m.call.op) {
			m.call.by.hear(m.call.op, m.answer)
		}
	case !p.up:
	case p.frozen > w.db.now: // it waits in the socket
		w.network = append(w.network, m)
		return false
	default:
		w.tracef("p%d gets %s", p.n, m.call.op)
		w.serve(p, m.call)
	}
	return true
}

// answer sends an answer, which the judge hears of first.
func (w *world) answer(c *call, a *answer) {
	w.tracef("p%d answers %s: %s", c.proxy.n, c.op, a)
	w.truth.answered(c, a)
	w.post(message{call: c, proxy: 0, answer: a})
}

// route has a proxy find out where the records of an attempt go: by the partition
// count that it knows, or, with no proxy, by the one that there is.
func (w *world) route(c *call, p *proxy) {
	c.parts = c.op.parts
	if c.spread == nil {
		return
	}
	c.count = w.db.counts[c.scope]
	if p != nil && p.writer.facts.counts[c.scope] != 0 {
		c.count = p.writer.facts.counts[c.scope]
	}
	c.parts = nil
	for n := range c.count {
		log := c.scope*perTopic + int64(n)
		if values := routed(c.spread, log, c.count); len(values) > 0 {
			c.parts = append(c.parts, part{log, values})
		}
	}
}

// routed is the values that go to a log of a topic with so many partitions.
func routed(values []int64, log int64, count int) (mine []int64) {
	for _, v := range values {
		if v%int64(count) == log%perTopic {
			mine = append(mine, v)
		}
	}
	return mine
}
