package judge

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

var seed = maphash.MakeSeed()

// produce takes down a request for records.
func (b *book) produce(line int32, a *history.Attempt) error {
	p := a.Produce
	o, first := b.operation(line, a)
	if first {
		if err := b.pieces(line, o, []history.Piece{p.Piece}); err != nil {
			return err
		}
		o.sequence, o.key, o.next = p.Sequence, strings.Clone(p.Key), p.Sequence
		if p.Transaction != "" {
			o.txn = b.transactionOf(p.Transaction)
			o.txn.staged = append(o.txn.staged, o)
		}
		if p.Producer != 0 && o.key == "" {
			o.scope = b.scopeOf(p)
			o.scope.ops = append(o.scope.ops, o)
		}
		if o.key != "" {
			id := keyID{b.topic(p.Topic).name, "", o.key}
			if o.txn != nil {
				id.topic, id.txn = "", o.txn.id
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
		b.checkPlaced(line, o, p)
		b.answered(line, o, p.Places, p.Next)
	}
	return nil
}

// checkPlaced holds that an acknowledgement says of each record where it is.
func (b *book) checkPlaced(line int32, o *op, p *history.Produce) {
	placed, known := 0, true
	for i := range p.Places {
		placed += p.Places[i].Count
		known = known && (p.Places[i].Offset >= 0 || o.txn != nil)
	}
	if o.scope != nil && p.Next != p.Sequence+int64(p.Count) {
		b.add(BadAnswer, []int32{line}, "operation %d has %d records from sequence %d on, and was told that %d is the next",
			o.id, p.Count, p.Sequence, p.Next)
	}
	if placed != p.Count || !known {
		b.add(BadAnswer, []int32{line}, "operation %d was acknowledged, without saying where its %d records are: %v",
			o.id, p.Count, p.Places)
	}
}

// pieces notes what an operation writes.
func (b *book) pieces(line int32, o *op, pieces []history.Piece) error {
	for i := range pieces {
		p := &pieces[i]
		o.pieces = append(o.pieces, piece{b.topic(p.Topic), p.Partition, int64(p.First), int64(p.Count)})
		for v := int64(p.First); v < int64(p.First)+int64(p.Count); v++ {
			at := b.writers.slot(v)
			if *at != 0 {
				return fmt.Errorf("line %d: value %d was written by operation %d already", line, v, b.ops.at(*at-1).id)
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
			continue // it is staged
		}
		o.places = append(o.places, b.runs(p, first)...)
	}
	if count != o.pieces[0].count {
		b.add(AckDiffers, []int32{line},
			"operation %d sent %d records, and was told of %d",
			o.id, o.pieces[0].count, count)
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
