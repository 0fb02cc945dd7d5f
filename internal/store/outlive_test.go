package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// Registration tells exactly where a producer stands, whatever is left of its
// records, and so does every refusal.
func TestP8PositionsOutliveTheRecords(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	p := mustRegister(t, a, "billing")
	old := sequenced(p, 0, "a", "b").to(0)
	mustProduce(t, a, old)
	mustProduce(t, b, sequenced(p, 2, "c").to(0))
	mustProduce(t, a, sequenced(p, 0, "d", "e", "f")) // the topic's own sequence
	stands := func(s *Store, left int64) {
		t.Helper()
		p := mustRegister(t, s, "billing")
		if len(p.Next) != 2 || p.Next[0].NextSequence != 3 || p.Next[1].NextSequence != 3 {
			t.Fatalf("with %d records left: %+v", left, p.Next)
		}
		known, err := s.Producer(t.Context(), p.ID)
		if err != nil || len(known.Next) != 2 || known.Next[0].NextSequence != 3 {
			t.Fatalf("with %d records left: %+v, %v", left, known, err)
		}
	}
	stands(b, 6)
	for partition := range 2 {
		state, err := a.TopicState(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		mustDelete(t, a, partition, state.Partitions[partition].HighWatermark)
		stands(b, int64(partition))
		mustTrim(t, b, conn)
		stands(a, int64(partition))
	}
	p = mustRegister(t, b, "billing")
	old.Epoch = p.Epoch
	for _, s := range []*Store{a, b} {
		_, err := produce(s, old) // P6: removed by retention
		if got := mustRefuse(t, err, eos.DuplicateSequence); expects(got) != 3 {
			t.Errorf("expects %d", expects(got))
		}
		_, err = produce(s, sequenced(p, 4, "gap"))
		if got := mustRefuse(t, err, eos.OutOfOrder); expects(got) != 3 {
			t.Errorf("expects %d", expects(got))
		}
	}
	if got := mustProduce(t, a, sequenced(p, 3, "g").to(0)); got.NextSequence != 4 {
		t.Errorf("%+v", got)
	}
	mustProduce(t, b, sequenced(p, 3, "h"))
	progress, err := b.Progress(t.Context(), p.ID, mustKnow(t, b), -1, 0)
	if err != nil || progress.Next != 4 || len(progress.Kept) != 1 || progress.Kept[0].BaseSequence != 3 {
		t.Errorf("progress: %+v, %v", progress, err)
	}
}

// A store that goes by what it knows, in one trip, while another one has
// appended what retention has removed since: nothing is stored again.
func TestP8StaleStoreAfterRetention(t *testing.T) {
	t.Parallel()
	for _, trimmed := range []bool{false, true} {
		for _, id := range []string{"", "billing"} {
			t.Run(fmt.Sprintf("trimmed=%v,id=%s", trimmed, id), func(t *testing.T) {
				t.Parallel()
				a, b := newPair(t, 2)
				conn := newConn(t, a.pool.Config().ConnString())
				p := mustRegister(t, a, id)
				inFirst, inSecond := func(n int64, v string) ask { return at(sequenced(p, n, v), 0) }, func(n int64, v string) ask { return at(sequenced(p, n, v), 1) }
				mustProduce(t, a, inFirst(0, "a"))
				// The other store goes on in the other partition: no end betrays it.
				mustProduce(t, b, inSecond(1, "b"))
				mustProduce(t, b, inSecond(2, "c"))
				mustDelete(t, b, 1, 2)
				if trimmed {
					mustTrim(t, b, conn)
					a.forgetAges() // what was deleted was so long ago
				}
				_, err := produce(a, inFirst(1, "other"))
				if trimmed {
					mustRefuse(t, err, eos.DuplicateSequence)
				} else {
					mustRefuse(t, err, eos.SequenceReused)
				}
				if got := mustProduce(t, a, inFirst(3, "d")); got.Shares[0].BaseOffset != 1 || got.NextSequence != 4 {
					t.Errorf("%+v", got)
				}
				mustSpan(t, b, 0, 0, 2, 6)
				mustSpan(t, b, 1, 2, 2, 0)
			})
		}
	}
}

// at returns the request with all records for a partition, to the topic's URL.
func at(a ask, partition int) ask {
	for i := range a.records {
		a.records[i].Partition = partition
	}
	a.Fingerprint = eos.FingerprintRecords(a.records)
	return a
}

// The end of a log that a store knows has been passed, and nothing of it is
// left.
func TestP2StaleEndAfterRetention(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	mustProduce(t, a, plain("a"))
	mustProduce(t, b, plain("b"))
	mustDelete(t, b, 0, 2)
	mustTrim(t, b, conn)
	if got := mustProduce(t, a, plain("c")); got.Shares[0].BaseOffset != 2 {
		t.Errorf("%+v", got)
	}
	mustSpan(t, b, 0, 2, 3, 3)
}

// The same request on two proxies, while retention removes the first one's
// records: at most one of them stores it.
func TestP3SameRequestOnBothSidesOfTheLogStart(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	p := mustRegister(t, a, "")
	for i := range races(200) {
		request := at(sequenced(p, int64(i), fmt.Sprint(i)), i%2)
		if i%2 == 0 {
			request = keyed(fmt.Sprint("key ", i), fmt.Sprint(i)).to(0)
			mustProduce(t, b, at(sequenced(p, int64(i), fmt.Sprint(i)), 1))
		}
		first := mustProduce(t, a, request)
		end := mustEnd(t, a)
		mustExec(t, conn, `UPDATE trims SET raised_at = raised_at - interval '1 hour'`)
		var again Result
		var err error
		both(func() { again, err = produce(b, request) }, func() {
			for partition := range 2 {
				state, err := a.TopicState(context.Background(), "t")
				if err == nil {
					err = a.DeleteRecords(context.Background(), mustKnow(t, a), partition, state.Partitions[partition].HighWatermark)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if _, err := conn.Exec(context.Background(), `UPDATE trims SET raised_at = raised_at - interval '1 hour'`); err != nil {
				t.Error(err)
			}
			for n := 1; n > 0; {
				var err error
				if n, err = a.Trim(context.Background(), 10); err != nil {
					t.Error(err)
				}
			}
		})
		switch {
		case err == nil && (!again.Repeated || again.Shares[0].BaseOffset != first.Shares[0].BaseOffset):
			t.Fatalf("round %d: %+v, then %+v", i, first, again)
		case err != nil && (i%2 == 0 || !errors.Is(err, eos.DuplicateSequence.Errorf(""))):
			t.Fatalf("round %d: %v", i, err)
		}
		if now := mustEnd(t, a); now != end {
			t.Fatalf("round %d: %d records were stored, then %d", i, end, now)
		}
	}
}

// A key is known for a day, and until the last record of its request in any
// partition is gone.
func TestP10KeysOutliveTheirRecords(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	wide := keyed("wide", "x", "y")
	wide.records[0].Partition, wide.records[1].Partition = 0, 1
	narrow := keyed("narrow", "z").to(0)
	answers := []Result{mustProduce(t, a, wide), mustProduce(t, b, narrow)}
	known := func(when string) {
		t.Helper()
		for i, request := range []ask{wide, narrow} {
			for _, s := range []*Store{a, b} {
				mustRepeat(t, s, request, answers[i])
			}
			other := keyed(request.Key, "other")
			_, err := produce(b, other)
			mustRefuse(t, err, eos.KeyReused)
		}
		if t.Failed() {
			t.Fatal(when)
		}
	}
	mustDelete(t, a, 0, 2)
	known("below the log start")
	mustTrim(t, a, conn)
	known("as husks")
	mustSpan(t, b, 0, 2, 2, 0)
	mustAge(t, conn, "23 hours 59 minutes")
	if gone := mustForget(t, b, conn); gone.Husks != 0 {
		t.Errorf("%+v is forgotten", gone)
	}
	known("after a day, less a minute")
	mustAge(t, conn, "2 minutes")
	if gone := mustForget(t, b, conn); gone.Husks != 1 {
		t.Errorf("%+v is forgotten, want one husk", gone)
	}
	mustRepeat(t, a, wide, answers[0])
	if again := mustProduce(t, b, narrow); again.Repeated {
		t.Error("the key is known after a day")
	}
	mustDelete(t, a, 1, 1)
	mustTrim(t, a, conn)
	if gone := mustForget(t, b, conn); gone.Husks != 1 {
		t.Errorf("%+v is forgotten, want one husk", gone)
	}
	if again := mustProduce(t, b, wide); again.Repeated {
		t.Error("the key is known without any record")
	}
}

// What of a sequenced request is left in another partition keeps all of its
// answer; its receipt, and what is uploaded again, too.
func TestP3RequestWithOnePartLeft(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	p := mustRegister(t, a, "billing")
	wide := sequenced(p, 0, "x", "y", "z")
	for i, partition := range []int{0, 1, 0} {
		wide.records[i].Partition = partition
	}
	mustBegin(t, a, "tx", p)
	staged := mustProduce(t, a, wide.in("tx"))
	mustProduce(t, b, plain("before").to(1))
	mustCommit(t, b, "tx")
	mustDelete(t, a, 0, 2)
	mustTrim(t, b, conn)
	mustAge(t, conn, "30 days")
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten", gone)
	}
	mustRepeat(t, a, wide.in("tx"), staged)
	receipt, err := b.Receipt(t.Context(), p.ID, mustKnow(t, b), -1, 2)
	if err != nil || len(receipt.Shares) != 2 || receipt.Shares[1].BaseOffset != 1 {
		t.Errorf("the receipt: %+v, %v", receipt, err)
	}
	records, err := b.KeptRecords(t.Context(), p.ID, mustKnow(t, b), -1, Kept{0, 3})
	if err != nil || records[0].There || !records[1].There || records[2].There || string(records[1].Value) != `"y"` {
		t.Errorf("kept records: %+v, %v", records, err)
	}
	mustDelete(t, b, 1, 2)
	mustTrim(t, b, conn)
	if gone := mustForget(t, a, conn); gone.Husks != 1 || gone.Transactions != 1 {
		t.Errorf("%+v is forgotten, want one husk and one transaction", gone)
	}
	_, err = produce(a, wide)
	mustRefuse(t, err, eos.DuplicateSequence)
	if got := mustRegister(t, b, "billing").Next; len(got) != 1 || got[0].NextSequence != 3 {
		t.Errorf("next sequences: %+v", got)
	}
}

// A flush that is written long after it was decided, as by a proxy that was
// frozen in between, goes by the state of then: it is decided again.
func TestR1LateFlushIsDecidedAgain(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	mustProduce(t, a, plain("a"))
	a.writer.facts.clock.ms -= maxLate.Milliseconds() + 1000
	mustProduce(t, a, plain("b"))
	if late := mustGet[bool](t, conn, `SELECT bool_or(appended_at < clock_timestamp() - interval '10 seconds') FROM batches`); late {
		t.Error("a batch bears a time long before it was committed")
	}
	mustHold(t, a, "0:0 a", "0:1 b")
}
