package store

import (
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

func TestP4SequenceReused(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "")
	mustProduce(t, a, sequenced(p, 0, "a", "b"))
	_, err := produce(b, sequenced(p, 0, "a", "x"))
	mustRefuse(t, err, eos.SequenceReused)
	dated := sequenced(p, 0, "a", "b")
	dated.records[0].Timestamp = 5
	dated.Fingerprint = eos.FingerprintRecords(dated.records)
	_, err = produce(b, dated)
	mustRefuse(t, err, eos.SequenceReused)
	mustHold(t, b, "0:0 a", "0:1 b")
}

func TestP5OutOfOrderTellsTheExpectedSequence(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "")
	_, err := produce(a, sequenced(p, 1, "b"))
	if got := expects(mustRefuse(t, err, eos.OutOfOrder)); got != 0 {
		t.Errorf("expected sequence %d, want 0", got)
	}
	mustProduce(t, b, sequenced(p, 0, "a"))
	_, err = produce(a, sequenced(p, 2, "c"))
	if got := expects(mustRefuse(t, err, eos.OutOfOrder)); got != 1 {
		t.Errorf("expected sequence %d, want 1", got)
	}
	mustProduce(t, a, sequenced(p, 1, "b"))
	mustHold(t, b, "0:0 a", "0:1 b")
}

// Another proxy has stored two of three requests, and retention has removed them:
// no key is in their way, and the first of them is none that may be stored.
func TestP8TheFirstSequenceOfAFlushIsGuarded(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	p := mustRegister(t, a, "")
	mustFlush(t, a, sequenced(p, 0, "a"))
	mustFlush(t, b, sequenced(p, 1, "b"), sequenced(p, 2, "c"))
	mustExec(t, conn, `
		WITH gone AS (DELETE FROM batches RETURNING scope_id)
		INSERT INTO positions (producer_id, scope_id, next_sequence, appended_at)
		SELECT $1, max(scope_id), 3, clock_timestamp() FROM gone`, p.ID)
	mustExec(t, conn, `UPDATE partitions SET log_start_offset = 3`)
	a.writer.shared = sharedFlushes
	got := flushAll(t, a, sequenced(p, 1, "b"), sequenced(p, 2, "c"), sequenced(p, 3, "d"))
	mustRefuse(t, got[0].Err, eos.DuplicateSequence)
	mustRefuse(t, got[1].Err, eos.DuplicateSequence)
	if got[2].Err != nil || got[2].Result.Shares[0].BaseOffset != 3 {
		t.Errorf("the third: %+v", got[2])
	}
}

func TestP6Overlap(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "")
	mustProduce(t, a, sequenced(p, 0, "0", "1"))
	mustProduce(t, a, sequenced(p, 2, "2", "3", "4"))
	for name, test := range map[string]struct {
		request ask
		kind    *eos.Kind
	}{
		"stored and new":         {sequenced(p, 2, "2", "3", "4", "5"), eos.OutOfOrder},
		"stored and new, other":  {sequenced(p, 4, "x", "y"), eos.OutOfOrder},
		"part of a request":      {sequenced(p, 2, "2", "3"), eos.DuplicateSequence},
		"middle of a request":    {sequenced(p, 3, "3"), eos.DuplicateSequence},
		"several requests":       {sequenced(p, 0, "0", "1", "2", "3", "4"), eos.DuplicateSequence},
		"one request, other":     {sequenced(p, 2, "2", "3", "x"), eos.SequenceReused},
		"over the edge of two":   {sequenced(p, 1, "1", "2"), eos.DuplicateSequence},
		"part, other content":    {sequenced(p, 0, "x"), eos.DuplicateSequence},
		"gap":                    {sequenced(p, 6, "6"), eos.OutOfOrder},
		"all and more from zero": {sequenced(p, 0, "0", "1", "2", "3", "4", "5"), eos.OutOfOrder},
	} {
		_, err := produce(b, test.request)
		refusal := mustRefuse(t, err, test.kind)
		if got := expects(refusal); test.kind != eos.SequenceReused && got != 5 {
			t.Errorf("%s: expected sequence %d, want 5", name, got)
		}
	}
	mustHold(t, a, "0:0 0", "0:1 1", "0:2 2", "0:3 3", "0:4 4")
}

func TestP7EveryScopeHasItsOwnSequence(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustTopic(t, a, "u", 1)
	p := mustRegister(t, a, "")
	other := sequenced(p, 0, "u")
	other.topic = "u"
	for i, request := range []ask{sequenced(p, 0, "t"), sequenced(p, 0, "p0").to(0), sequenced(p, 0, "p1").to(1), other} {
		s := []*Store{a, b}[i%2]
		if got := mustProduce(t, s, request); got.Repeated || got.NextSequence != 1 {
			t.Errorf("request %d: %+v, want it stored, then sequence 1", i, got)
		}
	}
	_, err := produce(a, sequenced(Producer{ID: p.ID + 1000}, 0, "a"))
	mustRefuse(t, err, eos.UnknownProducer)

	// A topic that is deleted and made again is another topic.
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	mustTopic(t, b, "t", 1)
	mustProduce(t, a, sequenced(p, 0, "again"))
	mustHold(t, b, "0:0 again")
}

func TestP8SequencesGoOnOverEpochs(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustTopic(t, a, "u", 1)
	p := mustRegister(t, a, "billing")
	mustProduce(t, a, sequenced(p, 0, "a", "b"))
	mustProduce(t, b, sequenced(p, 0, "c").to(1))
	mustBegin(t, a, "staged", p)
	mustProduce(t, b, sequenced(p, 2, "d").in("staged"))
	mustProduce(t, b, sequenced(p, 0, "e").to(0).in("staged"))

	next := mustRegister(t, b, "billing")
	one := 1
	want := Producer{ID: p.ID, Epoch: 1, TransactionalID: "billing", TimeoutMS: 60_000, Aborted: "staged", Next: []Scope{
		{Topic: "t", NextSequence: 2}, {Topic: "t", Partition: &one, NextSequence: 1},
	}}
	if diff := cmp.Diff(want, next); diff != "" {
		t.Errorf("registration (-want +got):\n%s", diff)
	}
	mustProduce(t, a, sequenced(next, 2, "f"))

	got, err := a.Producer(t.Context(), p.ID)
	if err != nil || got.Epoch != 1 || len(got.Next) != 2 || got.OpenTransaction != "" || got.LastSeen.IsZero() {
		t.Errorf("producer: %+v, %v", got, err)
	}
	_, err = a.Producer(t.Context(), p.ID+1)
	mustRefuse(t, err, eos.ProducerNotFound)
}

func TestP8TopicIsCheckedWhereItIsWritten(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustProduce(t, b, plain("warm")) // b remembers one partition
	mustGrow(t, a, "t", 3)
	for i := range 30 {
		request := keyed(fmt.Sprint("k", i), "x")
		first := mustProduce(t, b, request)
		mustRepeat(t, a, request, first)
	}
	grown := map[string]bool{}
	for _, line := range mustLog(t, a, "t") {
		grown[line[:1]] = true
	}
	if len(grown) != 3 {
		t.Errorf("records in partitions %v, want all 3", grown)
	}
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	_, err := produce(b, plain("late"))
	mustRefuse(t, err, eos.UnknownTopic)
	mustTopic(t, a, "t", 1)
	mustProduce(t, b, plain("new"))
	mustHold(t, a, "0:0 new")
}
