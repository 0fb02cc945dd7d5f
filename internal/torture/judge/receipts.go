package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// receipt is an answer to who asked whether a sequence is stored.
type receipt struct {
	line    int32
	status  int
	outcome history.Outcome
	invoked int64
	asked   history.Produce
}

// checkReceipts holds receipts against the log. None means "not yet": it is wrong only of what was acknowledged.
func (b *book) checkReceipts() {
	for i := range b.receipts {
		r := &b.receipts[i]
		s := b.scopes[scopeID{r.asked.Producer, r.asked.Topic, r.asked.Scope}]
		if s == nil {
			continue
		}
		switch {
		case r.outcome == history.OK:
			b.checkReceipt(s, r)
		case r.outcome == history.Fail && r.status == 404:
			b.checkNoReceipt(s, r)
		}
	}
}

// checkReceipt holds that what a receipt tells of is in the log, where it says, and all of the request that has the
// sequence which was asked for.
func (b *book) checkReceipt(s *scope, r *receipt) {
	of, told := s.holds(r.asked.Sequence), int64(0)
	for i := range r.asked.Places {
		at := &r.asked.Places[i]
		p := b.partition(at.Topic, at.Partition)
		if at.Offset < 0 {
			return
		}
		told += int64(at.Count)
		for j := range int64(at.Count) {
			if p.hasLeft(at.Offset+j) && p.at(at.Offset+j) == 0 {
				continue
			}
			if o := b.writer(p.at(at.Offset + j)); o == nil || o.scope != s || of != nil && o != of {
				b.add(AckDiffers, []int32{r.line, p.line(at.Offset + j)},
					"the receipt of sequence %d of producer %d says %s/%d, offset %d; there is value %d, "+
						"which is none of that request's",
					r.asked.Sequence, s.id.producer, p.topic.name, p.number, at.Offset+j, p.at(at.Offset+j))
				return
			}
		}
	}
	if of == nil || of.kind == history.KindUpload { // which is many requests in one
		return
	}
	if !b.sentUnder(of, r.asked.Recorded) {
		b.add(AckDiffers, []int32{of.line, of.ackLine, r.line},
			"the receipt of sequence %d of producer %d tells of epoch %d; operation %d was never sent under that",
			r.asked.Sequence, s.id.producer, r.asked.Recorded, of.id)
	}
	if base := r.asked.Base; told != of.count() || base != 0 && base != of.sequence {
		b.add(AckDiffers, []int32{of.line, of.ackLine, r.line},
			"the receipt of sequence %d of producer %d tells of %d records from sequence %d on; operation %d has %d "+
				"from sequence %d on",
			r.asked.Sequence, s.id.producer, told, base, of.id, of.count(), of.sequence)
	}
}

// sentUnder reports whether an attempt of an operation was made under an epoch.
func (b *book) sentUnder(o *op, epoch int64) (sent bool) {
	b.each(o, func(t *try) { sent = sent || t.epoch == epoch })
	return sent
}

// holds returns the operation in the log that has a sequence, nil if there is none, or not one.
func (s *scope) holds(sequence int64) (found *op) {
	for _, o := range s.ops[s.firstAt(sequence):] {
		switch from, to := o.stored(); {
		case o.sequence > sequence:
			return found
		case sequence < from || sequence >= to:
		case found != nil:
			return nil
		default:
			found = o
		}
	}
	return found
}

func (b *book) checkNoReceipt(s *scope, r *receipt) {
	for _, o := range s.ops[s.firstAt(r.asked.Sequence):] {
		if o.sequence > r.asked.Sequence {
			return
		}
		if o.sequence+o.count() <= r.asked.Sequence {
			continue
		}
		if o.present == 0 || o.kind == history.KindUpload && o.gone > 0 {
			continue // what told of it may have left the log
		}
		if acked := (deed{o, o.txn}).acked(); o.ok && acked.at < r.invoked {
			b.add(RefusedWrongly, []int32{o.line, acked.line, r.line},
				"sequence %d of producer %d was acknowledged at %d; who asked for its receipt at %d was told "+
					"that there is none",
				r.asked.Sequence, s.id.producer, acked.at, r.invoked)
		}
	}
}
