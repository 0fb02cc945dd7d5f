package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// truth judges. It is told of what was written, in the order of the COMMITs, and
// of what was answered, keeps a history of its own, and knows the rules in words.
type truth struct {
	w             *world
	logs          map[int64][]int64 // values by offset, for ever
	where         map[int64]int64   // value → its log
	since         map[int64]int64   // value → when it was committed
	kept          map[keptKey]*known
	next          map[scopeKey]int64
	producers     map[int64]*knownProducer
	ids           map[string]int64
	registrations map[string]*answer
	transactions  map[string]*knownTxn
	groups        map[string]*knownGroup
	ending        map[string]bool // transactions that the flush that is judged commits
	anomaly       string
	detail        string
}

// keptKey is the identity of a request; txn is that in which a key counts.
type keptKey struct {
	producer, scope, sequence int64
	key, txn                  string
}

// known is a request that was done.
type known struct {
	op     *op
	places []place
	txn    string
	gone   bool // retention has removed it
}

type knownProducer struct {
	epoch    int64
	id, open string
}

type knownTxn struct {
	id, content string
	begun       bool
	producer    int64
	began       int64
	timeout     int64
	state       eos.State
	by          string
	staged      []*known
	offsets     []offset
	undo        []undo
	places      []place
}

type undo struct {
	key  scopeKey
	next int64
}

func newTruth(w *world) *truth {
	return &truth{
		w: w, logs: map[int64][]int64{}, where: map[int64]int64{}, since: map[int64]int64{}, kept: map[keptKey]*known{},
		next:      map[scopeKey]int64{},
		producers: map[int64]*knownProducer{}, ids: map[string]int64{}, registrations: map[string]*answer{},
		transactions: map[string]*knownTxn{}, groups: map[string]*knownGroup{},
	}
}

// fail notes the first anomaly.
func (t *truth) fail(anomaly, format string, args ...any) {
	if t.anomaly == "" {
		t.anomaly, t.detail = anomaly, fmt.Sprintf(format, args...)
		t.w.tracef("ANOMALY %s: %s", t.anomaly, t.detail)
	}
}

func keyOf(o *op) keptKey {
	switch {
	case o.HasProducer():
		return keptKey{producer: o.ProducerID, scope: o.scope, sequence: o.Sequence}
	case o.TransactionID != "":
		return keptKey{producer: eos.NoProducer, key: o.Key, txn: o.TransactionID}
	}
	return keptKey{producer: eos.NoProducer, scope: o.scope, key: o.Key}
}

// applies is told that an attempt is written.
func (t *truth) applies(c *call) {
	c.applied = true
	c.op.done = true
	if c.failed {
		t.fail("lying failure", "%s was answered effect none, and is written", c)
	}
}

// place puts values at the end of a log (P2): nobody else has put them anywhere.
func (t *truth) place(log, base int64, values []int64) {
	if end := int64(len(t.logs[log])); base != end {
		t.fail("gap or offset reuse", "%v are at offset %d of %d, whose end is %d", values, base, log, end)
	}
	for _, v := range values {
		if other, placed := t.where[v]; placed {
			t.fail("duplicate", "%d is in %d and in %d", v, other, log)
		}
		t.where[v], t.since[v] = log, t.w.db.now
	}
	t.logs[log] = append(t.logs[log], values...)
}

// appended is told of a produce request that is written.
func (t *truth) appended(c *call, places []place) {
	t.must(c.op)
	for i, p := range c.parts {
		if c.spread != nil && !slices.Equal(p.values, routed(c.spread, p.log, t.w.db.counts[c.scope])) {
			t.fail("routed by another partition count", "%s: %v in %d of %d", c, p.values, p.log, t.w.db.counts[c.scope])
		}
		if c.TransactionID == "" {
			t.place(p.log, places[i].base, p.values)
		}
	}
	k := &known{op: c.op, places: places, txn: c.TransactionID}
	if c.TransactionID != "" {
		x := t.transactions[c.TransactionID]
		k.op.routed = c.parts
		x.staged = append(x.staged, k)
		if c.HasProducer() {
			key := scopeKey{c.ProducerID, c.scope}
			x.undo = append(x.undo, undo{key, t.next[key]})
		}
	}
	if c.Any() {
		t.kept[keyOf(c.op)] = k
	}
	if c.HasProducer() {
		t.next[scopeKey{c.ProducerID, c.scope}] = c.Sequence + int64(c.RecordCount)
	}
}

