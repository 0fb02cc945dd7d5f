package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

func TestT3OneFate(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	begin := put("tx", nobody, "a")
	mustPut(t, a, begin)
	if got := mustPut(t, b, begin); !got.Repeated || got.State != eos.StateOngoing {
		t.Errorf("begin again: %+v", got)
	}
	committed := mustCommit(t, a, "tx")
	mustSay(t, committed, mustCommit(t, b, "tx"))
	mustSay(t, committed, mustPut(t, b, begin))
	_, err := b.Abort(t.Context(), "tx", anyone)
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.AbortedBy != "" {
		t.Errorf("a committed transaction told to be aborted by %q", got.AbortedBy)
	}
	mustPut(t, a, put("gone", nobody, "never"))
	aborted := mustAbort(t, b, "gone")
	mustSay(t, aborted, mustAbort(t, a, "gone"))
	_, err = a.Commit(t.Context(), "gone", anyone)
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByClient {
		t.Errorf("aborted by %q, want client", got.AbortedBy)
	}
	mustHold(t, b, "0:0 a")
}

func TestT3RefusedCommitChangesNothing(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustTopic(t, a, "u", 1)
	begin := put("tx", nobody, "a")
	begin.Produce = append(begin.Produce, TopicRecords{"u", records("b")})
	mustPut(t, a, begin)
	if err := b.DeleteTopic(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Commit(t.Context(), "tx", anyone)
	mustRefuse(t, err, eos.UnknownTopic)
	mustHold(t, b)
	if got, err := a.Transaction(t.Context(), "tx"); err != nil || got.State != eos.StateOngoing {
		t.Errorf("after the refused commit: %+v, %v", got, err)
	}
	mustAbort(t, a, "tx")

	begin = put("offsets", nobody)
	begin.Offsets = []GroupOffset{from(offset("g", 0, 0), 0)}
	mustPut(t, a, begin)
	mustProduce(t, a, plain("x"))
	whole := oneShot("other", nobody)
	whole.Offsets = []GroupOffset{offset("g", 0, 1)}
	mustPut(t, b, whole)
	_, err = a.Commit(t.Context(), "offsets", anyone)
	mustRefuse(t, err, eos.OffsetMismatch)
	mustCommitted(t, a, "g", 1)
	mustAbort(t, b, "offsets")
}

func TestT3CommitWithOffsetsOfADeletedTopicIsRefused(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustTopic(t, a, "u", 1)
	begin := put("tx", nobody, "a")
	begin.Offsets = []GroupOffset{{Group: "g", Topic: "u"}}
	mustPut(t, a, begin)
	if err := b.DeleteTopic(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Commit(t.Context(), "tx", anyone)
	mustRefuse(t, err, eos.UnknownTopic)
	mustHold(t, a)
}

func TestT3AbortOfAnUnknownId(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	whole := oneShot("lost", p, "late")
	// Given up by its producer, with his headers.
	for _, s := range []*Store{a, b} {
		state, err := s.Abort(t.Context(), "lost", Caller{p.ID, p.Epoch})
		if err != nil || state.State != eos.StateAborted || state.AbortedBy != eos.AbortedByClient {
			t.Errorf("abort of an unknown id: %+v, %v", state, err)
		}
	}
	_, err := b.PutTransaction(t.Context(), whole)
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByClient {
		t.Errorf("aborted by %q, want client", got.AbortedBy)
	}
	mustAbort(t, b, "anonymous")
	_, err = a.PutTransaction(t.Context(), put("anonymous", nobody, "late"))
	mustRefuse(t, err, eos.InvalidTxnState)
	mustHold(t, b)

	// A refused abort records nothing.
	for _, id := range []int64{p.ID + 1, 1 << 40} {
		_, err = a.Abort(t.Context(), "refused", Caller{id, 0})
		mustRefuse(t, err, eos.UnknownProducer)
	}
	_, err = a.Abort(t.Context(), "refused", Caller{p.ID, p.Epoch + 1})
	mustRefuse(t, err, eos.InvalidProducerEpoch)
	nameless := mustRegister(t, a, "") // nothing can be bound to it (T10)
	_, err = a.Abort(t.Context(), "refused", Caller{nameless.ID, nameless.Epoch})
	mustRefuse(t, err, eos.InvalidMapping)
	_, err = b.Transaction(t.Context(), "refused")
	mustRefuse(t, err, eos.TransactionNotFound)
	_, err = b.Commit(t.Context(), "refused", anyone)
	mustRefuse(t, err, eos.TransactionNotFound)
}

// The abort of an unknown id is recorded, which is not told, and the producer is
// replaced before that is found out: the abort happened all the same.
func TestP12FencedAfterALostAbortOfAnUnknownId(t *testing.T) {
	t.Parallel()
	proxy, s, direct, p := newFaulty(t)
	watch := newConn(t, direct.pool.Config().ConnString())
	var state *TransactionState
	// The first write finds no such transaction, and sends no COMMIT.
	answer := mustLose(t, proxy, func() (err error) {
		state, err = s.Abort(context.Background(), "lost", Caller{p.ID, p.Epoch})
		return err
	}, func() {
		mustWait(t, watch, `EXISTS (SELECT FROM transactions)`)
		mustRegister(t, direct, "billing")
	})
	if err := <-answer; err != nil || state.State != eos.StateAborted || state.AbortedBy != eos.AbortedByClient {
		t.Errorf("%+v, %v, want it aborted", state, err)
	}
}

func TestT4LateArrivals(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	for i, end := range []func(testing.TB, *Store, string) *TransactionState{mustCommit, mustAbort} {
		id, next := fmt.Sprint("tx", i), fmt.Sprint("next", i)
		mustBegin(t, a, id, p)
		request := sequenced(p, 0, "a").in(id)
		first := mustProduce(t, a, request)
		mustRepeat(t, b, request, first)
		end(t, b, id)
		mustBegin(t, b, next, p) // which none of the late ones may touch
		late := sequenced(p, 1, "late").in(id)
		if i == 0 {
			mustRepeat(t, a, request, first)
		} else {
			late = request
		}
		for _, err := range []error{
			second(produce(a, late)),
			second(a.AddOffsets(t.Context(), id, anyone, []GroupOffset{offset("g", 0, 0)})),
			second(produce(a, keyed("k", "late").in(id))),
			second(produce(a, plain("late").in(id))),
		} {
			mustRefuse(t, err, eos.InvalidTxnState)
		}
		mustCommit(t, a, next)
		if i == 0 {
			// The first sequences are used now; the abort is tried with a topic of their own.
			if err := a.DeleteTopic(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			mustTopic(t, a, "t", 1)
		}
	}
	_, err := produce(a, plain("late").in("never"))
	mustRefuse(t, err, eos.TransactionNotFound)
	mustHold(t, b)
}

// An exact repeat of a request that staged offsets gets its first answer on any
// proxy, and undoes nothing that was staged since.
func TestT4RepeatedOffsets(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	mustProduce(t, a, plain("x", "y", "z"))
	mustBegin(t, a, "tx", p)
	add := func(s *Store, offsets ...GroupOffset) *TransactionState {
		t.Helper()
		state, err := s.AddOffsets(t.Context(), "tx", Caller{p.ID, p.Epoch}, offsets)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	repeats := func(s *Store, first *TransactionState, offsets ...GroupOffset) {
		t.Helper()
		again := add(s, offsets...)
		if !again.Repeated || again.State != eos.StateOngoing || !again.ExpiresAt.Equal(first.ExpiresAt) {
			t.Errorf("repeated: %+v, first %+v", again, first)
		}
	}
	early, late := from(offset("g", 0, 1), 0), from(offset("g", 0, 2), 0)
	first := add(a, early)
	if first.Repeated || first.ExpiresAt.IsZero() {
		t.Errorf("first: %+v", first)
	}
	repeats(b, first, early)
	second := add(b, late)
	if second.Repeated {
		t.Errorf("another offset is told to be a repeat")
	}
	repeats(a, first, early)
	mustCommit(t, a, "tx")
	mustCommitted(t, b, "g", 2)
	repeats(b, first, early)
	repeats(a, second, late)
	_, err := a.AddOffsets(t.Context(), "tx", anyone, []GroupOffset{late, offset("h", 0, 0)})
	mustRefuse(t, err, eos.InvalidTxnState)
	fencing := mustRegister(t, b, "billing")
	repeats(a, second, late) // what happened is told, also to who was replaced (P3)
	_, err = a.AddOffsets(t.Context(), "tx", Caller{p.ID, fencing.Epoch + 1}, []GroupOffset{late})
	mustRefuse(t, err, eos.InvalidProducerEpoch)
	mustCommitted(t, a, "g", 2)

	mustBegin(t, a, "gone", nobody)
	if _, err := a.AddOffsets(t.Context(), "gone", anyone, []GroupOffset{early}); err != nil {
		t.Fatal(err)
	}
	mustAbort(t, b, "gone")
	_, err = a.AddOffsets(t.Context(), "gone", anyone, []GroupOffset{early})
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByClient {
		t.Errorf("aborted by %q, want client", got.AbortedBy)
	}
}

// second returns the error of a call.
func second[T any](_ T, err error) error { return err }

func TestT5Timeout(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	brief := put("brief", nobody, "a")
	brief.TimeoutMS = 1
	mustPut(t, a, brief)
	won := put("won", nobody, "b")
	won.TimeoutMS = 1
	mustPut(t, a, won)
	mustPut(t, a, put("long", nobody, "c"))
	conn := newConn(t, a.pool.Config().ConnString())
	mustWait(t, conn, `SELECT count(*) = 2 FROM transactions WHERE expires_at < clock_timestamp()`)
	mustCommit(t, b, "won") // reaches the database before the abort
	if n, err := b.AbortExpired(t.Context(), 100); n != 1 || err != nil {
		t.Errorf("aborted %d, %v; want 1", n, err)
	}
	state, err := a.Transaction(t.Context(), "brief")
	if err != nil || state.State != eos.StateAborted || state.AbortedBy != eos.AbortedByTimeout {
		t.Errorf("past its timeout: %+v, %v", state, err)
	}
	_, err = a.Commit(t.Context(), "brief", anyone)
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByTimeout {
		t.Errorf("aborted by %q, want timeout", got.AbortedBy)
	}
	mustCommit(t, a, "long")
	mustHold(t, a, "0:0 b", "0:1 c")
}

// R2: the time that a transaction has comes from the database, whatever this
// process takes the time for, and its timeout is the producer's if it has one.
func TestR2TimeoutsUseTheDatabasesClock(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	p := mustRegister(t, a, "billing") // 60 s
	short := put("short", nobody)
	short.TimeoutMS = 1234
	mustPut(t, a, short)
	mustBegin(t, a, "default", nobody)
	mustBegin(t, a, "bound", p)
	conn := newConn(t, a.pool.Config().ConnString())
	for id, want := range map[string]time.Duration{"short": 1234 * time.Millisecond, "default": time.Minute, "bound": time.Minute} {
		state, err := a.Transaction(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		began := mustGet[time.Time](t, conn, `SELECT began_at FROM transactions WHERE transaction_id = $1`, id)
		if got := state.ExpiresAt.Sub(began); got < want || got > want+time.Second {
			t.Errorf("%s expires %v after its begin, want %v", id, got, want)
		}
	}
	// The database's clock goes an hour ahead, as it looks from here.
	mustExec(t, conn, `UPDATE transactions SET expires_at = expires_at - interval '1 hour'`)
	if n, err := a.AbortExpired(t.Context(), 100); n != 3 || err != nil {
		t.Errorf("aborted %d, %v; want 3", n, err)
	}
}
