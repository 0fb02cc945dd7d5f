package judge

import (
	"cmp"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// checkRequests holds of each operation what became of its records: all of them are there or none, those that were
// acknowledged are, those that were refused are not, and they are where their acknowledgement said.
func (b *book) checkRequests() {
	for o := range b.ops.all() {
		count := o.count()
		if count == 0 {
			continue
		}
		switch {
		case o.txn != nil:
			o.txn.present += o.present
		case o.kind == history.KindUpload:
			b.checkUpload(o, count)
		default:
			b.checkBatch(o, count)
		}
		b.checkPlaces(o)
	}
	b.checkClaims()
}

func (b *book) checkBatch(o *op, count int64) {
	there := o.present + o.gone
	switch {
	case there == 0 && o.ok:
		b.add(LostWrite, []int32{o.line, o.ackLine},
			"operation %d was acknowledged; its %d records from value %d on are in no log",
			o.id, count, o.pieces[0].first)
	case there > 0 && there < count:
		b.add(TornBatch, b.showMissing(o), "operation %d: %d of its %d records are in the log", o.id, there, count)
		if o.ok {
			b.add(LostWrite, b.showMissing(o), "operation %d was acknowledged; %d of its %d records are in no log",
				o.id, count-there, count)
		}
	case o.known() > 0 && !b.may(o):
		b.add(LyingFailure, b.showTries(o),
			"operation %d was refused, each time, and its %d records are in the log",
			o.id, o.known())
	}
}

// checkUpload holds that what is there of an upload is its begin, and at least what was acknowledged.
func (b *book) checkUpload(o *op, count int64) {
	acked := min(o.next-o.sequence, count)
	if o.ok {
		acked = count
	}
	q, prefix, there := &o.pieces[0], int64(0), int64(0)
	for ; prefix < count; prefix++ {
		v := q.first + prefix
		if b.present(v) {
			there = cmp.Or(there, v)
		} else if o.gone == 0 || !b.mayHaveLeft(o, q, v, there) {
			break
		}
	}
	switch {
	case prefix < acked:
		b.add(LostWrite, b.showMissing(o),
			"upload %d was told that %d of its records are stored; value %d, its record %d, is in no log",
			o.id, acked, q.first+prefix, prefix)
	case o.present+o.gone > prefix:
		b.add(SequenceGap, b.showMissing(o),
			"upload %d: %d of its records are in the log, and record %d, which is before some of them, is not",
			o.id, o.present, prefix)
	case o.known() > 0 && !b.may(o) && o.next == o.sequence:
		b.add(LyingFailure, b.showTries(o),
			"upload %d was refused, each time, and %d records of it are in the log",
			o.id, o.known())
	}
}

// checkPlaces holds what an acknowledgement says against the log. Records that are in no log are lost, which is told
// elsewhere.
func (b *book) checkPlaces(o *op) {
	for i := range o.places {
		at := &o.places[i]
		p := b.parts[at.part]
		for j := range int64(at.count) {
			v := at.first + j
			if p.at(at.offset+j) == v {
				continue
			}
			if b.present(v) {
				b.add(AckDiffers, []int32{o.ackLine, p.line(at.offset + j)},
					"operation %d was told that value %d is at %s/%d, offset %d; there is %d",
					o.id, v, p.topic.name, p.number, at.offset+j, p.at(at.offset+j))
				break
			}
		}
		p.placed = append(p.placed, claim{*at, deed{o, o.txn}})
	}
}

// checkClaims holds that no offset was given to two records.
func (b *book) checkClaims() {
	for _, p := range b.parts {
		slices.SortFunc(p.placed, func(a, b claim) int { return cmp.Compare(a.offset, b.offset) })
		for i := 1; i < len(p.placed); i++ {
			a, c := &p.placed[i-1], &p.placed[i]
			if c.offset < a.offset+int64(a.count) && !a.deed.same(c.deed) {
				b.add(OffsetReuse, []int32{a.deed.told().line, c.deed.told().line},
					"operations %d and %d were both told that they have offset %d of %s/%d",
					a.deed.op.id, c.deed.op.id, c.offset, p.topic.name, p.number)
			}
		}
		p.placed = nil
	}
}

// present reports whether a value is in a final log.
func (b *book) present(v int64) bool {
	at := b.where.load(v)
	return at > 0 && at&(1<<44-1) > b.parts[at>>44].start
}

// known returns how many records of an operation are, or were, in the log.
func (o *op) known() int64 { return o.present + o.left }

// home returns where a value is in the logs, or was before it left.
func (b *book) home(v int64) (p *partition, offset int64) {
	at := b.where.load(v)
	if at == 0 {
		return nil, 0
	}
	return b.parts[at>>44], at&(1<<44-1) - 1
}

// showTries returns the lines of an operation's attempts.
func (b *book) showTries(o *op) (lines []int32) {
	b.each(o, func(t *try) {
		if len(lines) < 6 {
			lines = append(lines, t.line)
		}
	})
	return lines
}

// showMissing returns the lines of an operation, and of the final log where the first of its records is.
func (b *book) showMissing(o *op) []int32 {
	lines := []int32{o.line, o.ackLine}
	for _, q := range o.pieces {
		for v := q.first; v < q.first+q.count; v++ {
			if p, offset := b.home(v); p != nil {
				return append(lines, p.line(offset))
			}
		}
	}
	return lines
}
