package eos

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	epoch  = 5 // the current one of the producers in these tests
	billed = "billing-7"
)

var (
	ours   = FingerprintRecords([]Record{{Value: []byte(`"ours"`)}})
	theirs = FingerprintRecords([]Record{{Value: []byte(`"theirs"`)}})
	known  = Producer{ID: 1001, Epoch: epoch, TransactionalID: billed, Known: true}
	bound  = Producer{ID: 1001, Epoch: epoch, TransactionalID: billed, OpenTransaction: "T1", Known: true}
)

// sequenced is an append of producer 1001 in the current epoch.
func sequenced(sequence int64, count int) Append {
	return Append{Identity: Identity{ProducerID: known.ID, Epoch: epoch, Sequence: sequence, Fingerprint: ours}, RecordCount: count}
}

// keyed is an append with an idempotency key.
func keyed(key string) Append {
	return Append{Identity: Identity{ProducerID: NoProducer, Key: key, Fingerprint: ours}, RecordCount: 1}
}

// in returns the append as one that names a transaction.
func (a Append) in(transactionID string) Append {
	a.TransactionID = transactionID
	return a
}

// by returns the append as one of another epoch.
func (a Append) by(epoch int64) Append {
	a.Epoch = epoch
	return a
}

// decision is one row of a table: what is asked, and what is to be said.
type decision struct {
	name    string
	append  Append
	facts   Facts
	verdict Verdict
	refusal *Error // nil: not refused
}

func checkDecisions(t *testing.T, table []decision) {
	t.Helper()
	for _, d := range table {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			verdict, err := d.append.Decide(d.facts)
			checkVerdict(t, verdict, err, d.verdict, d.refusal)
		})
	}
}

func checkVerdict(t *testing.T, got Verdict, err error, want Verdict, refusal *Error) {
	t.Helper()
	checkRefusal(t, err, refusal)
	if refusal == nil && got != want {
		t.Errorf("verdict %d, want %d", got, want)
	}
}

// checkRefusal compares everything that a client can act on.
func checkRefusal(t *testing.T, err error, want *Error) {
	t.Helper()
	var got *Error
	if err != nil && !errors.As(err, &got) {
		t.Fatalf("%v is not an *Error", err)
	}
	diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Error{}, "Detail"), cmp.Comparer(func(a, b *Kind) bool { return a == b }))
	if diff != "" {
		t.Errorf("got %v, want %v:\n%s", err, want, diff)
	}
	if got != nil && got.Detail == "" {
		t.Errorf("%s has no detail", got.Kind.Code)
	}
}

func TestP3WhatHappenedIsToldBeforeAnyCheck(t *testing.T) {
	t.Parallel()
	exact := &Stored{RecordCount: 2, Fingerprint: ours}
	oneKey := &Stored{RecordCount: 1, Fingerprint: ours}
	checkDecisions(t, []decision{
		{"the last request", sequenced(3, 2), Facts{Producer: known, Next: 5, Stored: exact}, Repeat, nil},
		{"an old request", sequenced(3, 2), Facts{Producer: known, Next: 5_000_000, Stored: exact}, Repeat, nil},
		{"a fenced epoch", sequenced(3, 2).by(epoch - 1), Facts{Producer: known, Next: 5, Stored: exact}, Repeat, nil},
		{"outside of the transaction that is open now", sequenced(3, 2), Facts{Producer: bound, Next: 5, Stored: exact}, Repeat, nil},
		{
			"in a transaction that is ongoing", sequenced(3, 2).in("T1"),
			Facts{Producer: bound, Next: 5, Stored: exact, Transaction: &Transaction{ID: "T1", State: StateOngoing, ProducerID: 1001}},
			Repeat, nil,
		},
		{
			"in a transaction that is committed", sequenced(3, 2).in("T1"),
			Facts{Producer: known, Next: 5, Stored: exact, Transaction: &Transaction{ID: "T1", State: StateCommitted, ProducerID: 1001}},
			Repeat, nil,
		},
		{"in a transaction whose fate is forgotten", sequenced(3, 2).in("T1"), Facts{Producer: known, Next: 5, Stored: exact}, Repeat, nil},
		{"by key", keyed("k"), Facts{Stored: oneKey}, Repeat, nil},
		{
			"by key in a committed transaction", keyed("k").in("T1"),
			Facts{Stored: oneKey, Transaction: &Transaction{ID: "T1", State: StateCommitted, ProducerID: NoProducer}},
			Repeat, nil,
		},
		{
			"but not under an epoch that was never given out", sequenced(3, 2).by(epoch + 1),
			Facts{Producer: known, Next: 5, Stored: exact},
			Apply, InvalidProducerEpoch.Errorf("").AtEpoch(epoch),
		},
	})
}

