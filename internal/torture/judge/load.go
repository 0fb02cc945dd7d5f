package judge

import (
	"fmt"
	"io"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// read takes down a history.
func (b *book) read(r io.Reader) error {
	err := history.Lines(r, func(number int64, _ []byte, l *history.Line) error {
		b.Lines = number
		line := int32(number)
		switch {
		case l.Attempt != nil:
			return b.attempt(line, l.Attempt)
		case l.Log != nil:
			b.drained(line, l.Log)
		case l.Run != nil:
			b.Seed, b.Version = l.Run.Seed, l.Run.Version
		case l.Topic != nil:
			b.topic(l.Topic.Topic).declared = *l.Topic
			if l.Topic.Partitions > 0 {
				b.partition(l.Topic.Topic, l.Topic.Partitions-1)
			}
		case l.Fault != nil:
			b.fault(l.Fault)
		case l.Alarm != nil:
			b.add(Name(l.Alarm.Name), []int32{line}, "%s", l.Alarm.Detail)
		case l.Fate != nil:
			b.fate(line, l.Fate)
		case l.Committed != nil:
			b.committedInTheEnd(line, l.Committed)
		case l.End != nil:
			b.ended = true
			if n := l.End.Lines; n != 0 && n != number-1 {
				return fmt.Errorf("the history has %d lines before its end, line %d, which says %d", number-1, line, n)
			}
			if n := l.End.Attempts; n != 0 && n != b.Attempts {
				return fmt.Errorf("the history has %d attempts; its end, line %d, says %d", b.Attempts, line, n)
			}
		default:
			return fmt.Errorf("line %d says nothing", line)
		}
		return nil
	})
	for k, n := range b.kinds {
		b.Kinds[k[0]+" "+k[1]] = n
	}
	return err
}

func (b *book) fault(f *history.Fault) {
	b.Faults[f.Kind] += int64(max(1, f.Count))
	if f.Ended > b.healed {
		b.healed, b.back = f.Ended, 0
	}
	b.disturbed = b.disturbed || f.Operation == 0
	switch {
	case f.Repeats && f.Operation != 0:
		b.repeated[f.Operation] = true
	case f.Repeats:
		b.repeats = true
	case repeatedKind(f.Kind):
		b.again = true
	}
}

// repeatedKind reports whether a fault is that the network delivered requests more than once. It does that only to
// those with an identity, unless the history says more.
func repeatedKind(kind string) bool {
	if i := strings.LastIndex(kind, ": "); i >= 0 { // behind where it was
		kind = kind[i+2:]
	}
	return strings.HasPrefix(kind, "twice") || strings.HasPrefix(kind, "again")
}

// badAnswer begins the error of an attempt whose answer came whole and is wrong, as internal/torture/traffic writes it.
const badAnswer = "bad answer: "

func (b *book) attempt(line int32, a *history.Attempt) error {
	switch a.Outcome {
	case history.OK, history.Fail, history.Unknown:
	default:
		return fmt.Errorf("line %d: the attempt has the outcome %q", line, a.Outcome)
	}
	b.Attempts++
	if a.Try <= 1 {
		b.Operations++
	}
	b.kinds[[2]string{string(a.Kind), string(a.Outcome)}]++
	if a.Replayed {
		b.Replayed++
	}
	b.now = max(b.now, a.Returned)
	if b.back == 0 && a.Outcome == history.OK && a.Invoked > b.healed {
		b.back = a.Returned
	}
	if a.Status >= 500 && a.Status != 503 {
		b.add(ServerError, []int32{line}, "operation %d (%s) was answered %d %s", a.Operation, a.Kind, a.Status, a.Code)
	}
	if strings.HasPrefix(a.Error, badAnswer) {
		b.add(BadAnswer, []int32{line}, "operation %d (%s) was answered with status %d and what cannot be made out: %s",
			a.Operation, a.Kind, a.Status, a.Error)
	}
	b.checkMeant(line, a)
	switch {
	case a.Produce != nil && a.Kind == history.KindReceipt:
		b.receipt(line, a)
	case a.Produce != nil:
		return b.produce(line, a)
	case a.Register != nil:
		b.registration(line, a)
	case a.Transaction != nil:
		return b.transaction(line, a)
	case a.Read != nil:
		b.readAttempt(line, a)
	case a.Member != nil:
		b.member(line, a)
	case a.Offsets != nil:
		b.offsets(line, a)
	default:
		return fmt.Errorf("line %d: the attempt says nothing of its %s", line, a.Kind)
	}
	return nil
}

// operation returns the operation of an attempt, and whether the attempt is the first of it in the history.
func (b *book) operation(line int32, a *history.Attempt) (o *op, first bool) {
	at := b.byID.slot(a.Operation)
	if *at == 0 {
		var i int32
		o, i = b.ops.add()
		*o = op{id: a.Operation, kind: history.Kind(b.lasting(string(a.Kind))), line: line, invoked: a.Invoked, acked: never}
		*at, first = i+1, true
	} else {
		o = b.ops.at(*at - 1)
	}
	if a.Invoked < o.invoked {
		o.invoked, o.line = a.Invoked, line
	}
	return o, first
}

// tried notes an attempt of an operation.
func (b *book) tried(o *op, line int32, a *history.Attempt, epoch, expected int64) {
	producer := int64(0)
	switch {
	case a.Produce != nil:
		producer = a.Produce.Producer
	case a.Transaction != nil:
		producer = a.Transaction.Producer
	}
	t, i := b.tries.add()
	*t = try{
		op: o, before: o.last, line: line, status: int32(a.Status), outcome: history.Outcome(b.lasting(string(a.Outcome))), code: b.lasting(a.Code),
		replayed: a.Replayed, producer: producer, epoch: epoch, invoked: a.Invoked, returned: a.Returned, expected: expected,
	}
	o.last = i + 1
	switch {
	case a.Outcome == history.OK:
		o.ok = true
		if a.Returned < o.acked {
			o.acked, o.ackLine = a.Returned, line
		}
	case a.Outcome == history.Unknown:
		o.unknown = true
	case !settled(o, a):
		o.failed = true
	}
}

// settled reports whether a request that failed can also not take effect if it is delivered once more, later: it was
// not sent, or it is refused whatever happens in between.
func settled(o *op, a *history.Attempt) bool {
	switch a.Status {
	case 0, 400, 412, 413, 415, 422:
		return true
	}
	return a.Code == "INVALID_TXN_STATE" && o.txn != nil && o.kind != history.KindBegin && o.kind != history.KindOneShot
}
