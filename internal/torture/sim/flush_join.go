package sim

// letJoin lets those come along who wait for the next flush, as far as all is
// known, and all is locked, that they need: store/join.go.
func (f *flush) letJoin(t *task) {
	before := len(f.calls)
	expected := map[scopeKey]int64{}
	queue := t.proxy.queue
	n := 0
	for n < len(queue) && f.fits(t, queue[n], expected) {
		f.outcomes = append(f.outcomes, outcome{right: f.w.truth.verdict(queue[n].op)})
		f.which = append(f.which, false)
		n++
	}
	f.calls = append(f.calls[:before:before], queue[:n]...)
	t.calls, t.proxy.queue = f.calls, queue[n:]
	f.w.count.Joined += n
	for _, c := range f.calls[before:] {
		f.w.tracef("%s joins p%d's %s", c, t.proxy.n, t.what)
	}
	f.decide(before)
}

// fits reports whether a call may join.
func (f *flush) fits(t *task, c *call, expected map[scopeKey]int64) bool {
	if c.kind != kindProduce || c.TransactionID != "" {
		return false
	}
	keys := lockParts(nil, c.parts)
	if p := f.w.db.producers[c.ProducerID]; p != nil && p.TransactionalID != "" {
		keys = append(keys, lockKey{table: lockProducer, id: c.ProducerID})
	}
	for _, k := range keys {
		if f.w.db.locks[k] != t {
			return false
		}
	}
	return f.sureOfAppend(c, expected)
}
