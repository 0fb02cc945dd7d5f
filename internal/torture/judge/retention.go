package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// starts is what is known of where a log begins from which records leave. Its start only rises: by when it was at
// least this, because somebody was told so, or led there; and at most this, because a request that was sent later was
// told so, or still found the record.
type starts struct {
	told, led bounds
	found     bounds
	leaps     []leap
	kept      int64 // when the first of the records was acknowledged that are still there; never: that is not known
}

// leap is that a reader who was to go on at one offset was given what begins at a later one.
type leap struct {
	from, to int64
	came     answer
}

// retains reports whether records may leave a topic.
func (t *topic) retains() bool { return t.declared.Retention != nil }

// readStart takes down what a read tells of the start of a log.
func (p *partition) readStart(line int32, a *history.Attempt, told int64, spans []history.Span) {
	if !p.topic.retains() {
		return
	}
	sent := mark{a.Invoked, line}
	if told > 0 {
		p.starts.told.add(mark{a.Returned, line}, told)
		p.starts.found.add(sent, told)
	}
	for i := range spans {
		if spans[i].Partition == p.number {
			p.starts.found.add(sent, spans[i].Offset)
			return
		}
	}
}

// readStarts does so of the partitions that a read is of.
func (b *book) readStarts(line int32, a *history.Attempt) {
	q := a.Read
	switch {
	case !b.topic(q.Topic).retains():
	case q.Partition >= 0:
		b.partition(q.Topic, q.Partition).readStart(line, a, q.Start, q.Spans)
	default:
		for _, p := range b.topic(q.Topic).partitions {
			p.readStart(line, a, 0, q.Spans)
		}
	}
}

// gone takes down a read that was refused because its position had left the log.
func (b *book) gone(line int32, a *history.Attempt) {
	q := a.Read
	if q.Partition < 0 {
		if q.NextAt != "" { // who goes on there begins anew, in all partitions
			r := b.readerOf(a)
			r.next, r.from, r.at, r.line = map[int32]int64{}, true, q.NextAt, line
		}
		return
	}
	p := b.partition(q.Topic, q.Partition)
	p.readStart(line, a, q.Start, nil)
	if q.At != "" || q.Cursor != "" {
		return
	}
	if q.Start > 0 && q.Start <= q.Offset {
		b.add(RefusedWrongly, []int32{line}, "%s/%d: a read of offset %d was refused; the log begins at offset %d, it says",
			p.topic.name, p.number, q.Offset, q.Start)
	}
	if p.topic.retains() {
		p.starts.told.add(mark{a.Returned, line}, q.Offset+1)
	}
}

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

// checkStarts holds of each log that it has the offsets from 0 on if nothing leaves it; and else that its start never
// falls, that readers were led to it and no further, and that nothing left too early.
func (b *book) checkStarts() {
	for _, p := range b.parts {
		if !p.topic.retains() {
			if p.start > 0 {
				b.add(LostWrite, []int32{p.line(p.start)}, "%s/%d begins at offset %d in the end; its topic keeps all records",
					p.topic.name, p.number, p.start)
			}
			continue
		}
		s := &p.starts
		s.told.sort()
		b.checkLeaps(p)
		if p.log != nil {
			s.found.add(mark{b.now + 1, p.line(p.start)}, p.start)
		}
		for i := range s.found {
			f := &s.found[i]
			if known := s.told.before(f.at); known.end > f.end {
				b.add(LogStartFell, []int32{known.line, f.line},
					"%s/%d: the log began at offset %d, told at %d; who asked at %d found that it begins at %d, or a record there",
					p.topic.name, p.number, known.end, known.at, f.at, f.end)
			}
			if known := s.led.before(f.at); known.end > f.end {
				b.add(PollSkip, []int32{known.line, f.line},
					"%s/%d: a reader was led on to offset %d at %d; who asked at %d found that the log begins at %d, or a record there",
					p.topic.name, p.number, known.end, known.at, f.at, f.end)
			}
		}
		b.checkStart(p)
		b.checkAges(p)
	}
}

// checkLeaps holds that readers leapt to where the log can have begun.
func (b *book) checkLeaps(p *partition) {
	for i := range p.starts.leaps {
		l := &p.starts.leaps[i]
		if l.to > p.start {
			b.add(PollSkip, []int32{l.came.before, l.came.line, p.line(p.start)},
				"%s/%d: a reader that had all below offset %d was led on to offset %d; in the end the log begins at %d",
				p.topic.name, p.number, l.from, l.to, p.start)
			continue
		}
		p.starts.led.add(mark{l.came.returned, l.came.line}, l.to)
	}
	p.starts.led.sort()
}

// checkStart holds that whole batches left: the first record of a log is not in the middle of a request.
func (b *book) checkStart(p *partition) {
	v := p.at(p.start)
	o := b.writer(v)
	if p.start == 0 || o == nil || o.txn != nil || o.kind == history.KindUpload || o.copies > 0 {
		return
	}
	q := &o.pieces[0]
	if b.writer(p.at(p.start-1)) == o || q.partition >= 0 && v > q.first {
		b.add(TornBatch, []int32{o.line, o.ackLine, p.line(p.start)},
			"%s/%d: the log begins at offset %d, in the middle of operation %d", p.topic.name, p.number, p.start, o.id)
	}
}

// checkAges holds that nobody was told of a start behind a record that was younger than the topic's retention.
func (b *book) checkAges(p *partition) {
	least := *p.topic.declared.Retention * 1e6
	if least <= 0 {
		return
	}
	for offset := range p.start {
		d := b.deedOf(p.at(offset))
		if d.op == nil {
			continue
		}
		for _, known := range []bound{p.starts.told.reaching(offset + 1), p.starts.led.reaching(offset + 1)} {
			if sent := d.sent(); known.line > 0 && known.at-sent.at < least {
				b.add(LeftEarly, []int32{sent.line, known.line},
					"%s/%d: offset %d, which was first sent at %d, had left the log by %d; records leave after %d ms",
					p.topic.name, p.number, offset, sent.at, known.at, least/1e6)
				return
			}
		}
	}
}
