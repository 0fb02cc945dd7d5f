package sim

import (
	"maps"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// teller is a producer with a transactional id, which it may share with another
// one. It registers anew when it starts, and produces inside and outside of
// transactions, which it commits, aborts, or leaves to their timeout.
type teller struct {
	*client
	transactionalID string
	id, epoch       int64
	next            map[int64]int64 // by scope
	before          map[int64]int64 // next, when the transaction began
	registered      bool
	txn             string
	size            int   // requests in the transaction
	sent            []*op // in the transaction; or in the one before, if that was aborted
	left            int
	stopped         bool
}

func (t *teller) most() int { return 1 }

func (t *teller) finished() bool { return len(t.pending) == 0 && (t.txn == "" || t.stopped) }

func (t *teller) act() {
	switch {
	case len(t.pending) > 0 || t.stopped:
	case !t.registered:
		if t.calm {
			return
		}
		o := t.newOp(kindRegister)
		o.TransactionalID, o.timeout = t.transactionalID, 5_000
		if t.one(2) {
			o.Key = t.client.id("r")
		}
		t.begin(o)
	case t.one(60) && !t.calm:
		t.tracef("%s crashes", t.name)
		t.restart()
	case t.txn != "":
		t.inside()
	case t.calm || t.left == 0:
	case t.one(2):
		t.produce()
	default:
		t.put()
	}
}

func (t *teller) restart() {
	t.forget()
	t.registered, t.txn = false, ""
}

func (t *teller) produce() {
	o := t.newOp(kindProduce)
	o.scope, o.spread = inputTopic, t.values(1+t.world.n(3))
	if t.one(2) {
		o.scope = logOf(eos.Partition{Topic: bankTopic, Number: t.world.n(2)})
		o.parts, o.spread = []part{{o.scope, o.spread}}, nil
	}
	o.ProducerID, o.Epoch, o.Sequence, o.TransactionID = t.id, t.epoch, t.next[o.scope], t.txn
	if t.one(3) {
		o.TransactionalID = t.transactionalID
	}
	for _, first := range t.sent { // T7: the same again, in the next transaction
		if t.size > 0 && first.scope == o.scope && first.Sequence == o.Sequence && first.TransactionID != t.txn {
			o.parts, o.spread = first.parts, first.spread
		}
	}
	if t.txn != "" {
		t.sent = append(t.sent, o)
	}
	t.left--
	t.begin(o.fill())
}

func (t *teller) put() {
	o := t.newOp(kindPut)
	o.begin = eos.Begin{ID: t.client.id("x"), ProducerID: t.id, Epoch: t.epoch}
	for n := range 1 + t.world.n(2) {
		o.parts = append(o.parts, part{logOf(eos.Partition{Topic: bankTopic, Number: n}), t.values(1 + t.world.n(2))})
	}
	o.whole, o.timeout = t.one(3), int64(1_000+t.world.n(8_000))
	t.left--
	t.begin(o.fill())
}

// inside goes on with the open transaction.
func (t *teller) inside() {
	switch {
	case t.one(10) && !t.calm:
		t.spoil()
	case t.size > 0 && !t.calm && t.left > 0 && t.one(2):
		t.size--
		t.produce()
	case t.one(12) && !t.calm:
		t.tracef("%s leaves %s to its timeout", t.name, t.txn)
		t.restart()
	default:
		o := t.newOp(kindCommit)
		if t.one(4) {
			o.kind = kindAbort
		}
		o.TransactionID = t.txn
		if t.one(2) {
			o.ProducerID, o.Epoch = t.id, t.epoch
		}
		t.begin(o)
	}
}

func (t *teller) heard(o *op, a *answer) {
	switch {
	case a.err == nil:
		t.done(o, a)
	case a.err.Kind == eos.ProducerFenced && t.calm:
		t.stopped = true
		t.forget()
	case a.err.Kind == eos.InvalidTxnState && t.txn != "": // it timed out, or was aborted when it was fenced
		t.over()
	case a.err.Kind == eos.OutOfOrder && t.txn == "":
	default:
		if a.err.Kind == eos.ProducerFenced {
			t.resting = t.db.now + int64(t.world.n(3_000))
		}
		t.restart()
	}
}

// spoil sends what is to be refused while the transaction is open: a produce
// outside of it, or a second begin.
func (t *teller) spoil() {
	o := t.newOp(kindProduce)
	o.spoiled = true
	o.scope, o.spread = inputTopic, t.values(1)
	o.ProducerID, o.Epoch, o.Sequence = t.id, t.epoch, t.next[o.scope]+1_000
	if t.one(2) {
		o.kind, o.parts, o.spread = kindPut, []part{{logOf(eos.Partition{Topic: bankTopic}), o.spread}}, nil
		o.begin = eos.Begin{ID: t.client.id("x"), ProducerID: t.id, Epoch: t.epoch}
		o.whole, o.timeout = t.one(2), 2_000
	}
	t.begin(o.fill())
}

// over is the end of an aborted transaction: its sequences are unused again.
func (t *teller) over() {
	t.next, t.txn = t.before, ""
}

func (t *teller) done(o *op, a *answer) {
	switch o.kind {
	case kindRegister:
		t.id, t.epoch, t.registered, t.txn = a.producer, a.epoch, true, ""
		t.next = map[int64]int64{}
		for key, n := range a.next {
			t.next[key.scope] = n
		}
	case kindProduce:
		t.next[o.scope] = o.Sequence + int64(o.RecordCount)
	case kindPut:
		if !o.whole {
			t.txn, t.size, t.before = o.begin.ID, t.world.n(4), maps.Clone(t.next)
		}
	case kindAbort:
		t.late(o, kindCommit)
		t.over()
	default:
		t.late(o, kindAbort)
		t.txn, t.sent = "", nil
	}
}

// late sends what is to be refused when a transaction has ended: the other end of
// it (T3).
func (t *teller) late(ended *op, other kind) {
	if !t.one(3) || t.calm {
		return
	}
	o := t.newOp(other)
	o.TransactionID, o.spoiled = ended.TransactionID, true
	t.begin(o)
}
