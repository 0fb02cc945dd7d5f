package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// layWhatLeft lays what was told and read of records that have left below the start of a log: so it is judged as the
// rest, wherever something is known of it.
func (b *book) layWhatLeft() {
	for o := range b.ops.all() {
		for i := range o.places {
			at := &o.places[i]
			p := b.parts[at.part]
			for j := range at.count {
				if offset := at.offset + int64(j); p.topic.retains() && offset < p.start {
					b.layOne(p, offset, at.first+int64(j), o.ackLine)
				}
			}
		}
	}
	for s := range b.spans.all() {
		p := b.parts[s.part]
		for j := range int64(s.count) {
			if offset := s.offset + j; p.topic.retains() && offset < p.start && s.first > 0 {
				b.layOne(p, offset, s.first+j, s.line)
			}
		}
	}
}

// layOne notes that a line tells of a value at an offset below the start of a log.
func (b *book) layOne(p *partition, offset, v int64, line int32) {
	o := b.writer(v)
	switch known := p.log[offset]; {
	case o == nil || known == v:
		return
	case known != 0:
		b.add(Inconsistent, []int32{b.writer(known).ackLine, line},
			"%s/%d: offset %d, which has left the log, was told or read with value %d, and with value %d",
			p.topic.name, p.number, offset, known, v)
		return
	}
	p.log[offset] = v
	b.checkPlace(o, p, v, offset)
	at := b.where.slot(v)
	if *at == 0 {
		*at = int64(p.id)<<44 | (offset + 1)
		o.left++
		return
	}
	b.onceMore(o, v, b.parts[*at>>44], *at&(1<<44-1)-1, p, offset)
}

// settleWhatLeft finds which records may have left their logs, and lays claim to the places of transactions.
func (b *book) settleWhatLeft() {
	for _, t := range b.allTopics {
		for _, p := range t.partitions {
			p.starts.kept = never
			if !t.retains() || p.start == 0 {
				continue
			}
			t.trimmed = true
			for _, v := range p.retained() {
				if d := b.deedOf(v); d.op != nil {
					p.starts.kept = min(p.starts.kept, d.told().at)
				}
			}
		}
	}
	for o := range b.ops.all() {
		if b.trimmed(o) {
			b.countWhatLeft(o)
		}
	}
	for _, t := range b.allTxns {
		for i := range t.places {
			at, by := &t.places[i], t.writes()
			if p := b.partition(at.Topic, at.Partition); p.topic.trimmed && len(by) > 0 {
				p.placed = append(p.placed, claim{place{p.id, int32(at.Count), at.Offset, 0}, deed{by[0], t}})
			}
		}
	}
}

// countWhatLeft counts the records of an operation that may have left.
func (b *book) countWhatLeft(o *op) {
	last := int64(-1) // the last that is known to have been there
	for i := range o.pieces {
		q := &o.pieces[i]
		there := int64(0) // the first that still is
		for v := q.first; v < q.first+q.count && there == 0; v++ {
			if b.present(v) {
				there = v
			}
		}
		for v := q.first; v < q.first+q.count; v++ {
			if b.where.load(v) > 0 {
				last = v - o.pieces[0].first
			}
			if !b.present(v) && b.mayHaveLeft(o, q, v, there) {
				o.gone++
			}
		}
	}
	if o.ok || o.kind != history.KindUpload && last >= 0 {
		last = o.count() - 1
	}
	o.extent = last + 1
}

// mayHaveLeft reports whether a record, which is not in the log, can have been there: as records leave from the oldest
// end, none does that stands behind one of its request that is there, nor whose request was only sent after one of
// those was acknowledged.
func (b *book) mayHaveLeft(o *op, q *piece, v, there int64) bool {
	switch {
	case b.where.load(v) > 0:
		return true
	case o.ok && o.txn == nil && o.kind != history.KindUpload && len(o.places) > 0:
		return false // each has its place, and that is not below the start
	case q.partition >= 0 && there > 0 && v > there:
		return false
	}
	sent := deed{o, o.txn}.sent().at
	for _, p := range q.topic.partitions {
		if (q.partition < 0 || p.number == q.partition) && p.start > 0 && sent <= p.starts.kept {
			return true
		}
	}
	return false
}

// trimmed reports whether records have left a topic that the operation writes to.
func (b *book) trimmed(o *op) bool {
	for i := range o.pieces {
		if o.pieces[i].topic.trimmed {
			return true
		}
	}
	return false
}

// hasLeft reports whether an offset has left the log.
func (p *partition) hasLeft(offset int64) bool { return offset < p.start && p.topic.retains() }

// hasLeft reports whether nothing that tells of the operation may be kept any more.
func (o *op) hasLeft() bool { return o.present == 0 && o.gone > 0 }
