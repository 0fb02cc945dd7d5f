package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// put is told of a transaction that begins, or is done in one request.
func (t *truth) put(c *call, places []place) {
	t.must(c.op)
	x := &knownTxn{
		id: c.begin.ID, begun: true, content: string(c.begin.Fingerprint[:]), producer: c.begin.ProducerID, began: t.w.db.now,
		timeout: c.timeout, state: eos.StateOngoing, offsets: c.offsets,
	}
	t.transactions[x.id] = x
	k := &known{op: c.op, txn: x.id}
	k.op.routed = c.parts
	x.staged = append(x.staged, k)
	if c.whole {
		t.end(x, places)
		return
	}
	if p := t.producers[x.producer]; p != nil {
		p.open = x.id
	}
}

// committed is told of the commit of a transaction.
func (t *truth) committed(o *op, places []place) {
	t.must(o)
	if x := t.transactions[o.TransactionID]; x != nil {
		t.end(x, places)
	}
}

// end commits: all that was staged is in the log, contiguous in each partition,
// and nothing else (T1, T2).
func (t *truth) end(x *knownTxn, places []place) {
	want := map[int64][]int64{}
	for _, k := range x.staged {
		for _, p := range k.op.routed {
			want[p.log] = append(want[p.log], p.values...)
		}
	}
	for _, p := range places {
		if len(want[p.log]) != p.count {
			t.fail("torn transaction", "%s has %v staged for %d, and %d are committed", x.id, want[p.log], p.log, p.count)
		}
		t.place(p.log, p.base, want[p.log])
		delete(want, p.log)
	}
	if len(want) > 0 {
		t.fail("torn transaction", "%s has %v staged that are not committed", x.id, want)
	}
	x.state, x.places = eos.StateCommitted, places
	for _, o := range latest(x.offsets) {
		t.processedIn(o)
	}
	if p := t.producers[x.producer]; p != nil && p.open == x.id {
		p.open = ""
	}
}

// staged is told of offsets that were staged.
func (t *truth) staged(o *op) {
	if x := t.transactions[o.TransactionID]; x.state != eos.StateOngoing {
		t.fail("wrong transaction", "%s stages in one that is %s", o, x.state)
	} else {
		x.offsets = append(x.offsets, o.offsets...)
	}
}

// aborted is told that a transaction was aborted: nothing of it happened (T7).
func (t *truth) aborted(id, by string) {
	x := t.transactions[id]
	switch {
	case x.state != eos.StateOngoing:
		t.fail("two fates", "%s was %s, and is aborted by %s", id, x.state, by)
	case by == eos.AbortedByTimeout && t.w.db.now < x.began+x.timeout:
		t.fail("aborted before its timeout", "%s began at %d with a timeout of %d", id, x.began, x.timeout)
	}
	x.state, x.by = eos.StateAborted, by
	for _, u := range slices.Backward(x.undo) {
		t.next[u.key] = u.next
	}
	for _, k := range x.staged {
		if t.kept[keyOf(k.op)] == k {
			delete(t.kept, keyOf(k.op))
		}
	}
	if p := t.producers[x.producer]; p != nil && p.open == id {
		p.open = ""
	}
}

// givenUp is told of the abort of a transaction that nobody had begun.
func (t *truth) givenUp(o *op) {
	t.transactions[o.TransactionID] = &knownTxn{
		id: o.TransactionID, producer: o.ProducerID, state: eos.StateAborted, by: eos.AbortedByClient,
	}
}

func (t *truth) answeredFate(c *call, a *answer) {
	id := c.TransactionID
	if c.kind == kindPut {
		id = c.begin.ID
	}
	x := t.transactions[id]
	switch {
	case x == nil:
		t.fail("lost write", "%s is answered %s, and there is no such transaction", c, a)
	case a.state == eos.StateOngoing: // as it was
	case x.state != a.state || x.by != a.by || !slices.Equal(x.places, a.places):
		t.fail("two fates", "%s is answered %s, and %s is %s %s at %v", c, a, id, x.state, x.by, x.places)
	}
}
