package handlers

import (
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// plan is what is stored already of the sequences that an upload has. An
// append that meets something else says so; then it is asked for again.
type plan struct {
	topic    *store.Topic
	producer eos.Producer
	next     int64        // the first sequence that was not stored
	kept     []store.Kept // from where it was asked on; as many as one page has
	asked    int64        // the sequence that it was asked for
	tries    int          // how often without getting on
}

// span says what the next records of an upload are: new ones, when kept is nil
// and removed false; else records that are stored, or were.
type span struct {
	kept    *store.Kept  // the request that holds them
	removed bool         // by retention
	records int64        // how many
	topic   *store.Topic // as it was when they were found
}

// ask reads what is stored from the next record on.
func (u *upload) ask() error {
	return u.s.onTopic(u.ctx, u.topic, func(t *store.Topic) error {
		p, err := u.s.store.Progress(u.ctx, u.id.ProducerID, t, u.partition, u.next)
		if err != nil {
			return err
		}
		u.plan.topic, u.plan.producer, u.plan.next, u.plan.kept, u.plan.asked = t, p.Producer, p.Next, p.Kept, u.next
		return nil
	})
}

// spanAt returns what the records from a sequence on are.
func (p *plan) spanAt(sequence int64) (sp span, known bool) {
	for len(p.kept) > 0 && p.kept[0].End() <= sequence {
		p.kept = p.kept[1:]
	}
	switch {
	case len(p.kept) > 0 && p.kept[0].BaseSequence <= sequence:
		k := p.kept[0]
		return span{kept: &k, records: k.End() - sequence, topic: p.topic}, true
	case len(p.kept) > 0:
		return span{removed: true, records: p.kept[0].BaseSequence - sequence, topic: p.topic}, true
	case sequence >= p.next:
		return span{}, true
	case p.asked == sequence:
		return span{removed: true, records: p.next - sequence, topic: p.topic}, true
	}
	return span{}, false
}

// maxSkipped bounds the lines that are skipped before that is answered.
const maxSkipped = 100_000

// fill puts records into the batch, the backlog first, until it is full or no
// more are there. What is wrong with a line ends the upload behind those before.
func (u *upload) fill() error {
	for !u.full() {
		if u.batch.count() == 0 && u.batch.span == (span{}) && u.next < u.plan.next {
			if err := u.lookUp(); err != nil {
				return err
			}
		}
		if u.held() || !u.fillOne() {
			return nil
		}
		u.next++
		if u.batch.removed {
			u.batch.empty()
			u.batch.skipped++
		}
	}
	return nil
}

// held reports whether the batch must wait for those on their way: the lines
// that it skips could not be taken back.
func (u *upload) held() bool { return u.batch.removed && len(u.sent) > 0 }

// lookUp finds out what the batch that begins now is.
func (u *upload) lookUp() error {
	for {
		sp, known := u.plan.spanAt(u.next)
		if known {
			u.batch.span = sp
			return nil
		}
		if err := u.ask(); err != nil {
			return err
		}
	}
}

// fillOne puts the next record into the batch, and reports whether there is
// one.
func (u *upload) fillOne() bool {
	b := u.batch
	if len(u.backlog) > 0 {
		b.records = append(b.records, u.backlog[0])
		b.bytes += u.backlog[0].Size()
		if u.backlog = u.backlog[1:]; len(u.backlog) == 0 {
			u.releaseSpent()
		}
		return true
	}
	line, ok := u.line()
	if !ok {
		return false
	}
	if err := u.parse(line); err != nil {
		u.end(inLine(err, int(u.next-u.id.Sequence)))
		return false
	}
	if err := u.account(b); err != nil {
		u.end(err)
		return false
	}
	return true
}

// full reports whether the batch takes no more.
func (u *upload) full() bool {
	b := u.batch
	switch {
	case b.kept != nil:
		return b.count() == b.span.records
	case b.removed:
		return b.count() == min(b.span.records, maxSkipped)
	}
	return b.count() >= maxBatchRecords || b.bytes >= maxBatchBytes
}

// send starts the append of the batch, and a new one.
func (u *upload) send() {
	b := u.batch
	u.sent = append(u.sent, b)
	u.batch = u.newBatch(u.next)
	go u.append(b)
}

// settle answers what became of the oldest batch on its way.
func (u *upload) settle(o streamOutcome) error {
	b := u.sent[0]
	u.sent = slices.Delete(u.sent, 0, 1)
	var refusal *eos.Error
	switch {
	case errors.Is(o.err, eos.OutOfOrder.Errorf("")), errors.Is(o.err, eos.DuplicateSequence.Errorf("")):
		return u.replan(b, o.err)
	case errors.As(o.err, &refusal) && refusal.RecordIndex != nil:
		return u.refuseFrom(b, refusal)
	case o.err != nil:
		u.drop(b)
		return o.err
	}
	u.unverified += o.unverified
	line := streamLine{next: b.first + b.count(), shares: o.result.Shares, staged: o.result.Staged}
	if o.result.Repeated {
		u.s.metrics.duplicates.Inc()
	}
	u.recycle(b)
	u.answer(line)
	if u.calm++; u.calm%calmBatches == 0 {
		u.window = min(u.window+1, maxSent)
	}
	return nil
}

const (
	calmBatches = 8  // in a row, after which one more may be on its way
	maxReplans  = 20 // without getting on
)

// replan takes back what is on its way and asks what is stored: somebody else
// uploads the same lines, cut into other batches (P6). Batches behind one that
// was cut otherwise would wait for a predecessor that never comes; so there is
// one at a time until it has been calm for a while. It returns the refusal if
// what is stored does not explain it: a gap.
func (u *upload) replan(b *streamBatch, refusal error) error {
	u.takeBack(b)
	u.window, u.calm = 1, 0
	if u.plan.asked == u.next {
		u.plan.tries++
	} else {
		u.plan.tries = 0
	}
	if u.plan.tries > maxReplans {
		return refusal
	}
	if err := u.ask(); err != nil {
		return err
	}
	if u.plan.next < u.next {
		return refusal
	}
	return nil
}

// refuseFrom ends the upload in front of the record of a batch that was
// refused: those before it still count.
func (u *upload) refuseFrom(b *streamBatch, refusal *eos.Error) error {
	at := *refusal.RecordIndex
	_ = refusal.AtRecord(int(b.first-u.id.Sequence) + at)
	if at == 0 || errors.Is(refusal, eos.SequenceReused.Errorf("")) {
		u.drop(b)
		return refusal
	}
	u.takeBack(b)
	u.backlog = u.backlog[:at]
	u.ended, u.failure = true, refusal
	return nil
}

// takeBack makes the records of a batch whose outcome has come, and of all
// behind it, the backlog again. It waits until nobody else uses them.
func (u *upload) takeBack(b *streamBatch) {
	for _, sent := range u.sent {
		<-sent.outcome
	}
	var back []eos.Record
	for _, taken := range slices.Concat([]*streamBatch{b}, u.sent, []*streamBatch{u.batch}) {
		back = append(back, taken.records...)
		u.spent = append(u.spent, taken)
	}
	u.backlog = append(back, u.backlog...)
	u.sent, u.next = nil, b.first
	u.batch = u.newBatch(u.next)
}
