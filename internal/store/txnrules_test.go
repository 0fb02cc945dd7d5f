package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

func TestT6RegistrationAbortsOpenTransactions(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	mustPut(t, a, put("tx", p, "a"))
	mustPut(t, a, put("unbound", nobody, "b"))
	if got := mustRegister(t, b, "billing").Aborted; got != "tx" {
		t.Errorf("the registration aborted %q", got)
	}
	state, err := a.Transaction(t.Context(), "tx")
	if err != nil || state.AbortedBy != eos.AbortedByFencing {
		t.Errorf("after the registration: %+v, %v", state, err)
	}
	mustCommit(t, a, "unbound")
	mustHold(t, a, "0:0 b")
	mustBeEmptyOf(t, a, "stagings", "staged_offsets")
}

// mustBeEmptyOf wants tables without rows.
func mustBeEmptyOf(t testing.TB, s *Store, tables ...string) {
	t.Helper()
	for _, table := range tables {
		var n int
		if err := s.pool.QueryRow(context.Background(), "SELECT count(*) FROM "+table).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows in %s, %v; want none", n, table, err)
		}
	}
}

func TestT7SequencesRollBack(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	mustProduce(t, a, sequenced(p, 0, "a"))
	mustBegin(t, a, "one", p)
	mustProduce(t, a, sequenced(p, 1, "lost").in("one"))
	mustProduce(t, b, sequenced(p, 2, "lost").in("one"))
	mustAbort(t, b, "one")
	mustBegin(t, b, "two", p)
	_, err := produce(a, sequenced(p, 3, "c").in("two"))
	if got := expects(mustRefuse(t, err, eos.OutOfOrder)); got != 1 {
		t.Errorf("expected sequence %d, want 1", got)
	}
	mustProduce(t, a, sequenced(p, 1, "b", "c").in("two"))
	mustCommit(t, a, "two")
	mustProduce(t, b, sequenced(p, 3, "d"))
	mustHold(t, b, "0:0 a", "0:1 b", "0:2 c", "0:3 d")
}

func TestT8OwnIdentity(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	whole := oneShot("one", nobody, "a", "b")
	first := mustPut(t, a, whole)
	mustSay(t, first, mustPut(t, b, whole))
	_, err := b.PutTransaction(t.Context(), oneShot("one", nobody, "a", "x"))
	mustRefuse(t, err, eos.TransactionIDReused)
	_, err = b.PutTransaction(t.Context(), put("one", nobody, "a", "b"))
	mustRefuse(t, err, eos.TransactionIDReused)
	mustHold(t, b, "0:0 a", "0:1 b")

	// A refused PUT leaves its id unused.
	missing := oneShot("two", nobody, "c")
	missing.Produce[0].Topic = "missing"
	_, err = a.PutTransaction(t.Context(), missing)
	mustRefuse(t, err, eos.UnknownTopic)
	mustPut(t, b, oneShot("two", nobody, "c"))

	list, more, err := a.Transactions(t.Context(), eos.StateCommitted, "", 1)
	if err != nil || !more || len(list) != 1 || list[0].ID != "one" {
		t.Errorf("list: %+v, %v, %v", list, more, err)
	}
	list, more, err = a.Transactions(t.Context(), "", "one", 5)
	if err != nil || more || len(list) != 1 || list[0].ID != "two" {
		t.Errorf("list: %+v, %v, %v", list, more, err)
	}
}

func TestT9OneProducerOneOpenTransaction(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	mustBegin(t, a, "one", p)
	for _, second := range []Put{put("two", p), oneShot("three", p, "a")} {
		_, err := b.PutTransaction(t.Context(), second)
		if got := mustRefuse(t, err, eos.ConcurrentTxns); got.TransactionID != "one" {
			t.Errorf("open transaction %q told", got.TransactionID)
		}
	}
	mustCommit(t, b, "one")
	mustPut(t, b, oneShot("three", p, "a"))
	mustBegin(t, b, "two", p)

	// Two begins at the same moment.
	q := mustRegister(t, a, "other")
	for i := range 50 {
		var errs [2]error
		both(func() { _, errs[0] = a.PutTransaction(context.Background(), put(fmt.Sprint("a", i), q)) },
			func() { _, errs[1] = b.PutTransaction(context.Background(), put(fmt.Sprint("b", i), q)) })
		won, lost := "a", errs[1]
		if errs[0] != nil {
			won, lost = "b", errs[0]
		}
		won = fmt.Sprint(won, i)
		if got := mustRefuse(t, lost, eos.ConcurrentTxns); got.TransactionID != won {
			t.Fatalf("open transaction %q told, want %q", got.TransactionID, won)
		}
		mustAbort(t, a, won)
	}
}

