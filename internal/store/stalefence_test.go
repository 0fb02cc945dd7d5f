package store

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// asP returns an operation of the producer that can be fenced.
func asP(op func(p Producer) any) func(*world) any { return func(w *world) any { return op(w.p) } }

func TestP9StaleProducers(t *testing.T) {
	untouched := []string{"0:0 a", "1:0 b"}
	fence := func(w *world) { mustRegister(w.t, w.b, "billing") }
	begin := func(w *world) { mustBegin(w.t, w.b, "tx", w.p) }
	// The store has the transaction open, and knows what comes next in it.
	open := func(w *world) {
		mustFlush(w.t, w.a, put("tx", w.p))
		mustFlush(w.t, w.a, sequenced(w.p, 1, "x").in("tx").to(0))
	}
	next := asP(func(p Producer) any { return sequenced(p, 1, "z").to(0) })
	inside := asP(func(p Producer) any { return sequenced(p, 2, "z").in("tx").to(0) })
	headless := func(*world) any { return plain("z").in("tx").to(0) }
	runStale(t, map[string]stale{
		"fenced, an append":   {change: fence, op: next, want: eos.ProducerFenced, log: untouched},
		"fenced, a one-shot":  {change: fence, op: asP(func(p Producer) any { return oneShot("one", p, "z") }), want: eos.ProducerFenced, log: untouched},
		"fenced, a begin":     {change: fence, op: asP(func(p Producer) any { return put("two", p, "z") }), want: eos.ProducerFenced, log: untouched},
		"fenced, inside":      {warm: open, change: fence, op: inside, want: eos.ProducerFenced, log: untouched},
		"fenced, no headers":  {warm: open, change: fence, op: headless, want: eos.InvalidTxnState, log: untouched},
		"bound, an append":    {change: begin, op: next, want: eos.InvalidTxnState, log: untouched},
		"bound, a one-shot":   {change: begin, op: asP(func(p Producer) any { return oneShot("one", p, "z") }), want: eos.ConcurrentTxns, log: untouched},
		"bound, a begin":      {change: begin, op: asP(func(p Producer) any { return put("two", p, "z") }), want: eos.ConcurrentTxns, log: untouched},
		"unbound by a commit": {warm: open, change: func(w *world) { mustCommit(w.t, w.b, "tx") }, op: inside, want: eos.InvalidTxnState},
		"unbound by an abort": {warm: open, change: func(w *world) { mustAbort(w.t, w.b, "tx") }, op: inside, want: eos.InvalidTxnState, log: untouched},
		"bound to another": {
			warm:   open,
			change: func(w *world) { mustAbort(w.t, w.b, "tx"); mustBegin(w.t, w.b, "two", w.p) },
			op:     inside, want: eos.InvalidTxnState, log: untouched,
			then: func(w *world) { mustCommit(w.t, w.b, "two") },
		},
	})
}

func TestT4StaleTransactions(t *testing.T) {
	untouched := []string{"0:0 a", "1:0 b"}
	begun := func(w *world) { mustFlush(w.t, w.a, put("tx", nobody), plain("x").in("tx").to(0)) }
	late := func(*world) any { return plain("late").in("tx").to(0) }
	elsewhere := func(*world) any { return keyed("k", "late").in("tx").to(1) }
	commit := func(w *world) { mustCommit(w.t, w.b, "tx") }
	abort := func(w *world) { mustAbort(w.t, w.b, "tx") }
	expire := func(w *world) {
		mustExec(w.t, w.conn, `UPDATE transactions SET expires_at = clock_timestamp() WHERE transaction_id = 'tx'`)
		if n, err := w.b.AbortExpired(context.Background(), 10); n != 1 || err != nil {
			w.t.Fatalf("%d aborted, %v", n, err)
		}
	}
	// Nothing may be left behind either: no commit would ever take it along.
	clean := func(w *world) {
		mustBeEmptyOf(w.t, w.b, "stagings")
		if n := mustGet[int](w.t, w.conn, `SELECT count(*) FROM batches WHERE log_id NOT IN (SELECT partition_id FROM partitions)`); n != 0 {
			w.t.Errorf("%d batches of no log", n)
		}
	}
	cases := map[string]stale{}
	for name, op := range map[string]func(*world) any{"late": late, "late, in a new partition": elsewhere} {
		cases["committed, "+name] = stale{warm: begun, change: commit, op: op, want: eos.InvalidTxnState, then: clean, log: []string{"0:0 a", "0:1 x", "1:0 b"}}
		cases["aborted, "+name] = stale{warm: begun, change: abort, op: op, want: eos.InvalidTxnState, then: clean, log: untouched}
		cases["expired, "+name] = stale{warm: begun, change: expire, op: op, want: eos.InvalidTxnState, then: clean, log: untouched}
	}
	runStale(t, cases)
}

