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
