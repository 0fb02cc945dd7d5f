package judge

import (
	"fmt"
	"hash/maphash"
	"io"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

var seed = maphash.MakeSeed()

// read takes down a history.
func (b *book) read(r io.Reader) error {
	err := decoded(r, func(number int64, l *history.Line) error {
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
		}
		return nil
	})
	for k, n := range b.kinds {
		b.Kinds[k[0]+" "+k[1]] = n
	}
	return err
}

// decoded calls each with the lines of a history, which another goroutine decodes.
func decoded(r io.Reader, each func(number int64, l *history.Line) error) error {
	const atOnce = 512
	batches := make(chan []history.Line, 8)
	stop := make(chan struct{})
	var failed error
	go func() {
		defer close(batches)
		var batch []history.Line
		failed = history.Lines(r, func(_ int64, _ []byte, l *history.Line) error {
			if batch = append(batch, *l); len(batch) < atOnce {
				return nil
			}
			select {
			case batches <- batch:
				batch = make([]history.Line, 0, atOnce)
				return nil
			case <-stop:
				return io.ErrClosedPipe
			}
		})
		select {
		case batches <- batch:
		case <-stop:
		}
	}()
	number := int64(0)
	for batch := range batches {
		for i := range batch {
			number++
			if err := each(number, &batch[i]); err != nil {
				close(stop)
				for range batches { // until the other one has seen it
				}
				return err
			}
		}
	}
	return failed
}

func (b *book) fault(f *history.Fault) {
	b.Faults[f.Kind] += int64(max(1, f.Count))
	switch {
	case f.Repeats && f.Operation != 0:
		b.repeated[f.Operation] = true
	case f.Repeats:
		b.repeats = true
	}
}

func (b *book) attempt(line int32, a *history.Attempt) error {
	b.Attempts++
	if a.Try <= 1 {
		b.Operations++
	}
	b.kinds[[2]string{string(a.Kind), string(a.Outcome)}]++
	if a.Replayed {
		b.Replayed++
	}
	b.now = max(b.now, a.Returned)
	if a.Status >= 500 && a.Status != 503 {
		b.add(ServerError, []int32{line}, "operation %d (%s) was answered %d %s", a.Operation, a.Kind, a.Status, a.Code)
	}
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
		o = &op{id: a.Operation, kind: a.Kind, line: line, invoked: a.Invoked, acked: never}
		b.ops = append(b.ops, o)
		*at = int32(len(b.ops))
		first = true
	} else {
		o = b.ops[*at-1]
	}
	if a.Invoked < o.invoked {
		o.invoked, o.line = a.Invoked, line
	}
	return o, first
}

