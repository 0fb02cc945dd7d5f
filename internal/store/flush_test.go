package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// mustOp routes what is asked into an operation of a flush: an ask, a Put, or
// a Commit.
func mustOp(t testing.TB, s *Store, what any) *Op {
	t.Helper()
	switch what := what.(type) {
	case ask:
		topic, err := s.Topic(t.Context(), what.topic)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRequest(what.Append, topic, what.partition, what.records, what.Keyless(0))
		if err != nil {
			t.Fatal(err)
		}
		return &Op{Append: r}
	case Put:
		routed, err := s.Route(t.Context(), what)
		if err != nil {
			t.Fatal(err)
		}
		return &Op{Put: routed}
	case Commit:
		return &Op{Commit: &what}
	}
	t.Fatalf("%T is no operation", what)
	return nil
}

// flushAll flushes operations as one group.
func flushAll(t testing.TB, s *Store, what ...any) []Outcome {
	t.Helper()
	ops := make([]*Op, len(what))
	for i := range what {
		ops[i] = mustOp(t, s, what[i])
	}
	return s.Flush(context.Background(), ops, nil)
}

// mustFlush wants all operations of a group to be done.
func mustFlush(t testing.TB, s *Store, what ...any) []Outcome {
	t.Helper()
	outcomes := flushAll(t, s, what...)
	for i, o := range outcomes {
		if o.Err != nil {
			t.Fatalf("operation %d: %v", i, o.Err)
		}
	}
	return outcomes
}

// All that a transaction is may arrive in one group, in the order in which it
// was sent: when the answers to the first attempts were lost.
func TestT1WholeTransactionInOneGroup(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustProduce(t, b, plain("x").to(0))
	begin := put("tx", nobody, "a")
	begin.Offsets = []GroupOffset{from(offset("g", 0, 1), 0)}
	got := mustFlush(t, a, begin, plain("b").in("tx").to(1), Commit{"tx", anyone}, Commit{"tx", anyone})
	if s := got[2].State; s.State != eos.StateCommitted || s.Repeated || len(s.Appended) != 2 {
		t.Errorf("the commit: %+v", s)
	}
	mustSay(t, got[2].State, got[3].State)
	mustSay(t, got[2].State, mustPut(t, b, begin))
	mustCommitted(t, b, "g", 1)
	if log := mustLog(t, b, "t"); len(log) != 3 {
		t.Errorf("the log: %v", log)
	}
	mustBeEmptyOf(t, b, "stagings", "staged_offsets")
}

// A part of the transaction is known by then, and the partition is new to it.
func TestT1AppendAndCommitInOneGroup(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustBegin(t, a, "tx", nobody)
	mustProduce(t, a, plain("a").in("tx").to(0))
	mustFlush(t, a, plain("b").in("tx").to(0), plain("c").in("tx").to(1), Commit{"tx", anyone})
	mustHold(t, b, "0:0 a", "0:1 b", "1:0 c")
	got := flushAll(t, a, Commit{"tx", anyone}, plain("late").in("tx").to(1))
	if got[0].Err != nil || !got[0].State.Repeated {
		t.Errorf("commit again: %+v", got[0])
	}
	mustRefuse(t, got[1].Err, eos.InvalidTxnState)
}

// The same PUT several times in one group is done once, and all get its answer.
func TestT8SamePutInOneGroup(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]Put{"begin": put("tx", nobody, "a"), "one-shot": oneShot("tx", nobody, "a")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newPair(t, 1)
			mustProduce(t, a, plain("warm"))
			got := mustFlush(t, a, request, plain("x"), request, request)
			for _, again := range []Outcome{got[2], got[3]} {
				mustSay(t, got[0].State, again.State)
				if again.State.State == eos.StateOngoing && !again.State.ExpiresAt.Equal(got[0].State.ExpiresAt) {
					t.Errorf("expires at %s, its repeat at %s", got[0].State.ExpiresAt, again.State.ExpiresAt)
				}
			}
			other := request
			other.Fingerprint[1] ^= 1
			late := flushAll(t, a, request, other)
			mustSay(t, got[0].State, late[0].State)
			mustRefuse(t, late[1].Err, eos.TransactionIDReused)
			if name == "begin" {
				mustCommit(t, b, "tx")
				mustHold(t, b, "0:0 warm", "0:1 x", "0:2 a")
				return
			}
			mustHold(t, b, "0:0 warm", "0:1 a", "0:2 x")
		})
	}
}

// A key that comes again is found out by the database, and the flush runs again:
// that is no other writer, for which the next flushes would take two trips each.
func TestARepeatedKeyIsNotTakenForAnotherWriter(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustFlush(t, a, keyed("k", "a"))
	mustFlush(t, a, plain("b"), keyed("k", "a"))
	if n := a.writer.shared; n > 0 {
		t.Errorf("the next %d flushes load the ends of logs", n)
	}
	mustProduce(t, b, plain("c"))
	mustFlush(t, a, plain("d"))
	if a.writer.shared == 0 {
		t.Error("the other writer was not seen")
	}
	mustHold(t, a, "0:0 a", "0:1 b", "0:2 c", "0:3 d")
}

// A client may send its commit and its next begin without waiting between the
// two: they go in one SQL transaction, whether their facts are known or read.
func TestT9CommitAndNextBeginInOneGroup(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, b.pool.Config().ConnString())
	p := mustRegister(t, b, "billing")
	mustBegin(t, a, "tx0", p)
	mustProduce(t, a, sequenced(p, 0, "0").in("tx0"))
	for i := 1; i < 6; i++ {
		if i == 4 { // from here on nothing is known
			a.writer.facts = newFacts()
		}
		got := mustFlush(t, a, Commit{fmt.Sprint("tx", i-1), Caller{p.ID, p.Epoch}}, put(fmt.Sprint("tx", i), p), plain("beside"))
		if got[0].State.State != eos.StateCommitted || got[1].State.State != eos.StateOngoing {
			t.Fatalf("round %d: %+v, %+v", i, got[0].State, got[1].State)
		}
		var together bool
		if err := conn.QueryRow(t.Context(), `SELECT count(DISTINCT xmin::text) = 1 FROM transactions WHERE transaction_id IN ($1, $2)`,
			fmt.Sprint("tx", i-1), fmt.Sprint("tx", i)).Scan(&together); err != nil || !together {
			t.Errorf("round %d: in one SQL transaction: %v, %v", i, together, err)
		}
		mustProduce(t, a, sequenced(p, int64(i), fmt.Sprint(i)).in(fmt.Sprint("tx", i)))
	}
	mustHold(t, b, "0:0 0", "0:1 beside", "0:2 1", "0:3 beside", "0:4 2", "0:5 beside", "0:6 3", "0:7 beside", "0:8 4", "0:9 beside")
}