func TestT10InsideOrNotAtAll(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p, q, simple := mustRegister(t, a, "billing"), mustRegister(t, a, "other"), mustRegister(t, a, "")
	mustBegin(t, a, "tx", p)
	_, err := produce(b, sequenced(p, 0, "outside"))
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.TransactionID != "tx" {
		t.Errorf("transaction %q told, want tx", got.TransactionID)
	}
	_, err = produce(b, sequenced(q, 0, "foreign").in("tx"))
	mustRefuse(t, err, eos.InvalidMapping)
	_, err = b.Commit(t.Context(), "tx", Caller{q.ID, q.Epoch})
	mustRefuse(t, err, eos.InvalidMapping)
	mustProduce(t, b, plain("without headers").in("tx"))
	mustProduce(t, b, sequenced(p, 0, "inside").in("tx"))
	mustCommit(t, b, "tx")

	mustBegin(t, a, "unbound", nobody)
	_, err = produce(b, sequenced(q, 0, "bound").in("unbound"))
	mustRefuse(t, err, eos.InvalidMapping)
	_, err = a.PutTransaction(t.Context(), put("simple", simple))
	mustRefuse(t, err, eos.InvalidMapping)
	mustAbort(t, a, "unbound")
	mustHold(t, a, "0:0 without headers", "0:1 inside")
}

// An append that is in flight when a transaction begins is before the begin,
// or inside, or refused: never outside and after it.
func TestT10BeginAgainstAppends(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "billing")
	next := int64(0)
	for i := range 100 {
		id := fmt.Sprint("tx", i)
		var end int64
		var err error
		both(func() {
			mustBegin(t, a, id, p)
			end = mustEnd(t, a)
		}, func() { _, err = produce(b, sequenced(p, next, "x")) })
		if err != nil {
			mustRefuse(t, err, eos.InvalidTxnState)
		} else {
			next++
		}
		if now := mustEnd(t, a); now != end {
			t.Fatalf("the log grew from %d to %d beside the open transaction", end, now)
		}
		mustAbort(t, a, id)
	}
}

// mustEnd returns the sum of the high watermarks of topic "t".
func mustEnd(t testing.TB, s *Store) int64 {
	t.Helper()
	state, err := s.TopicState(context.Background(), "t")
	if err != nil {
		t.Error(err)
		return -1
	}
	end := int64(0)
	for _, p := range state.Partitions {
		end += p.HighWatermark
	}
	return end
}

// What was done is told also when its topic is gone (P3): a repeat is no new
// request to a topic that does not exist.
func TestT8RepeatAfterItsTopicWasDeleted(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustTopic(t, a, "u", 1)
	toU := func(p Put) Put {
		p.Produce = append(p.Produce, TopicRecords{"u", records("b")})
		return p
	}
	whole, begin := toU(oneShot("one", nobody, "a")), toU(put("tx", nobody, "c"))
	first, begun := mustPut(t, a, whole), mustPut(t, a, begin)
	if err := a.DeleteTopic(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{a, b} { // one of them does not know of it
		mustSay(t, first, mustPut(t, s, whole))
		mustSay(t, begun, mustPut(t, s, begin))
		_, err := s.PutTransaction(t.Context(), toU(oneShot("two", nobody, "a")))
		mustRefuse(t, err, eos.UnknownTopic)
		_, err = s.PutTransaction(t.Context(), toU(oneShot("one", nobody, "other")))
		mustRefuse(t, err, eos.TransactionIDReused)
	}
	_, err := b.Transaction(t.Context(), "two")
	mustRefuse(t, err, eos.TransactionNotFound)
	mustHold(t, b, "0:0 a")
}
