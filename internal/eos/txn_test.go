package eos

import "testing"

// wasCommitted refuses what comes behind a commit.
var wasCommitted = &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateCommitted}

func TestT3OneFate(t *testing.T) {
	t.Parallel()
	committed := &Transaction{ID: "T1", State: StateCommitted}
	aborted := &Transaction{ID: "T1", State: StateAborted, AbortedBy: AbortedByTimeout}
	abortedBy := &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateAborted, AbortedBy: AbortedByTimeout}
	for name, c := range map[string]struct {
		stored        *Transaction
		commit, abort Verdict
		commitRefusal *Error
		abortRefusal  *Error
	}{
		"ongoing":   {stored: &Transaction{ID: "T1", State: StateOngoing}, commit: Apply, abort: Apply},
		"committed": {stored: committed, commit: Repeat, abortRefusal: wasCommitted},
		"aborted":   {stored: aborted, commitRefusal: abortedBy, abort: Repeat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verdict, err := c.stored.DecideCommit()
			checkVerdict(t, verdict, err, c.commit, c.commitRefusal)
			verdict, err = c.stored.DecideAbort()
			checkVerdict(t, verdict, err, c.abort, c.abortRefusal)
		})
	}
}

func TestT4RepeatOfStagedOffsets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state   State
		stored  bool
		verdict Verdict
		refusal *Error
	}{
		{StateOngoing, false, Apply, nil},
		{StateOngoing, true, Repeat, nil},
		{StateCommitted, false, Apply, wasCommitted},
		{StateCommitted, true, Repeat, nil},
		{StateAborted, false, Apply, &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateAborted, AbortedBy: AbortedByClient}},
		{StateAborted, true, Apply, &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateAborted, AbortedBy: AbortedByClient}},
	} {
		stored := &Transaction{ID: "T1", State: c.state}
		if c.state == StateAborted {
			stored.AbortedBy = AbortedByClient
		}
		verdict, err := stored.DecideStage(c.stored)
		checkVerdict(t, verdict, err, c.verdict, c.refusal)
	}
}

func TestT4LateArrivals(t *testing.T) {
	t.Parallel()
	aborted := &Transaction{ID: "T1", State: StateAborted, AbortedBy: AbortedByClient, ProducerID: 1001, Epoch: epoch}
	committed := &Transaction{ID: "T1", State: StateCommitted, ProducerID: 1001, Epoch: epoch}
	abortedBy := &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateAborted, AbortedBy: AbortedByClient}
	inNext := bound
	inNext.OpenTransaction = "T2"
	checkDecisions(t, []decision{
		{"after an abort", sequenced(5, 2).in("T1"), Facts{Producer: known, Next: 5, Transaction: aborted}, Apply, abortedBy},
		{"after an abort, by key", keyed("k").in("T1"), Facts{Transaction: aborted}, Apply, abortedBy},
		{"after a commit", sequenced(5, 2).in("T1"), Facts{Producer: known, Next: 5, Transaction: committed}, Apply, wasCommitted},
		{"after a commit, by key", keyed("k").in("T1"), Facts{Transaction: committed}, Apply, wasCommitted},
		{"while the next transaction is open", sequenced(5, 2).in("T1"), Facts{Producer: inNext, Next: 5, Transaction: aborted}, Apply, abortedBy},
		{
			"when the next transaction stored the same under the same sequence", sequenced(3, 2).in("T1"),
			Facts{Producer: inNext, Next: 5, Stored: &Stored{2, ours}, Transaction: aborted},
			Apply, abortedBy,
		},
		{"a transaction that never was", sequenced(5, 2).in("T9"), Facts{Producer: known, Next: 5}, Apply, TransactionNotFound.Errorf("")},
	})
	checkRefusal(t, aborted.CheckOngoing(), abortedBy)
	checkRefusal(t, committed.CheckOngoing(), wasCommitted)
	checkRefusal(t, (&Transaction{ID: "T1", State: StateOngoing}).CheckOngoing(), nil)
}

