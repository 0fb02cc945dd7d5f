package sim

import (
	"fmt"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// What the judge would answer: nothing to do it, again to repeat the first
// answer, else the code of the refusal.
const (
	again       = "again"
	notIts      = "not the member's" // one of four codes
	perhapsIts  = "perhaps not"      // as the member knows or does not know of its epoch
	mismatch    = "COMMITTED_OFFSET_MISMATCH"
	outOfOrder  = "OUT_OF_ORDER_SEQUENCE_NUMBER"
	invalidTxn  = "INVALID_TXN_STATE"
	fenced      = "PRODUCER_FENCED"
	concurrent  = "CONCURRENT_TRANSACTIONS"
	wrongCaller = "INVALID_PRODUCER_ID_MAPPING"
)

var notItsCodes = []string{"FENCED_MEMBER_EPOCH", "FENCED_INSTANCE_ID", "UNKNOWN_MEMBER_ID", "PARTITION_NOT_OWNED"}

// verdict is what an op is to be answered at this moment.
func (t *truth) verdict(o *op) string {
	switch o.kind {
	case kindProduce:
		return t.verdictOfAppend(o)
	case kindPut:
		return t.verdictOfPut(o)
	case kindCommit:
		return t.verdictOfCommit(o)
	case kindAbort, kindStage:
		return t.verdictOfEnd(o)
	case kindRegister:
		if o.Key != "" && t.registrations[o.Key] != nil {
			return again
		}
	case kindPoll:
		return t.verdictOfMember(o.group, o.member, o.epoch, o.offsets)
	case kindJoin:
		if t.group(o.group).replaced[o.member] {
			return notIts
		}
	case kindLeave:
		if !t.group(o.group).alive[o.member] {
			return notIts
		}
	}
	return ""
}

func (t *truth) verdictOfProducer(id, epoch int64) string {
	switch p := t.producers[id]; {
	case p == nil:
		return "UNKNOWN_PRODUCER_ID"
	case epoch > p.epoch:
		return "INVALID_PRODUCER_EPOCH"
	}
	return ""
}

// open reports whether a producer has a transaction open, and nobody commits it
// at this moment: what is beside that commit in a flush may be behind it as well.
func (t *truth) open(p *knownProducer) bool { return p.open != "" && !t.ending[p.open] }

func (t *truth) verdictOfAppend(o *op) string {
	p := t.producers[o.ProducerID]
	if o.HasProducer() {
		if v := t.verdictOfProducer(o.ProducerID, o.Epoch); v != "" {
			return v
		}
	}
	x := t.transactions[o.TransactionID]
	first := t.kept[keyOf(o)]
	if !o.Any() || first != nil && first.gone {
		first = nil
	}
	if first != nil && first.op.Fingerprint == o.Fingerprint && (x == nil || x.state != eos.StateAborted) {
		return again
	}
	switch {
	case o.HasProducer() && o.Epoch < p.epoch:
		return fenced
	case o.TransactionID != "" && x == nil:
		return "TRANSACTIONAL_ID_NOT_FOUND"
	case o.TransactionID != "" && o.HasProducer() && o.ProducerID != x.producer:
		return wrongCaller
	case o.TransactionID != "" && x.state != eos.StateOngoing, o.TransactionID == "" && o.HasProducer() && t.open(p):
		return invalidTxn
	case !o.HasProducer() && first != nil:
		return "IDEMPOTENCY_KEY_REUSED"
	case !o.HasProducer():
		return ""
	}
	next := t.next[scopeKey{o.ProducerID, o.scope}]
	switch {
	case o.Sequence == next:
		return ""
	case o.Sequence+int64(o.RecordCount) > next:
		return fmt.Sprint(outOfOrder, " ", next)
	case first != nil && first.op.RecordCount == o.RecordCount:
		return "SEQUENCE_REUSED"
	}
	return fmt.Sprint("DUPLICATE_SEQUENCE_NUMBER ", next)
}

func (t *truth) verdictOfPut(o *op) string {
	bound := o.begin.ProducerID != eos.NoProducer
	p := t.producers[o.begin.ProducerID]
	if bound {
		if v := t.verdictOfProducer(o.begin.ProducerID, o.begin.Epoch); v != "" {
			return v
		}
	}
	if x := t.transactions[o.begin.ID]; x != nil {
		switch {
		case !x.begun:
			return invalidTxn
		case x.content != string(o.begin.Fingerprint[:]):
			return "TRANSACTION_ID_REUSED"
		}
		return again
	}
	switch {
	case bound && p.id == "":
		return wrongCaller
	case bound && o.begin.Epoch < p.epoch:
		return fenced
	case bound && t.open(p):
		return concurrent
	}
	return t.verdictOfOffsets(o.offsets, o.whole)
}

func (t *truth) verdictOfCommit(o *op) string {
	v := t.verdictOfEnd(o)
	if v != "" {
		return v
	}
	x := t.transactions[o.TransactionID]
	return t.verdictOfOffsets(latest(x.offsets), true)
}

// latest is the offsets of a transaction that count: the last of each partition.
func latest(offsets []offset) []offset {
	var list []offset
	for i, o := range offsets {
		if !slices.ContainsFunc(offsets[i+1:], func(p offset) bool {
			return p.group == o.group && p.partition == o.partition
		}) {
			list = append(list, o)
		}
	}
	return list
}

// verdictOfEnd is that of a commit, an abort, or a stage.
func (t *truth) verdictOfEnd(o *op) string {
	x := t.transactions[o.TransactionID]
	if x == nil && o.kind != kindAbort {
		return "TRANSACTIONAL_ID_NOT_FOUND"
	}
	if x == nil {
		x = &knownTxn{producer: o.ProducerID, state: eos.StateOngoing}
	}
	repeats := o.kind == kindCommit && x.state == eos.StateCommitted || o.kind == kindAbort && x.state == eos.StateAborted ||
		o.kind == kindStage && o.done && x.state != eos.StateAborted
	if o.HasProducer() {
		if o.ProducerID != x.producer {
			return wrongCaller
		}
		if v := t.verdictOfProducer(o.ProducerID, o.Epoch); v != "" {
			return v
		}
		if o.Epoch < t.producers[o.ProducerID].epoch && !repeats {
			return fenced
		}
	}
	switch {
	case repeats:
		return again
	case x.state != eos.StateOngoing:
		return invalidTxn
	case o.kind == kindStage:
		return t.verdictOfOffsets(o.offsets, false)
	}
	return ""
}

func (t *truth) verdictOfOffsets(offsets []offset, commit bool) string {
	perhaps := ""
	for _, o := range offsets {
		switch v := t.verdictOfMember(o.group, o.member, o.epoch, []offset{o}); {
		case o.member == "" && t.group(o.group).living() > 0:
			return "NON_EMPTY_GROUP"
		case o.member != "" && v == notIts:
			return v
		case o.member != "" && v == perhapsIts:
			perhaps = v
		}
	}
	for _, o := range offsets {
		if commit && o.from != nil && t.group(o.group).done[o.partition] != *o.from {
			return mismatch
		}
	}
	return perhaps
}

// told is told of a repeat or a refusal. right is what would have been right when
// the state was read.
func (t *truth) told(c *call, a *answer, right string) {
	got := a.code()
	switch {
	case got == "unknown" || got == eos.Unavailable.Code:
		return
	case got == "":
		got = again
	case slices.Contains(notItsCodes, got):
		got = notIts
	case a.err.ExpectedSequence != nil:
		got = fmt.Sprint(got, " ", *a.err.ExpectedSequence)
	}
	want := t.verdict(c.op)
	perhaps := (want == perhapsIts || right == perhapsIts) && (got == notIts || got == mismatch)
	if got != want && got != right && !perhaps {
		t.fail("wrong answer", "%s is answered %s; right is %q, and was %q when it was read", c, a, want, right)
	}
}

// must refuses what is done and should not be.
func (t *truth) must(o *op) {
	v := t.verdict(o)
	name := ""
	switch {
	case v == "" || v == perhapsIts:
		return
	case v == again:
		name = "duplicate"
	case v == fenced:
		name = "fencing broken"
	case v == notIts || v == "NON_EMPTY_GROUP":
		name = "stale member accepted"
	case v == mismatch:
		name = "committed over another offset"
	case v == concurrent:
		name = "two open transactions"
	case v == invalidTxn && o.kind == kindCommit:
		name = "two fates"
	case v == invalidTxn && o.TransactionID == "":
		name = "outside the open transaction"
	case v == invalidTxn:
		name = "wrong transaction"
	case len(v) > len(outOfOrder) && v[:len(outOfOrder)] == outOfOrder:
		name = "sequence gap accepted"
	default:
		name = "key or sequence reused with another payload"
	}
	t.fail(name, "%s is done; right is %s", o, v)
}
