package judge

import (
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// txn is a transaction, by its id.
type txn struct {
	id       string
	producer int64 // that it is bound to; 0: none
	epoch    int64
	timeout  int64 // in milliseconds; 0: not told
	puts     []*op
	staged   []*op // requests for records
	moves    []*op // requests for offsets
	ends     []*op // commits and aborts
	line     int32 // of the first attempt that names it

	begun      mark // when it was first sent, answered or not
	commitSent mark // when a commit that may have taken effect was first sent
	abortSent  mark
	committed  mark // the first answer that says so
	aborted    mark
	by         string
	byLine     int32
	ongoing    mark // the last answer that says so
	open       mark // the first that does
	asked      mark // when the last GET was sent that was told so
	active     int64
	fates      map[history.Source]*history.Fate
	fateLine   int32

	places  []history.Place
	stamp   int32 // of the walk
	present int64
	shown   mark // when a reader was first shown a record of it, or an offset that only it can have committed
}

func (t *txn) seen(at int64) { t.active = max(t.active, at) }

func (b *book) transactionOf(id string) *txn {
	t := b.txns[id]
	if t == nil {
		id = strings.Clone(id)
		t = &txn{id: id, fates: map[history.Source]*history.Fate{}}
		b.txns[id] = t
		b.allTxns = append(b.allTxns, t)
	}
	return t
}

func (b *book) transaction(line int32, a *history.Attempt) error {
	q := a.Transaction
	t := b.transactionOf(q.ID)
	if t.line == 0 {
		t.line = line
	}
	t.seen(a.Returned)
	if a.Kind == history.KindTxn {
		b.state(t, line, a)
		return nil
	}
	o, first := b.operation(line, a)
	if first {
		o.txn = t
		if err := b.pieces(line, o, q.Pieces); err != nil {
			return err
		}
		switch a.Kind {
		case history.KindOneShot, history.KindBegin:
			t.puts = append(t.puts, o)
		case history.KindTxnOffsets:
			t.moves = append(t.moves, o)
		default:
			t.ends = append(t.ends, o)
		}
	}
	b.staged(line, a, o)
	b.tried(o, line, a, q.Epoch, 0)
	if a.Outcome != history.Fail {
		b.bind(t, q)
	}
	switch a.Kind {
	case history.KindOneShot:
		t.begun.earliest(a.Invoked, line)
		t.commitSent.earliest(a.Invoked, line)
	case history.KindBegin:
		t.begun.earliest(a.Invoked, line)
	case history.KindCommit:
		t.commitSent.earliest(a.Invoked, line)
	case history.KindAbort:
		t.abortSent.earliest(a.Invoked, line)
	}
	b.state(t, line, a)
	return nil
}

// bind notes whose a transaction is. A PUT that was refused binds nothing.
func (b *book) bind(t *txn, q *history.Transaction) {
	if q.Producer != 0 && t.producer == 0 {
		t.producer, t.epoch = q.Producer, q.Epoch
	}
	if q.Timeout > 0 {
		t.timeout = q.Timeout
	}
}

// state notes what an answer says of a transaction.
func (b *book) state(t *txn, line int32, a *history.Attempt) {
	state := a.Transaction.State
	if state == "" && a.Outcome == history.OK {
		switch a.Kind {
		case history.KindOneShot, history.KindCommit:
			state = "committed"
		case history.KindAbort:
			state = "aborted"
		}
	}
	if a.Outcome == history.Unknown {
		return
	}
	b.checkDone(line, a, state)
	switch state {
	case "committed":
		t.committed.earliest(a.Returned, line)
		b.placedTransaction(t, line, a)
	case "aborted":
		t.aborted.earliest(a.Returned, line)
		b.abortedBy(t, a.Transaction.By, line)
	case "ongoing":
		if a.Invoked > t.ongoing.at {
			t.ongoing = mark{a.Invoked, line}
		}
		t.open.earliest(a.Returned, line)
		if a.Kind == history.KindTxn && a.Invoked > t.asked.at {
			t.asked = mark{a.Invoked, line}
		}
	}
}

// checkDone holds that a request to end a transaction is not accepted with another end than it asks for, and that what
// has just begun is open.
func (b *book) checkDone(line int32, a *history.Attempt, state string) {
	want := map[history.Kind]string{
		history.KindOneShot: "committed", history.KindCommit: "committed", history.KindAbort: "aborted",
	}[a.Kind]
	if a.Kind == history.KindBegin && a.Status == 201 && state != "" {
		want = "ongoing"
	}
	if a.Outcome == history.OK && want != "" && state != want {
		b.add(BadAnswer, []int32{line}, "operation %d (%s) was accepted with %d, and told that transaction %s is %s",
			a.Operation, a.Kind, a.Status, a.Transaction.ID, state)
	}
}

// abortedBy notes who aborted a transaction; each answer has to say the same.
func (b *book) abortedBy(t *txn, by string, line int32) {
	switch {
	case by == "" || by == t.by:
	case t.by == "":
		t.by, t.byLine = b.lasting(by), line
	default:
		b.add(TwoFates, []int32{t.byLine, line},
			"transaction %s was said to be aborted by %s, and by %s", t.id, t.by, by)
	}
}

// placedTransaction notes where a committed transaction's records are; each answer has to say the same.
func (b *book) placedTransaction(t *txn, line int32, a *history.Attempt) {
	places := a.Transaction.Places
	if a.Outcome != history.OK || len(places) == 0 {
		return
	}
	if t.places == nil {
		t.places = places
		for i := range places {
			places[i].Topic = b.lasting(places[i].Topic)
		}
		return
	}
	same := len(places) == len(t.places)
	for i := range places {
		p := &places[i]
		q := &t.places[min(i, len(t.places)-1)]
		same = same && p.Topic == q.Topic && p.Partition == q.Partition && p.Offset == q.Offset && p.Count == q.Count
	}
	if !same {
		b.add(ReplayDiffers, []int32{t.committed.line, line}, "transaction %s was said to be at two places", t.id)
	}
}

func (b *book) fate(line int32, f *history.Fate) {
	t := b.transactionOf(f.ID)
	kept := history.Fate{Source: f.Source, ID: t.id, State: b.lasting(f.State), By: b.lasting(f.By)}
	t.fates[f.Source], t.fateLine = &kept, line
	switch f.State {
	case "committed":
		t.committed.earliest(b.now, line)
	case "aborted":
		t.aborted.earliest(b.now, line)
		b.abortedBy(t, f.By, line)
	}
}

// settleTransactions counts the fates.
func (b *book) settleTransactions() {
	for _, t := range b.allTxns {
		switch {
		case t.committed.line > 0:
			b.Fates["committed"]++
		case t.aborted.line > 0 && t.by != "":
			b.Fates["aborted by "+t.by]++
		case t.aborted.line > 0:
			b.Fates["aborted"]++
		default:
			b.Fates["not told, or never begun"]++
		}
	}
}