func TestP4SameSequenceOtherRecords(t *testing.T) {
	t.Parallel()
	checkDecisions(t, []decision{
		{"the last request", sequenced(3, 2), Facts{Producer: known, Next: 5, Stored: &Stored{2, theirs}}, Apply, SequenceReused.Errorf("")},
		{"an old request", sequenced(3, 2), Facts{Producer: known, Next: 90, Stored: &Stored{2, theirs}}, Apply, SequenceReused.Errorf("")},
		{
			"a fenced epoch is told that it is fenced", sequenced(3, 2).by(epoch - 1),
			Facts{Producer: known, Next: 5, Stored: &Stored{2, theirs}},
			Apply, ProducerFenced.Errorf("").AtEpoch(epoch),
		},
	})
}

func TestP5OnlyTheNextSequence(t *testing.T) {
	t.Parallel()
	checkDecisions(t, []decision{
		{"the first of all", sequenced(0, 1), Facts{Producer: known}, Apply, nil},
		{"the first of all is not 1", sequenced(1, 1), Facts{Producer: known}, Apply, OutOfOrder.Errorf("").Expecting(0)},
		{"the next", sequenced(5, 3), Facts{Producer: known, Next: 5}, Apply, nil},
		{"one too far", sequenced(6, 1), Facts{Producer: known, Next: 5}, Apply, OutOfOrder.Errorf("").Expecting(5)},
		{"the last number there is", sequenced(MaxInteger, 1), Facts{Producer: known, Next: 5}, Apply, OutOfOrder.Errorf("").Expecting(5)},
		{"no wrap at 31 bits", sequenced(1<<31, 1), Facts{Producer: known, Next: 1 << 31}, Apply, nil},
		{"zero after 31 bits", sequenced(0, 1), Facts{Producer: known, Next: 1 << 31}, Apply, DuplicateSequence.Errorf("").Expecting(1 << 31)},
	})
}

func TestP6OverlapComesBeforeReuse(t *testing.T) {
	t.Parallel()
	outOfOrder, duplicate := OutOfOrder.Errorf("").Expecting(5), DuplicateSequence.Errorf("").Expecting(5)
	checkDecisions(t, []decision{
		{"stored ones and then a new one", sequenced(3, 3), Facts{Producer: known, Next: 5}, Apply, outOfOrder},
		{"one kept request and then a new one", sequenced(3, 3), Facts{Producer: known, Next: 5, Stored: &Stored{2, ours}}, Apply, outOfOrder},
		{"all there is and more", sequenced(0, 9), Facts{Producer: known, Next: 5, Stored: &Stored{5, ours}}, Apply, outOfOrder},
		{"part of a request, from its start", sequenced(3, 1), Facts{Producer: known, Next: 5, Stored: &Stored{2, ours}}, Apply, duplicate},
		{"part of a request, from its middle", sequenced(4, 1), Facts{Producer: known, Next: 5}, Apply, duplicate},
		{"several requests", sequenced(0, 5), Facts{Producer: known, Next: 5, Stored: &Stored{3, ours}}, Apply, duplicate},
		{"removed by retention", sequenced(0, 3), Facts{Producer: known, Next: 5}, Apply, duplicate},
		{"exactly one request, other content", sequenced(3, 2), Facts{Producer: known, Next: 5, Stored: &Stored{2, theirs}}, Apply, SequenceReused.Errorf("")},
	})
}