// registered is told of a registration: T6 and P8.
func (t *truth) registered(c *call, a *answer) {
	if c.Key != "" {
		if first := t.registrations[c.Key]; first != nil {
			t.fail("duplicate", "%s was answered %s before", c, first)
		}
		t.registrations[c.Key] = a
	}
	id, there := t.ids[c.TransactionalID]
	p := t.producers[id]
	if !there || c.TransactionalID == "" {
		p = &knownProducer{epoch: -1, id: c.TransactionalID}
		t.producers[a.producer] = p
		t.ids[c.TransactionalID] = a.producer
	} else if id != a.producer {
		t.fail("wrong answer", "%s is producer %d, not %d", c, id, a.producer)
	}
	p.epoch++
	if p.epoch != a.epoch {
		t.fail("fencing broken", "%s gave out epoch %d, not %d", c, a.epoch, p.epoch)
	}
	if p.open != "" {
		t.fail("fencing broken", "%s left transaction %s open", c, p.open)
	}
	next := map[scopeKey]int64{}
	for key, n := range t.next {
		if key.producer == a.producer && n > 0 {
			next[key] = n
		}
	}
	if !maps.Equal(next, a.next) {
		t.fail("wrong next_sequences", "%s told %v, and the log has %v", c, a.next, next)
	}
}

// leaves is told of records that can be read no more: none that is younger than
// the retention says, counted from its commit (R1).
func (t *truth) leaves(log, from, to int64) {
	for offset, v := range t.logs[log][from:to] {
		behind := int64(len(t.logs[log])) - from - int64(offset) - 1
		if age := t.w.db.now - t.since[v]; age < retention.MS && behind < retention.Bytes {
			t.fail("removed too early", "%d of %d is %d ms old, and has %d behind it", v, log, age, behind)
		}
	}
}

// trimmed is told that retention deleted what tells of a request.
func (t *truth) trimmed(o *op) {
	if k := t.kept[keyOf(o)]; k != nil {
		k.gone = true
	}
}

// answered is told of what leaves a proxy.
func (t *truth) answered(c *call, a *answer) {
	switch {
	case a.unknown():
	case a.err != nil:
		c.failed = true
		if c.applied && t.stands(c.op) {
			t.fail("lying failure", "%s is answered %s, and is written", c, a)
		}
	case c.kind == kindPut || c.kind == kindCommit || c.kind == kindAbort:
		t.answeredFate(c, a)
	case !c.op.done && c.kind < kindLeave && !t.isRepeat(c.op):
		t.fail("lost write", "%s is acknowledged, and is not written", c)
	case c.kind == kindProduce:
		k := t.kept[keyOf(c.op)]
		if !a.staged && (k == nil || k.op.Fingerprint != c.Fingerprint || !slices.Equal(k.places, a.places)) {
			t.fail("ack differs from log", "%s is answered %s, and is at %v", c, a, k)
		}
	case c.kind == kindRegister && c.Key != "":
		if first := t.registrations[c.Key]; first == nil || first.producer != a.producer || first.epoch != a.epoch {
			t.fail("ack differs from log", "%s is answered %s, and first %s", c, a, first)
		}
	}
}

// isRepeat reports whether what a produce asks for is written by another one, which has its identity and its records:
// a producer that was fenced sends them again under its next epoch, and a late copy of the first finds them (P3).
func (t *truth) isRepeat(o *op) bool {
	k := t.kept[keyOf(o)]
	return o.kind == kindProduce && o.Any() && k != nil && k.op.done && k.op.Fingerprint == o.Fingerprint
}

// stands reports whether what an op did is there: it is not in a transaction
// that was aborted.
func (t *truth) stands(o *op) bool {
	id := o.TransactionID
	if o.kind == kindPut {
		id = o.begin.ID
	}
	x := t.transactions[id]
	return id == "" || x != nil && (x.state != eos.StateAborted || o.kind == kindAbort)
}
