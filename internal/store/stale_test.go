package store

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

func TestP2StaleEnds(t *testing.T) {
	two := func(w *world) {
		mustProduce(w.t, w.b, plain("x").to(0))
		mustProduce(w.t, w.b, plain("y").to(0))
	}
	toZero := func(*world) any { return plain("z").to(0) }
	begun := func(w *world) { mustFlush(w.t, w.a, put("tx", nobody), plain("1").in("tx").to(0)) }
	committed := func(w *world) { mustCommit(w.t, w.b, "tx") }
	runStale(t, map[string]stale{
		"another writer has appended": {
			change: two, op: toZero, at: 3,
			log: []string{"0:0 a", "0:1 x", "0:2 y", "0:3 z", "1:0 b"},
		},
		"another writer has committed": {
			warm:   begun,
			change: committed,
			op:     toZero, at: 2,
			log: []string{"0:0 a", "0:1 1", "0:2 z", "1:0 b"},
		},
		"another writer has appended where a one-shot goes": {
			change: func(w *world) {
				mustProduce(w.t, w.b, plain("x").to(0))
				mustProduce(w.t, w.b, plain("x").to(1))
			},
			op:   func(*world) any { return oneShot("one", nobody, "z") },
			then: func(w *world) { mustLog(w.t, w.b, "t") },
		},
		"another writer has staged where this one did": {
			warm:   begun,
			change: func(w *world) { mustProduce(w.t, w.b, plain("2").in("tx").to(0)) },
			op:     func(*world) any { return plain("3").in("tx").to(0) },
			then:   committed,
			log:    []string{"0:0 a", "0:1 1", "0:2 2", "0:3 3", "1:0 b"},
		},
		"another writer has staged in a partition that is new": {
			warm:   begun,
			change: func(w *world) { mustProduce(w.t, w.b, plain("2").in("tx").to(1)) },
			op:     func(*world) any { return plain("3").in("tx").to(1) },
			then:   committed,
			log:    []string{"0:0 a", "0:1 1", "1:0 b", "1:1 2", "1:2 3"},
		},
		// No key forbids an offset that was removed to be given out again.
		"retention has removed what another writer appended": {
			change: func(w *world) { two(w); w.remove(0, 3) },
			op:     toZero, at: 3,
		},
		"retention has removed a part of what another writer appended": {
			change: func(w *world) { two(w); w.remove(0, 2) },
			op:     toZero, at: 3,
		},
		"retention has removed what this writer appended": {
			change: func(w *world) { w.remove(0, 1) },
			op:     toZero, at: 1,
		},
	})
}

