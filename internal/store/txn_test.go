package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var nobody = Producer{ID: eos.NoProducer}

// anyone is a caller without producer headers.
var anyone = Caller{ProducerID: eos.NoProducer}

// put returns a PUT that begins a transaction of p and produces these values
// to topic "t".
func put(id string, p Producer, values ...string) Put {
	f := eos.NewFingerprinter()
	f.Text(id)
	f.Int(p.ID)
	f.Records(records(values...))
	put := Put{Begin: eos.Begin{ID: id, ProducerID: p.ID, Epoch: p.Epoch, Fingerprint: f.Sum()}}
	if len(values) > 0 {
		put.Produce = []TopicRecords{{"t", records(values...)}}
	}
	return put
}

// oneShot returns a PUT that is a whole transaction.
func oneShot(id string, p Producer, values ...string) Put {
	whole := put(id, p, values...)
	whole.Commit = true
	whole.Fingerprint[0] ^= 1
	return whole
}

func mustPut(t testing.TB, s *Store, put Put) *TransactionState {
	t.Helper()
	state, err := s.PutTransaction(context.Background(), put)
	if err != nil {
		t.Fatalf("put transaction %s: %v", put.ID, err)
	}
	return state
}

func mustBegin(t testing.TB, s *Store, id string, p Producer) {
	t.Helper()
	mustPut(t, s, put(id, p))
}

func mustCommit(t testing.TB, s *Store, id string) *TransactionState {
	t.Helper()
	state, err := s.Commit(context.Background(), id, anyone)
	if err != nil {
		t.Fatalf("commit %s: %v", id, err)
	}
	return state
}

func mustAbort(t testing.TB, s *Store, id string) *TransactionState {
	t.Helper()
	state, err := s.Abort(context.Background(), id, anyone)
	if err != nil {
		t.Fatalf("abort %s: %v", id, err)
	}
	return state
}

// mustSay wants the answer of a repeat to be the first one's.
func mustSay(t testing.TB, first, repeat *TransactionState) {
	t.Helper()
	ignore := cmpopts.IgnoreFields(TransactionState{}, "Repeated", "Logs", "ExpiresAt", "Fingerprint")
	if diff := cmp.Diff(first, repeat, ignore, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the repeat's answer (-first +repeat):\n%s", diff)
	}
	if !repeat.Repeated {
		t.Error("a repeat was done again")
	}
}

func offset(group string, partition int, at int64) GroupOffset {
	return GroupOffset{Group: group, Topic: "t", Partition: partition, Offset: at}
}

func from(o GroupOffset, seen int64) GroupOffset {
	o.From = &seen
	return o
}

// mustCommitted wants a group to have committed this offset for partition 0
// of "t", -1 for none.
func mustCommitted(t testing.TB, s *Store, group string, want int64) {
	t.Helper()
	const sql = `
		SELECT COALESCE((SELECT c.committed_offset
		                 FROM committed_offsets c
		                 JOIN partitions p USING (partition_id)
		                 JOIN topics USING (topic_id)
		                 WHERE topic = 't' AND partition = 0 AND group_id = $1), -1)`
	var got int64
	if err := s.pool.QueryRow(context.Background(), sql, group).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("group %s has committed offset %d, want %d", group, got, want)
	}
}

func TestT1AllOrNothing(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustTopic(t, a, "u", 1)
	mustProduce(t, a, plain("before").to(0))
	begin := put("tx", nobody, "a", "b")
	begin.Produce[0].Records[0].Partition, begin.Produce[0].Records[1].Partition = 0, 1
	begin.Produce = append(begin.Produce, TopicRecords{"u", records("c")})
	begin.Offsets = []GroupOffset{offset("g", 0, 1)}
	mustPut(t, a, begin)
	mustProduce(t, b, plain("d").to(0).in("tx"))
	if _, err := b.AddOffsets(t.Context(), "tx", anyone, []GroupOffset{offset("h", 0, 0)}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, b, "0:0 before")
	mustCommitted(t, b, "g", -1)

	state := mustCommit(t, b, "tx")
	want := []TopicShare{{"t", 0, 1, 2}, {"t", 1, 0, 1}, {"u", 0, 0, 1}}
	if diff := cmp.Diff(want, state.Appended); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
	mustHold(t, a, "0:0 before", "0:1 a", "0:2 d", "1:0 b")
	mustCommitted(t, a, "g", 1)
	mustCommitted(t, a, "h", 0)
	mustSay(t, state, mustCommit(t, a, "tx"))

	// One refused offset refuses all of a one-shot.
	whole := oneShot("one", nobody, "e")
	whole.Offsets = []GroupOffset{offset("i", 0, 1), from(offset("g", 0, 2), 0)}
	_, err := a.PutTransaction(t.Context(), whole)
	if got := mustRefuse(t, err, eos.OffsetMismatch); *got.CommittedOffset != 1 {
		t.Errorf("committed offset %d told, want 1", *got.CommittedOffset)
	}
	mustHold(t, b, "0:0 before", "0:1 a", "0:2 d", "1:0 b")
	mustCommitted(t, b, "i", -1)
	_, err = b.Transaction(t.Context(), "one")
	mustRefuse(t, err, eos.TransactionNotFound) // a refused PUT leaves its id unused
	whole.Offsets[1] = from(offset("g", 0, 2), 1)
	mustPut(t, b, whole)
	mustCommitted(t, b, "g", 2)
}

func TestT1OffsetsAreCheckedAgainstTheLog(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	mustProduce(t, a, plain("a"))
	begin := put("tx", nobody)
	begin.Offsets = []GroupOffset{offset("g", 0, 2)}
	_, err := a.PutTransaction(t.Context(), begin)
	if got := mustRefuse(t, err, eos.OffsetBeyondEnd); *got.HighWatermark != 1 {
		t.Errorf("high watermark %d told, want 1", *got.HighWatermark)
	}
	begin.Offsets = []GroupOffset{offset("g", 1, 0)}
	_, err = a.PutTransaction(t.Context(), begin)
	mustRefuse(t, err, eos.UnknownTopic)
}

func TestT2OpenTransactionDelaysNobody(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustPut(t, a, put("tx", nobody, "staged 1"))
	mustProduce(t, b, plain("plain 1"))
	mustHold(t, a, "0:0 plain 1")
	mustProduce(t, a, plain("staged 2").in("tx"))
	mustProduce(t, b, plain("plain 2"))
	mustPut(t, b, put("gone", nobody, "never"))
	mustAbort(t, a, "gone")
	mustCommit(t, b, "tx")
	mustProduce(t, b, plain("plain 3"))
	mustHold(t, b, "0:0 plain 1", "0:1 plain 2", "0:2 staged 1", "0:3 staged 2", "0:4 plain 3")
}

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
	_, err = a.Abort(t.Context(), "refused", Caller{p.ID + 1, 0})
	mustRefuse(t, err, eos.UnknownProducer)
	_, err = a.Abort(t.Context(), "refused", Caller{p.ID, p.Epoch + 1})
	mustRefuse(t, err, eos.InvalidProducerEpoch)
	_, err = b.Transaction(t.Context(), "refused")
	mustRefuse(t, err, eos.TransactionNotFound)
	_, err = b.Commit(t.Context(), "refused", anyone)
	mustRefuse(t, err, eos.TransactionNotFound)
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