// tried notes an attempt of an operation.
func (b *book) tried(o *op, line int32, a *history.Attempt, epoch, expected int64) {
	b.tries = append(b.tries, try{
		op: o, before: o.last, line: line, status: int32(a.Status), outcome: a.Outcome, code: a.Code,
		replayed: a.Replayed, epoch: epoch, invoked: a.Invoked, returned: a.Returned, expected: expected,
	})
	o.last = int32(len(b.tries))
	switch {
	case a.Outcome == history.OK:
		o.ok = true
		if a.Returned < o.acked {
			o.acked, o.ackLine = a.Returned, line
		}
	case a.Outcome == history.Unknown:
		o.unknown = true
	case settled(o, a):
		o.refused = true
	default:
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

func (b *book) produce(line int32, a *history.Attempt) error {
	p := a.Produce
	o, first := b.operation(line, a)
	if first {
		if err := b.pieces(line, o, []history.Piece{p.Piece}); err != nil {
			return err
		}
		o.sequence, o.key, o.next = p.Sequence, p.Key, p.Sequence
		if p.Transaction != "" {
			o.txn = b.transactionOf(p.Transaction)
			o.txn.staged = append(o.txn.staged, o)
		}
		if p.Producer != 0 && o.key == "" {
			o.scope = b.scopeOf(p)
			o.scope.ops = append(o.scope.ops, o)
		}
		if o.key != "" {
			id := keyID{p.Topic, p.Transaction, p.Key}
			if p.Transaction != "" {
				id.topic = ""
			}
			if b.keys[id] == nil {
				b.allKeys = append(b.allKeys, id)
			}
			b.keys[id] = append(b.keys[id], o)
		}
	}
	b.tried(o, line, a, p.Epoch, p.Expected)
	if o.txn != nil {
		o.txn.seen(a.Returned)
	}
	if a.Kind == history.KindUpload {
		o.next = max(o.next, p.Next)
		if len(p.Places) > 0 {
			b.uploaded(o, p)
		}
		return nil
	}
	if a.Outcome == history.OK {
		b.answered(line, o, p.Places, p.Next)
	}
	return nil
}

// pieces notes what an operation writes.
func (b *book) pieces(line int32, o *op, pieces []history.Piece) error {
	for i := range pieces {
		p := &pieces[i]
		o.pieces = append(o.pieces, piece{b.topic(p.Topic), p.Partition, int64(p.First), int64(p.Count)})
		for v := int64(p.First); v < int64(p.First)+int64(p.Count); v++ {
			at := b.writers.slot(v)
			if *at != 0 {
				return fmt.Errorf("line %d: value %d was written by operation %d already", line, v, b.ops[*at-1].id)
			}
			*at = b.byID.load(o.id)
		}
		for j, s := range p.Sources {
			*b.sources.slot(int64(p.First) + int64(j)) = int64(s)
		}
	}
	return nil
}

// answered notes where an acknowledgement says that the records are, or that it says something else than the first.
func (b *book) answered(line int32, o *op, places []history.Place, next int64) {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, next)
	for _, p := range places {
		maphash.WriteComparable(&h, p.Topic)
		for _, n := range [...]int64{int64(p.Partition), p.Offset, int64(p.Count), int64(len(p.Indexes))} {
			maphash.WriteComparable(&h, n)
		}
		for _, i := range p.Indexes {
			maphash.WriteComparable(&h, i)
		}
	}
	answer := h.Sum64() | 1
	switch o.answer {
	case 0:
		o.answer = answer
		b.placed(line, o, places)
	case answer:
	default:
		b.add(ReplayDiffers, []int32{o.ackLine, line}, "operation %d was answered twice, and not the same", o.id)
	}
}

// placed notes the places of a request's records.
func (b *book) placed(line int32, o *op, places []history.Place) {
	if len(o.pieces) == 0 || len(places) == 0 {
		return
	}
	first, count := o.pieces[0].first, int64(0)
	for i := range places {
		p := &places[i]
		count += int64(p.Count)
		if p.Offset < 0 {
			o.staged = true
			continue
		}
		o.places = append(o.places, b.runs(p, first)...)
	}
	if count != o.pieces[0].count {
		b.add(AckDiffers, []int32{line}, "operation %d sent %d records, and was told of %d", o.id, o.pieces[0].count, count)
	}
}

// runs returns a place as runs of values that follow each other, the request's values being those from first on.
func (b *book) runs(p *history.Place, first int64) (runs []place) {
	part := b.partition(p.Topic, p.Partition).id
	if len(p.Indexes) == 0 {
		return append(runs, place{part, int32(p.Count), p.Offset, first})
	}
	for i, at := range p.Indexes {
		if last := len(runs) - 1; i > 0 && at == p.Indexes[i-1]+1 {
			runs[last].count++
			continue
		}
		runs = append(runs, place{part, 1, p.Offset + int64(i), first + int64(at)})
	}
	return runs
}

// uploaded notes where the lines of an upload are. What was stored before it came is not told again; it is its begin.
func (b *book) uploaded(o *op, p *history.Produce) {
	told := int64(0)
	for _, at := range p.Places {
		told += int64(at.Count)
	}
	first := int64(p.First) + max(0, p.Next-p.Sequence-told)
	for i := range p.Places {
		at := &p.Places[i]
		if len(at.Indexes) > 0 {
			o.places = append(o.places, b.runs(at, int64(p.First))...)
			continue
		}
		o.places = append(o.places, b.runs(at, first)...)
		first += int64(at.Count)
	}
}