func TestP3StaleIdentities(t *testing.T) {
	send := func(what ...ask) func(*world) {
		return func(w *world) {
			for _, a := range what {
				mustProduce(w.t, w.b, a)
			}
		}
	}
	next := func(w *world, values ...string) ask { return sequenced(w.simple, 1, values...).to(1) }
	oneX := func(w *world) { mustProduce(w.t, w.b, next(w, "x")) }
	stored := []string{"0:0 a", "1:0 b", "1:1 x"}
	begun := func(w *world) { mustFlush(w.t, w.a, put("tx", nobody)) }
	runStale(t, map[string]stale{
		"a sequence, repeated":   {change: oneX, op: func(w *world) any { return next(w, "x") }, again: true, at: 1, log: stored},
		"a sequence, reused":     {change: oneX, op: func(w *world) any { return next(w, "y") }, want: eos.SequenceReused, log: stored},
		"a sequence, re-batched": {change: oneX, op: func(w *world) any { return next(w, "x", "y") }, want: eos.OutOfOrder, log: stored},
		// Its partition has not changed: the sequence alone forbids it.
		"a sequence, reused in another partition": {
			warm:   func(w *world) { mustFlush(w.t, w.a, sequencedIn(w.simple, 0, 0, "c")) },
			change: func(w *world) { mustProduce(w.t, w.b, sequencedIn(w.simple, 1, 0, "d")) },
			op:     func(w *world) any { return sequencedIn(w.simple, 1, 1, "d") }, want: eos.SequenceReused,
			log: []string{"0:0 a", "0:1 c", "0:2 d", "1:0 b"},
		},
		"several sequences, once": {
			change: func(w *world) { oneX(w); mustProduce(w.t, w.b, sequenced(w.simple, 2, "y").to(1)) },
			op:     func(w *world) any { return next(w, "x", "y") }, want: eos.DuplicateSequence,
			log: append(stored[:3:3], "1:2 y"),
		},
		"a sequence in a transaction, repeated": {
			warm: func(w *world) {
				mustFlush(w.t, w.a, put("tx", w.p))
				mustFlush(w.t, w.a, sequenced(w.p, 1, "x").in("tx").to(0))
			},
			change: func(w *world) { mustProduce(w.t, w.b, sequenced(w.p, 2, "y").in("tx").to(0)) },
			op:     func(w *world) any { return sequenced(w.p, 2, "y").in("tx").to(0) }, again: true,
			then: func(w *world) { mustCommit(w.t, w.b, "tx") },
			log:  []string{"0:0 a", "0:1 x", "0:2 y", "1:0 b"},
		},
		"a key, repeated": {
			change: send(keyed("k", "x").to(1)), op: func(*world) any { return keyed("k", "x").to(1) }, again: true, at: 1, log: stored,
		},
		"a key, repeated by another URL": {
			change: send(keyed("k", "x").to(1)), op: func(*world) any { return keyed("k", "x").to(0) }, again: true, at: 1, log: stored,
		},
		"a key, reused": {
			change: send(keyed("k", "x").to(1)), op: func(*world) any { return keyed("k", "y").to(0) }, want: eos.KeyReused, log: stored,
		},
		"a key in a transaction, repeated": {
			warm: begun, change: send(keyed("k", "x").in("tx").to(1)),
			op: func(*world) any { return keyed("k", "x").in("tx").to(0) }, again: true,
			then: func(w *world) { mustCommit(w.t, w.b, "tx") }, log: stored,
		},
		"a one-shot, repeated": {
			change: func(w *world) { mustPut(w.t, w.b, oneShot("one", nobody, "x")) },
			op:     func(*world) any { return oneShot("one", nobody, "x") }, again: true,
			then: func(w *world) { mustCount(w, 3) },
		},
		"a one-shot, its id reused": {
			change: func(w *world) { mustPut(w.t, w.b, oneShot("one", nobody, "x")) },
			op:     func(*world) any { return oneShot("one", nobody, "y") }, want: eos.TransactionIDReused,
			then: func(w *world) { mustCount(w, 3) },
		},
		"a begin, repeated": {
			change: func(w *world) { mustPut(w.t, w.b, put("tx", nobody, "x")) },
			op:     func(*world) any { return put("tx", nobody, "x") }, again: true,
			then: func(w *world) { mustCommit(w.t, w.b, "tx"); mustCount(w, 3) },
		},
		"a one-shot that was given up": {
			change: func(w *world) { mustAbort(w.t, w.b, "one") },
			op:     func(*world) any { return oneShot("one", nobody, "x") }, want: eos.InvalidTxnState,
			log: []string{"0:0 a", "1:0 b"},
		},
	})
}

// sequencedIn returns a request to the topic whose record names a partition.
func sequencedIn(p Producer, sequence int64, partition int, value string) ask {
	a := sequenced(p, sequence, value)
	a.records[0].Partition = partition
	a.Fingerprint = eos.FingerprintRecords(a.records)
	return a
}

// mustCount wants topic "t" to hold so many records.
func mustCount(w *world, want int) {
	w.t.Helper()
	if log := mustLog(w.t, w.b, "t"); len(log) != want {
		w.t.Errorf("the log is %v, want %d records", log, want)
	}
}