func TestT6FencingIsToldApartFromATimeout(t *testing.T) {
	t.Parallel()
	for _, by := range []string{AbortedByClient, AbortedByTimeout, AbortedByFencing} {
		_, err := (&Transaction{ID: "T1", State: StateAborted, AbortedBy: by}).DecideCommit()
		checkRefusal(t, err, &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateAborted, AbortedBy: by})
	}
}

func TestT7SequencesOfAnAbortAreUnused(t *testing.T) {
	t.Parallel()
	staged := Facts{Producer: bound, Next: 5, Transaction: &Transaction{ID: "T1", State: StateOngoing, ProducerID: 1001}}
	after := Facts{Producer: bound, Next: 3, Transaction: &Transaction{ID: "T2", State: StateOngoing, ProducerID: 1001}}
	checkDecisions(t, []decision{
		{"before", sequenced(3, 2).in("T1"), staged, Apply, DuplicateSequence.Errorf("").Expecting(5)},
		{"the same numbers again", sequenced(3, 2).in("T2"), after, Apply, nil},
		{"going on as if nothing had been", sequenced(5, 2).in("T2"), after, Apply, OutOfOrder.Errorf("").Expecting(3)},
	})
}

// beginning is one row of a table of begins.
type beginning struct {
	name     string
	begin    Begin
	stored   *Transaction
	producer Producer
	verdict  Verdict
	refusal  *Error
}

func checkBeginnings(t *testing.T, table []beginning) {
	t.Helper()
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			verdict, err := c.begin.Decide(c.stored, c.producer)
			checkVerdict(t, verdict, err, c.verdict, c.refusal)
		})
	}
}

func TestT8TheIdIsTheWholeTransaction(t *testing.T) {
	t.Parallel()
	unbound := Begin{ID: "T1", ProducerID: NoProducer, Fingerprint: ours}
	byBilling := Begin{ID: "T1", ProducerID: known.ID, Epoch: epoch, Fingerprint: ours}
	byFenced := Begin{ID: "T1", ProducerID: known.ID, Epoch: epoch - 1, Fingerprint: ours}
	stored := func(state State, by string, content *Fingerprint) *Transaction {
		return &Transaction{ID: "T1", State: state, AbortedBy: by, ProducerID: NoProducer, Fingerprint: content}
	}
	given := &Error{Kind: InvalidTxnState, Effect: EffectNone, State: StateAborted, AbortedBy: AbortedByClient}
	checkBeginnings(t, []beginning{
		{"new", unbound, nil, Producer{}, Apply, nil},
		{"again while ongoing", unbound, stored(StateOngoing, "", &ours), Producer{}, Repeat, nil},
		{"again when committed", unbound, stored(StateCommitted, "", &ours), Producer{}, Repeat, nil},
		{"again when aborted", unbound, stored(StateAborted, AbortedByClient, &ours), Producer{}, Repeat, nil},
		{"with another content", unbound, stored(StateOngoing, "", &theirs), Producer{}, Apply, TransactionIDReused.Errorf("")},
		{"with another content, ended", unbound, stored(StateAborted, AbortedByClient, &theirs), Producer{}, Apply, TransactionIDReused.Errorf("")},
		{"given up before it came", unbound, stored(StateAborted, AbortedByClient, nil), Producer{}, Apply, given},
		{"again while it is the open one of its producer", byBilling, stored(StateOngoing, "", &ours), bound, Repeat, nil},
		{"again by an epoch that was replaced", byFenced, stored(StateAborted, AbortedByFencing, &ours), known, Repeat, nil},
	})
}

