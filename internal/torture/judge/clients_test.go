package judge_test

import (
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// begin starts the clients.
func (w *world) begin() {
	for range 3 {
		w.produceBySequence("")
		w.produceByKey("")
		w.readPartition()
		w.readTopic()
	}
	for i := range 2 {
		for range 2 { // two processes that fence each other
			w.produceBySequence(fmt.Sprintf("shared-%d", i))
		}
	}
	w.produceByKey("input")
	w.producePlain()
	w.upload()
	for i := range 3 {
		w.transact(fmt.Sprintf("transactions-%d", i))
		w.transactOnce()
	}
	w.transactUnbound()
	w.beginGroups()
}

// again lets a client go on a little later, until the world ends.
func (w *world) again(step func()) {
	if !w.done {
		w.after(w.between(0, 20), step)
	}
}

// until sends an operation until its outcome is known, or it was tried often enough.
func (w *world) until(a history.Attempt, apply func(*history.Attempt), then func(*history.Attempt)) {
	a.Try++
	w.send(a, apply, func(got *history.Attempt) {
		known := got.Outcome == history.OK || got.Outcome == history.Fail && got.Status > 0 && got.Status < 500
		if known || a.Try > 12 {
			then(got)
			return
		}
		w.after(w.between(0, 50), func() { w.until(a, apply, then) })
	})
}

// piece is one of a random topic of those that clients write to.
func (w *world) piece(most int) history.Piece {
	n := 1 + w.IntN(most)
	p := history.Piece{Topic: "plain", Partition: w.IntN(3) - 1, First: w.newValues(n), Count: n}
	if w.chance(50) {
		p.Topic, p.Partition = "keyed", -1
	}
	return p
}

// sequences are what a producer knows of itself.
type sequences struct {
	id    string
	epoch int64
	pid   int64
	next  map[history.Next]int64 // by topic and scope
}

// registerAs registers a producer, until it is known how that went.
func (w *world) registerAs(by, id string, then func(s *sequences)) {
	a := history.Attempt{
		Operation: w.newOperation(),
		Process:   by,
		Kind:      history.KindRegister,
		Register:  &history.Register{TransactionalID: id},
	}
	if w.chance(50) {
		a.Register.Key = fmt.Sprintf("registration-%d", a.Operation)
	}
	w.until(a, w.register, func(got *history.Attempt) {
		if got.Outcome != history.OK {
			w.again(func() { w.registerAs(by, id, then) })
			return
		}
		s := &sequences{id: id, epoch: got.Register.Epoch, pid: got.Register.Producer, next: map[history.Next]int64{}}
		for _, n := range got.Register.Next {
			s.next[history.Next{Topic: n.Topic, Scope: n.Scope}] = n.Sequence
		}
		then(s)
	})
}

// produceBySequence is a producer whose requests have sequences. Those that share a transactional id fence each other.
func (w *world) produceBySequence(id string) {
	by := w.name("idempotent")
	var s *sequences
	var done []history.Attempt
	var step func()
	register := func() {
		w.registerAs(by, id, func(got *sequences) { s = got; w.again(step) })
	}
	step = func() {
		if id != "" && w.chance(5) {
			register()
			return
		}
		a := w.sequenced(by, s, "")
		at := history.Next{Topic: a.Produce.Topic, Scope: a.Produce.Scope}
		switch w.IntN(20) {
		case 0: // other records under a sequence that is used
			if a.Produce.Sequence == 0 {
				break
			}
			a.Produce.Sequence -= 1
			a.Produce.Count = 1
			w.until(a, w.produce, func(*history.Attempt) { w.again(step) })
			return
		case 1: // a sequence that is not due
			a.Produce.Sequence += 100000
			w.until(a, w.produce, func(*history.Attempt) { w.again(step) })
			return
		case 2: // what was acknowledged once
			if len(done) == 0 {
				break
			}
			old := done[w.IntN(len(done))]
			if w.chance(50) {
				q := *old.Produce
				q.Epoch, old.Produce = s.epoch, &q
			}
			old.Try += 100
			w.send(old, w.produce, func(*history.Attempt) { w.again(step) })
			return
		case 3:
			w.receiptOf(by, a.Produce.Piece, s, step)
			return
		}
		w.until(a, w.produce, func(got *history.Attempt) {
			if got.Outcome == history.OK {
				s.next[at] += int64(a.Produce.Count)
				done = append(done, a)
				w.again(step)
				return
			}
			if id == "" && got.Outcome == history.Unknown {
				return // it may come late; nobody goes on behind it
			}
			register()
		})
	}
	register()
}

// sequenced is a produce request with the next sequence of a scope.
func (w *world) sequenced(by string, s *sequences, txn string) history.Attempt {
	p := w.piece(4)
	scope := p.Partition + 1
	return history.Attempt{
		Operation: w.newOperation(),
		Process:   by,
		Kind:      history.KindProduce,
		Produce: &history.Produce{
			Piece: p, Producer: s.pid, Epoch: s.epoch, Scope: scope, Transaction: txn, Expected: -1,
			Sequence: s.next[history.Next{Topic: p.Topic, Scope: scope}],
		},
	}
}

// receiptOf asks for the receipt of the request before the next one.
func (w *world) receiptOf(by string, p history.Piece, s *sequences, step func()) {
	scope := p.Partition + 1
	a := history.Attempt{Operation: w.newOperation(), Process: by, Kind: history.KindReceipt, Produce: &history.Produce{
		Piece: history.Piece{Topic: p.Topic, Partition: p.Partition}, Producer: s.pid, Epoch: s.epoch, Scope: scope,
		Sequence: max(0, s.next[history.Next{Topic: p.Topic, Scope: scope}]-1),
	}}
	w.send(a, w.receipt, func(*history.Attempt) { w.again(step) })
}

// produceByKey is a producer whose requests have keys.
func (w *world) produceByKey(topic string) {
	by := w.name("keyed")
	var done []history.Attempt
	var step func()
	step = func() {
		a := history.Attempt{
			Operation: w.newOperation(),
			Process:   by,
			Kind:      history.KindProduce,
			Produce:   &history.Produce{Piece: w.piece(3)},
		}
		a.Produce.Key = fmt.Sprintf("key-%d", a.Operation)
		if topic != "" {
			a.Produce.Topic, a.Produce.Partition = topic, -1
		}
		if len(done) > 0 && w.chance(10) {
			old := done[w.IntN(len(done))]
			if w.chance(50) {
				a.Produce.Key, a.Produce.Topic, a.Produce.Partition = old.Produce.Key, old.Produce.Topic, -1
			} else {
				a = old
				a.Try += 100
			}
			w.send(a, w.produce, func(*history.Attempt) { w.again(step) })
			return
		}
		w.until(a, w.produce, func(got *history.Attempt) {
			if got.Outcome == history.OK {
				done = append(done, a)
			}
			w.again(step)
		})
	}
	w.again(step)
}

// producePlain is a producer without an identity: what is unknown stays so.
func (w *world) producePlain() {
	by := w.name("plain")
	var step func()
	step = func() {
		a := history.Attempt{
			Operation: w.newOperation(),
			Try:       1,
			Process:   by,
			Kind:      history.KindProduce,
			Produce:   &history.Produce{Piece: w.piece(3)},
		}
		w.send(a, w.produce, func(*history.Attempt) { w.again(step) })
	}
	w.again(step)
}

// upload is a producer of streams, which break and are sent again.
func (w *world) upload() {
	by := w.name("upload")
	var s *sequences
	var step func()
	step = func() {
		a := w.sequenced(by, s, "")
		more := 20 + w.IntN(30)
		w.values += int64(more)
		a.Kind, a.Produce.Count = history.KindUpload, a.Produce.Count+more
		at := history.Next{Topic: a.Produce.Topic, Scope: a.Produce.Scope}
		w.until(a, w.stream, func(got *history.Attempt) {
			if got.Outcome == history.OK {
				s.next[at] += int64(a.Produce.Count)
				w.again(step)
				return
			}
			w.registerAs(by, "", func(got *sequences) { s = got; w.again(step) })
		})
	}
	w.registerAs(by, "", func(got *sequences) { s = got; w.again(step) })
}

// readPartition is a reader of one partition, by fetches.
func (w *world) readPartition() {
	by := w.name("fetch")
	t := w.topicList[w.IntN(len(w.topicList))]
	q := history.Read{Topic: t.Topic.Topic, Reader: by, Partition: w.IntN(t.Partitions), End: -1}
	var step func()
	step = func() {
		asked := q
		if w.chance(5) {
			asked.Reader, asked.Offset = fmt.Sprintf("%s-again-%d", by, w.now), w.Int64N(q.Offset+1)
		}
		a := history.Attempt{Operation: w.newOperation(), Try: 1, Process: by, Kind: history.KindFetch, Read: &asked}
		w.send(a, func(a *history.Attempt) { w.fetch(a, 10) }, func(got *history.Attempt) {
			switch {
			case got.Read.Reader != by:
			case got.Outcome == history.OK:
				q.Offset = got.Read.Next
			case got.Status == 410:
				q.Offset = got.Read.Start
			}
			w.again(step)
		})
	}
	w.again(step)
}

// readTopic is a reader of all partitions, by cursor or events.
func (w *world) readTopic() {
	by := w.name("cursor")
	kind := history.KindCursor
	if w.chance(50) {
		kind = history.KindEvents
	}
	t := w.topicList[w.IntN(len(w.topicList))]
	cursor := ""
	var step func()
	step = func() {
		q := history.Read{Topic: t.Topic.Topic, Reader: by, Partition: -1, Cursor: cursor, End: -1}
		a := history.Attempt{Operation: w.newOperation(), Try: 1, Process: by, Kind: kind, Read: &q}
		w.send(a, w.follow, func(got *history.Attempt) {
			if got.Outcome == history.OK || got.Status == 410 {
				cursor = got.Read.NextAt
			}
			w.again(step)
		})
	}
	w.again(step)
}
