package judge

import (
	"slices"
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// checkRefusals holds of each request that was refused that it could be.
func (b *book) checkRefusals() {
	puts := map[string]int{}
	for _, t := range b.allTxns {
		puts[t.id] = len(t.puts)
	}
	for t := range b.tries.all() {
		if t.outcome != history.Fail || t.status < 400 || t.status >= 500 || t.status == 429 || t.status == 408 {
			continue
		}
		b.checkRepeat(t)
		b.checkCause(t)
		o := t.op
		switch t.code {
		case "SEQUENCE_REUSED":
			b.checkSequenceReused(t)
		case "OUT_OF_ORDER_SEQUENCE_NUMBER", "DUPLICATE_SEQUENCE_NUMBER":
			b.checkOutOfOrder(t)
		case "IDEMPOTENCY_KEY_REUSED":
			if o.key != "" && len(o.pieces) > 0 && b.alone(o) {
				b.refused(t, nil, "no other operation has its key %q", o.key)
			}
		case "TRANSACTION_ID_REUSED":
			if o.txn != nil && puts[o.txn.id] == 1 {
				b.refused(t, nil, "no other operation has its id %q", o.txn.id)
			}
		}
	}
}

func (b *book) refused(t *try, other *op, format string, args ...any) {
	lines := []int32{t.line}
	if other != nil {
		lines = append(lines, other.line, other.ackLine)
	}
	args = append([]any{t.op.id, t.op.kind, t.status, t.code}, args...)
	b.add(RefusedWrongly, lines, "operation %d (%s) was refused with %d %s; "+format, args...)
}

// alone reports whether no other operation that may have taken effect has the key of this one.
func (b *book) alone(o *op) bool {
	id := keyID{o.pieces[0].topic.name, "", o.key}
	if o.txn != nil {
		id = keyID{"", o.txn.id, o.key}
	}
	return !slices.ContainsFunc(b.keys[id], func(other *op) bool { return other != o && b.may(other) })
}

// checkRepeat holds that a request that was acknowledged is never refused when it is sent again.
func (b *book) checkRepeat(t *try) {
	o := t.op
	if o.acked >= t.invoked || o.hasLeft() || t.code == "INVALID_PRODUCER_EPOCH" {
		return
	}
	switch {
	case o.txn != nil && (o.txn.committed.line == 0 || o.kind == history.KindTxnOffsets):
		return // its transaction may have ended otherwise
	case o.kind == history.KindUpload, !o.identified() && o.kind != history.KindCommit:
		return
	}
	b.refused(t, o, "it had been acknowledged by %d, before it was sent again at %d", o.acked, t.invoked)
}

// checkSequenceReused holds that there is another operation that can have taken the sequence.
func (b *book) checkSequenceReused(t *try) {
	o := t.op
	if o.scope == nil || o.kind == history.KindUpload {
		return
	}
	if b.rivals(o) == nil {
		b.refused(t, nil, "nobody else may have used sequence %d of producer %d", o.sequence, o.scope.id.producer)
	}
}

// rivals returns an operation that may have used some sequence of this one, nil if there is none.
func (b *book) rivals(o *op) *op {
	for _, other := range o.scope.ops[o.scope.firstAt(o.sequence):] {
		if other.sequence >= o.sequence+o.count() {
			break
		}
		if other != o && b.may(other) {
			return other
		}
	}
	return nil
}

// firstAt returns the index of the first operation of a scope that may have a sequence from this one on.
func (s *scope) firstAt(sequence int64) int {
	return sort.Search(len(s.ops), func(i int) bool { return s.ops[i].sequence >= sequence-s.longest })
}

// checkOutOfOrder holds that a sequence is refused as out of order only as long as what is before it was not
// acknowledged, and that the sequence that is expected, as told, is not below what was.
func (b *book) checkOutOfOrder(t *try) {
	o := t.op
	if o.scope == nil || o.kind == history.KindUpload {
		return
	}
	stored := t.code == "DUPLICATE_SEQUENCE_NUMBER" && o.hasLeft() // and nothing tells any more that it was this
	known := o.scope.acked.before(t.invoked)
	switch {
	case t.expected >= 0 && t.expected < known.end:
		b.refused(t, nil,
			"it told that sequence %d is expected; sequence %d was acknowledged at %d, before it was sent at "+
				"%d (line %d)",
			t.expected, known.end-1, known.at, t.invoked, known.line)
	case !stored && known.end >= o.sequence && b.rivals(o) == nil && b.unharmed(o):
		b.refused(t, nil, "sequence %d, just before it, was acknowledged at %d, before it was sent at %d (line %d)",
			o.sequence-1, known.at, t.invoked, known.line)
	}
}

// unharmed reports whether a producer's scope has no transactions: where one aborts, sequences are used again.
func (b *book) unharmed(o *op) bool { return o.txn == nil && !o.scope.transactional }
