package judge

import (
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

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

// checkReceipt holds that what a receipt tells of is in the log, where it says.
func (b *book) checkReceipt(s *scope, r *receipt) {
	for i := range r.asked.Places {
		at := &r.asked.Places[i]
		p := b.partition(at.Topic, at.Partition)
		if p.topic.trimmed || at.Offset < 0 {
			continue
		}
		for j := range int64(at.Count) {
			if o := b.writer(p.at(at.Offset + j)); o == nil || o.scope != s {
				b.add(AckDiffers, []int32{r.line, p.line(at.Offset + j)},
					"the receipt of sequence %d of producer %d says %s/%d, offset %d; there is value %d, "+
						"which is none of that producer's",
					r.asked.Sequence, s.id.producer, p.topic.name, p.number, at.Offset+j, p.at(at.Offset+j))
				return
			}
		}
	}
}

func (b *book) checkNoReceipt(s *scope, r *receipt) {
	i := sort.Search(len(s.ops), func(i int) bool { return s.ops[i].sequence >= r.asked.Sequence })
	for ; i < len(s.ops) && s.ops[i].sequence == r.asked.Sequence; i++ {
		o := s.ops[i]
		if acked := (deed{o, o.txn}).acked(); o.ok && o.present > 0 && !b.trimmed(o) && acked.at < r.invoked {
			b.add(RefusedWrongly, []int32{o.line, acked.line, r.line},
				"sequence %d of producer %d was acknowledged at %d; who asked for its receipt at %d was told "+
					"that there is none",
				o.sequence, s.id.producer, acked.at, r.invoked)
		}
	}
}
