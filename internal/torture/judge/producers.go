package judge

import (
	"cmp"
	"slices"
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// producer is a producer id, and the registrations that gave it out.
type producer struct {
	id            int64
	transactional string // its transactional id; empty: none, and nobody can fence it
	registrations []*register
}

// register is one registration that was answered.
type register struct {
	op      *op
	epoch   int64
	next    []history.Next
	invoked int64
	told    mark // when it was answered
	fence   mark // of those sorted by epoch: the first answer that gave out this epoch or a later one
}

// asked is an attempt to register.
type asked struct {
	op      *op
	outcome history.Outcome
	invoked int64
	epoch   int64 // that it was told
}

func (b *book) registration(line int32, a *history.Attempt) {
	q := a.Register
	o, first := b.operation(line, a)
	if first && q.Key != "" {
		o.key = b.lasting(q.Key)
	}
	b.tried(o, line, a, 0, 0)
	if id := q.TransactionalID; id != "" {
		id = b.lasting(id)
		b.asked[id] = append(b.asked[id], &asked{o, a.Outcome, a.Invoked, q.Epoch})
	}
	if a.Outcome != history.OK {
		return
	}
	if o.register != nil {
		// Without a key, a registration that is sent again is another one.
		if o.key != "" && (o.register.epoch != q.Epoch || !slices.Equal(o.register.next, q.Next)) {
			b.add(ReplayDiffers, []int32{o.ackLine, line},
				"registration %d was answered with epoch %d, and its repeat with epoch %d or other sequences",
				o.id, o.register.epoch, q.Epoch)
		}
		if o.key != "" {
			return
		}
	}
	p := b.producers[q.Producer]
	if p == nil {
		p = &producer{id: q.Producer, transactional: b.lasting(q.TransactionalID)}
		b.producers[q.Producer] = p
		b.allProducers = append(b.allProducers, p)
	}
	told := mark{a.Returned, line}
	o.register = &register{op: o, epoch: q.Epoch, next: q.Next, invoked: a.Invoked, told: told, fence: told}
	if o.key != "" {
		o.register.invoked = o.invoked
	}
	p.registrations = append(p.registrations, o.register)
}

// settleFences finds for each epoch when a later one was known to be given out.
func (b *book) settleFences() {
	for _, p := range b.allProducers {
		slices.SortStableFunc(p.registrations, func(a, b *register) int { return cmp.Compare(a.epoch, b.epoch) })
		for i := len(p.registrations) - 1; i > 0; i-- {
			a, c := p.registrations[i-1], p.registrations[i]
			if a.epoch == c.epoch {
				b.add(FencingBroken, []int32{a.told.line, c.told.line},
					"epoch %d of producer %d was given out twice, by operations %d and %d",
					a.epoch, p.id, a.op.id, c.op.id)
			}
			b.checkEpochs(p, a, c.fence)
			if c.fence.at < a.fence.at {
				a.fence = c.fence
			}
		}
	}
}

// checkEpochs holds that who registers after another was answered gets the higher epoch: higher is the first answer
// that gave out one above this.
func (b *book) checkEpochs(p *producer, lower *register, higher mark) {
	if higher.at < lower.invoked {
		b.add(FencingBroken, []int32{higher.line, lower.told.line},
			"producer %d got an epoch by %d, and of a registration that was sent later, at %d, the lower epoch %d",
			p.id, higher.at, lower.invoked, lower.epoch)
	}
}

// mayFence reports whether somebody sent a registration, by a time, that can have raised a producer's epoch above this
// one.
func (b *book) mayFence(producer, epoch, by int64) bool {
	p := b.producers[producer]
	if p == nil {
		return true // somebody else's
	}
	for _, r := range b.asked[p.transactional] {
		again := b.repeats || b.again || b.repeated[r.op.id]
		if r.invoked <= by && (again || r.outcome == history.Unknown || r.outcome == history.OK && r.epoch > epoch) {
			return true
		}
	}
	return false
}

// farAbove is how far above all that were told an epoch is that no registration can have reached whose answer was lost,
// or that the network repeated: there are not so many.
const farAbove = 1 << 20

// neverGivenOut reports whether no registration that was sent by a time can have given an epoch out.
func (b *book) neverGivenOut(producer, epoch, by int64) bool {
	p := b.producers[producer]
	if p == nil || epoch == 0 { // somebody else's, or that of the first registration
		return false
	}
	told := p.registrations[len(p.registrations)-1].epoch
	return epoch > told+farAbove || !b.mayFence(producer, epoch-1, by)
}

// fence returns when an epoch higher than this one was known to be given out.
func (b *book) fence(producer, epoch int64) mark {
	if p := b.producers[producer]; p != nil {
		rs := p.registrations
		if i := sort.Search(len(rs), func(i int) bool { return rs[i].epoch > epoch }); i < len(rs) {
			return rs[i].fence
		}
	}
	return mark{at: never}
}

// fencedAt returns by when a deed must have happened, because from then on its producer was fenced.
func (b *book) fencedAt(d deed) mark {
	if d.txn != nil {
		if d.txn.producer == 0 {
			return mark{at: never}
		}
		return b.fence(d.txn.producer, d.txn.epoch)
	}
	if d.op.scope == nil {
		return mark{at: never}
	}
	return b.fence(d.op.scope.id.producer, b.lastEpoch(d.op))
}

// lateAfterFence tells of a deed that cannot be seen by a read that began after its producer was fenced.
func (b *book) lateAfterFence(p *partition, known bound, f *fetch) {
	d := b.deedOf(p.at(known.end - 1))
	if d.op == nil {
		return
	}
	name, what, id := FencingBroken, "operation", d.op.key
	if d.txn != nil {
		name, what, id = ZombieCommit, "transaction", d.txn.id
	}
	b.add(name, []int32{d.op.line, known.line, f.line},
		"%s/%d: %s %s (operation %d) stands at offset %d under an epoch that was fenced by %d; a read sent at "+
			"%d found the end at %d",
		p.topic.name, p.number, what, id, d.op.id, known.end-1, known.at, f.invoked, f.end)
}

// checkFences holds that nothing of an older epoch is accepted that was sent after a newer one was given out, nor of
// one that was not given out at all.
func (b *book) checkFences() {
	for t := range b.tries.all() {
		o := t.op
		producer := int64(0)
		switch {
		case o.scope != nil:
			producer = o.scope.id.producer
		case o.txn != nil && o.kind != history.KindCommit && o.kind != history.KindAbort:
			producer = o.txn.producer
		}
		if producer == 0 || t.outcome != history.OK {
			continue
		}
		epoch := t.under()
		if b.neverGivenOut(producer, epoch, t.returned) {
			b.add(FencingBroken, b.showTries(o),
				"operation %d under epoch %d of producer %d was accepted by %d; nobody had been given that epoch",
				o.id, epoch, producer, t.returned)
			continue
		}
		fence := b.fence(producer, epoch)
		if fence.at >= t.invoked {
			continue
		}
		// A repeat is told what happened before, under whatever epoch it comes; but something must have come before.
		repeat := t.replayed || o.kind == history.KindBegin && t.status != 201 || o.kind == history.KindTxnOffsets
		if repeat && b.beforeFence(producer, o) {
			continue
		}
		b.add(FencingBroken, append(b.showTries(o), fence.line),
			"operation %d under epoch %d of producer %d, sent at %d, was accepted; a newer epoch was given "+
				"out by %d",
			o.id, epoch, producer, t.invoked, fence.at)
	}
	for o := range b.ops.all() {
		if o.scope != nil && o.txn == nil && o.known() > 0 && !o.ok && b.may(o) &&
			!b.beforeFence(o.scope.id.producer, o) {
			b.add(FencingBroken, append(b.showTries(o), b.showMissing(o)...),
				"operation %d is in the log, but was only sent under epochs of producer %d that were fenced",
				o.id, o.scope.id.producer)
		}
	}
}

// beforeFence reports whether some attempt of an operation was sent before its epoch was fenced.
func (b *book) beforeFence(producer int64, o *op) (before bool) {
	b.each(o, func(t *try) { before = before || b.fence(producer, t.under()).at >= t.invoked })
	return before
}

// under returns the epoch that an attempt was made under: what a request in a transaction leaves out is that which the
// transaction is bound to.
func (t *try) under() int64 {
	if o := t.op; o.txn != nil && (o.kind == history.KindTxnOffsets || o.kind == history.KindProduce && o.scope == nil) {
		return o.txn.epoch
	}
	return t.epoch
}

// tornAt tells of a read whose end is in the middle of what has to be seen at once.
func (b *book) tornAt(p *partition, d deed, f *fetch) {
	switch {
	case d.txn != nil:
		b.add(TornTransaction, []int32{d.op.line, d.txn.committed.line, f.line},
			"%s/%d: a read found the end at offset %d, in the middle of transaction %s",
			p.topic.name, p.number, f.end, d.txn.id)
	case d.op.kind != history.KindUpload && d.op.copies == 0:
		b.add(TornBatch, []int32{d.op.line, d.op.ackLine, f.line},
			"%s/%d: a read found the end at offset %d, in the middle of operation %d",
			p.topic.name, p.number, f.end, d.op.id)
	}
}

// receipt looks at what was told of an operation that somebody asked about.
func (b *book) receipt(line int32, a *history.Attempt) {
	b.receipts = append(
		b.receipts,
		receipt{line: line, invoked: a.Invoked, outcome: a.Outcome, status: a.Status, asked: *a.Produce},
	)
}