func TestT9OneProducerOneOpenTransaction(t *testing.T) {
	t.Parallel()
	open := &Error{Kind: ConcurrentTxns, Effect: EffectNone, TransactionID: "T1"}
	nameless := known
	nameless.TransactionalID = ""
	begin := func(epoch int64) Begin {
		return Begin{ID: "T2", ProducerID: known.ID, Epoch: epoch, Fingerprint: ours}
	}
	checkBeginnings(t, []beginning{
		{"none is open", begin(epoch), nil, known, Apply, nil},
		{"another is open", begin(epoch), nil, bound, Apply, open},
		{"an unbound one beside it", Begin{ID: "T2", ProducerID: NoProducer}, nil, Producer{}, Apply, nil},
		{"P7: an unknown producer", begin(epoch), nil, Producer{ID: known.ID}, Apply, UnknownProducer.Errorf("")},
		{"P9: a fenced epoch", begin(epoch - 1), nil, known, Apply, ProducerFenced.Errorf("").AtEpoch(epoch)},
		{"P9: a fenced epoch beside an open one", begin(epoch - 1), nil, bound, Apply, ProducerFenced.Errorf("").AtEpoch(epoch)},
		{"P3: an epoch that was never given out", begin(epoch + 1), nil, known, Apply, InvalidProducerEpoch.Errorf("").AtEpoch(epoch)},
		{"T10: a producer without a transactional id", begin(epoch), nil, nameless, Apply, InvalidMapping.Errorf("")},
	})
}

func TestT10InsideOrNotAtAll(t *testing.T) {
	t.Parallel()
	ongoing := &Transaction{ID: "T1", State: StateOngoing, ProducerID: 1001, Epoch: epoch}
	ofAnother := &Transaction{ID: "T3", State: StateOngoing, ProducerID: 1002}
	unbound := &Transaction{ID: "T4", State: StateOngoing, ProducerID: NoProducer}
	checkDecisions(t, []decision{
		{"inside", sequenced(5, 1).in("T1"), Facts{Producer: bound, Next: 5, Transaction: ongoing}, Apply, nil},
		{"outside", sequenced(5, 1), Facts{Producer: bound, Next: 5}, Apply, &Error{Kind: InvalidTxnState, Effect: EffectNone, TransactionID: "T1"}},
		{"outside, and out of order", sequenced(9, 1), Facts{Producer: bound, Next: 5}, Apply, &Error{Kind: InvalidTxnState, Effect: EffectNone, TransactionID: "T1"}},
		{"in the transaction of another producer", sequenced(5, 1).in("T3"), Facts{Producer: known, Next: 5, Transaction: ofAnother}, Apply, InvalidMapping.Errorf("")},
		{"in one that is bound to none", sequenced(5, 1).in("T4"), Facts{Producer: known, Next: 5, Transaction: unbound}, Apply, InvalidMapping.Errorf("")},
		{"inside, by key and without producer headers", keyed("k").in("T1"), Facts{Transaction: ongoing}, Apply, nil},
		{"by key, outside", keyed("k"), Facts{}, Apply, nil},
	})
	checkRefusal(t, ongoing.CheckProducer(NoProducer), nil)
	checkRefusal(t, ongoing.CheckProducer(1001), nil)
	checkRefusal(t, ongoing.CheckProducer(1002), InvalidMapping.Errorf(""))
	checkRefusal(t, unbound.CheckProducer(NoProducer), nil)
	checkRefusal(t, unbound.CheckProducer(1001), InvalidMapping.Errorf(""))
}

func TestOffsetsOfATransaction(t *testing.T) {
	t.Parallel()
	end, three, zero := int64(10), int64(3), int64(0)
	checkRefusal(t, CheckOffset(0, 0), nil)
	checkRefusal(t, CheckOffset(10, end), nil)
	checkRefusal(t, CheckOffset(11, end), &Error{Kind: OffsetBeyondEnd, Effect: EffectNone, HighWatermark: &end})
	for name, c := range map[string]struct {
		from, committed *int64
		refusal         *Error
	}{
		"the client does not say":               {nil, &three, nil},
		"nobody says anything":                  {nil, nil, nil},
		"as the client saw it":                  {&three, &three, nil},
		"none yet, which a client sees as zero": {&zero, nil, nil},
		"none yet, but the client saw one":      {&three, nil, &Error{Kind: OffsetMismatch, Effect: EffectNone, CommittedOffset: &zero}},
		"another by now":                        {&zero, &three, &Error{Kind: OffsetMismatch, Effect: EffectNone, CommittedOffset: &three}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkRefusal(t, CheckFrom(c.from, c.committed), c.refusal)
		})
	}
}
