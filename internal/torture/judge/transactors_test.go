package judge_test

import (
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// transact is a producer whose records are in transactions of several requests, which it commits, aborts or forgets.
func (w *world) transact(id string) {
	by := w.name("transactions")
	var s *sequences
	var step func()
	register := func() { w.registerAs(by, id, func(got *sequences) { s = got; w.again(step) }) }
	step = func() {
		if w.chance(10) {
			register()
			return
		}
		id := fmt.Sprintf("t-%d", w.ops)
		a := w.about(by, history.KindBegin, id)
		a.Transaction.Producer, a.Transaction.Epoch, a.Transaction.Timeout = s.pid, s.epoch, 2000
		if w.chance(20) {
			a.Transaction.Timeout = 300
		}
		if w.chance(30) {
			a.Transaction.Pieces = []history.Piece{w.piece(3), w.piece(2)}
		}
		w.until(a, w.put, func(got *history.Attempt) {
			switch {
			case got.Outcome == history.OK && got.Transaction.State == "ongoing":
				w.stage(by, id, s, 1+w.IntN(3), func(good bool) { w.finish(by, id, good, register, step) })
			case got.Outcome == history.Fail && got.Code == "CONCURRENT_TRANSACTIONS":
				w.again(step)
			default:
				register()
			}
		})
	}
	register()
}

func (w *world) about(by string, kind history.Kind, id string) history.Attempt {
	return history.Attempt{
		Operation:   w.newOperation(),
		Process:     by,
		Kind:        kind,
		Transaction: &history.Transaction{ID: id},
	}
}

// stage sends n requests into a transaction, each a sequence.
func (w *world) stage(by, id string, s *sequences, n int, then func(good bool)) {
	if n == 0 {
		then(true)
		return
	}
	a := w.sequenced(by, s, id)
	w.until(a, w.produce, func(got *history.Attempt) {
		if got.Outcome != history.OK {
			then(false)
			return
		}
		s.next[history.Next{Topic: a.Produce.Topic, Scope: a.Produce.Scope}] += int64(a.Produce.Count)
		w.stage(by, id, s, n-1, then)
	})
}

// finish ends a transaction in one of the ways in which they end. Whoever does not know how that went registers again.
func (w *world) finish(by, id string, good bool, register, step func()) {
	commit, abort := w.about(by, history.KindCommit, id), w.about(by, history.KindAbort, id)
	after := func(kind string) func(*history.Attempt) {
		return func(got *history.Attempt) {
			if got.Outcome != history.OK || got.Transaction.State != kind {
				register()
				return
			}
			if kind == "aborted" || w.chance(10) {
				w.look(by, id, register)
				return
			}
			w.again(step)
		}
	}
	switch dice := w.IntN(10); {
	case !good || dice == 0:
		w.until(abort, w.end, after("aborted"))
	case dice == 1: // forgotten: by its timeout, or by the registration
		w.after(w.between(0, 600), register)
	case dice == 2: // two ends at once
		abort.Process = by + "-other"
		w.until(abort, w.end, func(*history.Attempt) {})
		w.until(commit, w.end, after("committed"))
	case dice == 3: // another one registers meanwhile
		w.registerAs(by+"-other", w.byID[w.txns[id].producerID()].name, func(*sequences) {})
		w.until(commit, w.end, after("committed"))
	default:
		w.until(commit, w.end, after("committed"))
	}
}

func (t *storedTxn) producerID() int64 {
	if t == nil || t.producer == nil {
		return 0
	}
	return t.producer.id
}

// look asks for the state of a transaction.
func (w *world) look(by, id string, then func()) {
	a := w.about(by, history.KindTxn, id)
	a.Try = 1
	w.send(a, w.end, func(*history.Attempt) { w.again(then) })
}

// transactOnce is a client of transactions of one request, which nobody is bound to.
func (w *world) transactOnce() {
	by := w.name("one-shot")
	var step func()
	step = func() {
		a := w.about(by, history.KindOneShot, fmt.Sprintf("once-%d", w.ops))
		a.Transaction.Pieces = []history.Piece{w.piece(3), w.piece(3)}
		w.until(a, w.put, func(*history.Attempt) {
			if w.chance(5) { // once more, with another content
				b := w.about(by, history.KindOneShot, a.Transaction.ID)
				b.Transaction.Pieces = []history.Piece{w.piece(3)}
				w.until(b, w.put, func(*history.Attempt) { w.again(step) })
				return
			}
			w.again(step)
		})
	}
	w.again(step)
}

// transactUnbound is a client of transactions that have no producer: keys tell repeats.
func (w *world) transactUnbound() {
	by := w.name("unbound")
	var step func()
	step = func() {
		id := fmt.Sprintf("u-%d", w.ops)
		a := w.about(by, history.KindBegin, id)
		a.Transaction.Timeout = 1000
		w.until(a, w.put, func(*history.Attempt) {
			p := history.Attempt{
				Operation: w.newOperation(),
				Process:   by,
				Kind:      history.KindProduce,
				Produce: &history.Produce{
					Piece: w.piece(4), Key: "k", Transaction: id,
				},
			}
			w.until(p, w.produce, func(*history.Attempt) {
				w.until(w.about(by, history.KindCommit, id), w.end, func(*history.Attempt) { w.again(step) })
			})
		})
	}
	w.again(step)
}