// staleRoutes are the ways in which records come to a topic, by what was known
// of it. They are small and have one key each, which goes from partition 1 of
// two to another one of five.
func staleRoutes() map[string]stale {
	withKey := func(records []eos.Record) {
		for i := range records {
			records[i].Key, records[i].Flags = []byte(movingKey), 0
		}
	}
	produce := func(a ask) any { withKey(a.records); return a }
	begun := func(w *world) { mustFlush(w.t, w.a, put("tx", nobody)) }
	transaction := func(p Put) any { withKey(p.Produce[0].Records); return p }
	commit := func(w *world) { mustCommit(w.t, w.b, "tx") }
	return map[string]stale{
		"an append":       {op: func(*world) any { return produce(plain("long")) }},
		"a keyed append":  {op: func(*world) any { return produce(keyed("k", "long")) }},
		"a staged append": {warm: begun, op: func(*world) any { return produce(plain("long").in("tx")) }, then: commit},
		"a one-shot":      {op: func(*world) any { return transaction(oneShot("one", nobody, "long")) }},
		"a begin":         {op: func(*world) any { return transaction(put("tx", nobody, "long")) }, then: commit},
	}
}

// movingKey is the key of a record whose partition changes with the count.
const movingKey = "c-3"

func TestP8StaleTopics(t *testing.T) {
	if was, is := eos.PartitionOf([]byte(movingKey), 2), eos.PartitionOf([]byte(movingKey), 5); was != 1 || is == 1 {
		t.Fatalf("key %s goes from partition %d to %d", movingKey, was, is)
	}
	grown := fmt.Sprintf("%d:0 long", eos.PartitionOf([]byte(movingKey), 5))
	if grown[0] == '0' {
		grown = "0:1 long"
	}
	remove := func(w *world) {
		if err := w.b.DeleteTopic(context.Background(), "t"); err != nil {
			w.t.Fatal(err)
		}
	}
	small := int64(5) // `"long"` has 6 bytes
	cases := map[string]stale{}
	for name, c := range staleRoutes() {
		c.change = func(w *world) { mustGrow(w.t, w.b, "t", 5) }
		c.log = slices.Sorted(slices.Values([]string{"0:0 a", "1:0 b", grown}))
		cases["more partitions, "+name] = c

		c.change = func(w *world) { remove(w); mustTopic(w.t, w.b, "t", 2) }
		c.log = []string{"1:0 long"}
		cases["deleted and made again, "+name] = c

		c.change, c.want, c.log = remove, eos.UnknownTopic, nil
		if name == "a begin" {
			c.then = nil // there is none
		}
		cases["deleted, "+name] = c

		c.change = func(w *world) {
			if _, err := w.b.UpdateTopic(context.Background(), "t", Settings{MaxRecordBytes: &small}); err != nil {
				w.t.Fatal(err)
			}
		}
		c.want, c.log = eos.MessageTooLarge, []string{"0:0 a", "1:0 b"}
		cases["smaller records, "+name] = c
	}
	runStale(t, cases)
}
