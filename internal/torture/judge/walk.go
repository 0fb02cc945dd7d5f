package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// deed is what takes effect at one moment: a request, or a transaction with all of its requests.
type deed struct {
	op  *op
	txn *txn // nil: it is the op alone
}

func (b *book) deedOf(v int64) deed {
	o := b.writer(v)
	if o == nil {
		return deed{}
	}
	return deed{o, o.txn}
}

func (d deed) same(e deed) bool {
	return d.txn != nil && d.txn == e.txn || d.txn == nil && d.op == e.op
}

// sent returns when the deed was first asked for.
func (d deed) sent() mark {
	if d.txn != nil {
		return d.txn.commitSent
	}
	return mark{d.op.invoked, d.op.line}
}

// acked returns from when on everybody has to see it, because somebody was told, or saw some of it.
func (d deed) acked() mark {
	shown := d.op.shown
	if d.txn != nil {
		shown = d.txn.shown
	}
	if told := d.told(); shown.line == 0 || told.at <= shown.at {
		return told
	}
	return shown
}

// told returns when somebody who had asked for it was told that it is done.
func (d deed) told() mark {
	switch {
	case d.txn != nil && d.txn.committed.line > 0:
		return d.txn.committed
	case d.txn != nil, d.op.copies > 0, !d.op.ok:
		return mark{at: never}
	}
	return mark{d.op.acked, d.op.ackLine}
}

// walk goes along each final log once: deeds stand in one piece, their records in order, each producer's in the order
// of its sequences, and what was acknowledged before another was sent stands before it.
func (b *book) walk() {
	for _, p := range b.parts {
		latest := mark{at: -1} // of those passed, who was sent last
		var before deed
		for i := 0; i < len(p.log); {
			d := b.deedOf(p.log[i])
			if d.op == nil {
				i++
				continue
			}
			j := i + 1
			for j < len(p.log) && d.same(b.deedOf(p.log[j])) {
				j++
			}
			b.piece(p, d, int64(i), int64(j), d.same(before))
			before = d
			if acked := d.acked(); acked.at < latest.at {
				b.add(RealTimeOrder, []int32{acked.line, latest.line, p.line(int64(i))},
					"%s/%d: what was acknowledged at %d stands at offset %d, behind what was sent later, at %d",
					p.topic.name, p.number, acked.at, i, latest.at)
			}
			if sent := d.sent(); sent.line > 0 && sent.at > latest.at {
				latest = sent
			}
			b.mustShow(p, d, int64(j))
			i = j
		}
		p.acked.sort()
		p.fenced.sort()
	}
}

// piece looks at a deed's records from offset i of a log on, up to j. It goes on if, as far as is known, those before
// are the same deed's.
func (b *book) piece(p *partition, d deed, i, j int64, goesOn bool) {
	stamp := &d.op.stamp
	if d.txn != nil {
		stamp = &d.txn.stamp
	}
	again := *stamp == p.id+1
	*stamp = p.id + 1
	if again && !goesOn && d.op.kind != history.KindUpload && d.op.copies == 0 {
		name := TornBatch
		if d.txn != nil {
			name = TornTransaction
		}
		b.add(name, []int32{d.op.line, d.op.ackLine, p.line(i)},
			"%s/%d: others stand before offset %d, between records of operation %d",
			p.topic.name, p.number, i, d.op.id)
	}
	for ; i < j; i++ {
		v := p.log[i]
		o := b.writer(v)
		if o.order == p.id+1 && v <= o.newest && o.copies == 0 {
			b.add(WrongOrder, []int32{o.line, p.line(i)},
				"%s/%d: value %d of operation %d stands at offset %d, behind its value %d",
				p.topic.name, p.number, v, o.id, i, o.newest)
		}
		if o.order != p.id+1 {
			b.sequenceOrder(p, o, i)
		}
		o.order, o.newest = p.id+1, v
	}
}

// sequenceOrder holds that a producer's requests of one scope stand in the order of their sequences.
func (b *book) sequenceOrder(p *partition, o *op, offset int64) {
	s := o.scope
	if s == nil {
		return
	}
	if s.stamp == p.id+1 && o.sequence < s.newest.sequence {
		b.add(WrongOrder, []int32{s.newest.line, o.line, p.line(offset)},
			"%s/%d: sequence %d of producer %d stands at offset %d, behind its sequence %d",
			p.topic.name, p.number, o.sequence, s.id.producer, offset, s.newest.sequence)
	}
	s.stamp, s.newest = p.id+1, o
}

// mustShow notes from when on a high watermark must be at least end, because of the deed that ends there.
func (b *book) mustShow(p *partition, d deed, end int64) {
	if acked := d.acked(); acked.at != never {
		p.acked.add(acked, end)
	}
	if fenced := b.fencedAt(d); fenced.at != never {
		p.fenced.add(fenced, end)
	}
}