func TestP7UnknownProducer(t *testing.T) {
	t.Parallel()
	stranger := Producer{ID: 1001}
	otherID := sequenced(0, 1)
	otherID.TransactionalID = "billing-8"
	itsID := sequenced(0, 1)
	itsID.TransactionalID = billed
	nameless := known
	nameless.TransactionalID = ""
	checkDecisions(t, []decision{
		{"never registered", sequenced(0, 1), Facts{Producer: stranger}, Apply, UnknownProducer.Errorf("")},
		{"forgotten, in the middle", sequenced(7, 1).by(0), Facts{Producer: stranger}, Apply, UnknownProducer.Errorf("")},
		{"with another transactional id", otherID, Facts{Producer: known}, Apply, InvalidMapping.Errorf("")},
		{"a repeat with another transactional id", otherID, Facts{Producer: known, Next: 1, Stored: &Stored{1, ours}}, Apply, InvalidMapping.Errorf("")},
		{"with a transactional id where there is none", otherID, Facts{Producer: nameless}, Apply, InvalidMapping.Errorf("")},
		{"with its transactional id", itsID, Facts{Producer: known}, Apply, nil},
	})
}

func TestP9Fenced(t *testing.T) {
	t.Parallel()
	fenced := ProducerFenced.Errorf("").AtEpoch(epoch)
	ongoing := &Transaction{ID: "T1", State: StateOngoing, ProducerID: 1001, Epoch: epoch}
	checkDecisions(t, []decision{
		{"the next sequence of the last epoch", sequenced(5, 1).by(epoch - 1), Facts{Producer: known, Next: 5}, Apply, fenced},
		{"of the first epoch", sequenced(5, 1).by(0), Facts{Producer: known, Next: 5}, Apply, fenced},
		{"a gap", sequenced(9, 1).by(0), Facts{Producer: known, Next: 5}, Apply, fenced},
		{"into the transaction of the new epoch", sequenced(5, 1).by(epoch - 1).in("T1"), Facts{Producer: bound, Next: 5, Transaction: ongoing}, Apply, fenced},
		{"the current epoch", sequenced(5, 1), Facts{Producer: known, Next: 5}, Apply, nil},
		{"an epoch of the future", sequenced(5, 1).by(epoch + 1), Facts{Producer: known, Next: 5}, Apply, InvalidProducerEpoch.Errorf("").AtEpoch(epoch)},
	})
}

func TestP10Keys(t *testing.T) {
	t.Parallel()
	ongoing := &Transaction{ID: "T1", State: StateOngoing, ProducerID: 1001, Epoch: epoch}
	checkDecisions(t, []decision{
		{"new", keyed("k"), Facts{}, Apply, nil},
		{"same records", keyed("k"), Facts{Stored: &Stored{1, ours}}, Repeat, nil},
		{"other records", keyed("k"), Facts{Stored: &Stored{1, theirs}}, Apply, KeyReused.Errorf("")},
		{"another count", keyed("k"), Facts{Stored: &Stored{2, ours}}, Apply, KeyReused.Errorf("")},
		{"new in a transaction", keyed("k").in("T1"), Facts{Transaction: ongoing}, Apply, nil},
		{"other records in a transaction", keyed("k").in("T1"), Facts{Transaction: ongoing, Stored: &Stored{1, theirs}}, Apply, KeyReused.Errorf("")},
		{"no identity at all", keyed(""), Facts{}, Apply, nil},
	})
}

func BenchmarkDecide(b *testing.B) {
	facts := Facts{Producer: known, Next: 5, Stored: &Stored{2, theirs}}
	for name, a := range map[string]Append{"fresh": sequenced(5, 2), "refused": sequenced(3, 2)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = a.Decide(facts)
			}
		})
	}
}
