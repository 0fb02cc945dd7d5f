package sim

import "github.com/eos-proxy/eos-proxy/internal/eos"

// facts are what a writer knows of the database, true or not: store/facts.go.
type facts struct {
	counts       map[int64]int
	producers    map[int64]*producerFact
	transactions map[string]*txnFact
	ends         map[int64]int64
	next         map[scopeKey]nextFact
}

type producerFact struct {
	eos.Producer
	openRef, timeout int64
}

// nextFact is the sequence that a producer sends next; with an openRef it counts
// only within that transaction.
type nextFact struct{ sequence, openRef, at int64 }

type txnFact struct {
	eos.Transaction
	ref      int64
	stagings []staging
	offsets  bool
	places   []place
	scopes   []scopeKey
}

func newFacts() *facts {
	return &facts{
		counts: map[int64]int{}, producers: map[int64]*producerFact{}, transactions: map[string]*txnFact{},
		ends: map[int64]int64{}, next: map[scopeKey]nextFact{},
	}
}

func (t *txnFact) staging(partition int64) int64 {
	for _, s := range t.stagings {
		if s.partition == partition {
			return s.id
		}
	}
	return 0
}

// sure reports which calls can be decided by what is known, and would not be
// refused by it: store/sure.go.
func (f *flush) sure(c *call, expected map[scopeKey]int64) bool {
	switch c.kind {
	case kindProduce:
		return f.sureOfAppend(c, expected)
	case kindPut:
		return f.sureOfPut(c)
	}
	return !f.shared && f.sureOfCommit(c.op)
}

func (f *flush) sureOfAppend(o *call, expected map[scopeKey]int64) bool {
	open := int64(0)
	if o.TransactionID != "" {
		t := f.facts.transactions[o.TransactionID]
		if t == nil || t.State != eos.StateOngoing {
			return false
		}
		open = t.ref
	}
	if !f.sureOfLogs(o, open != 0) {
		return false
	}
	if !o.HasProducer() {
		return true
	}
	p := f.facts.producers[o.ProducerID]
	if p == nil || p.Epoch != o.Epoch || p.openRef != open ||
		o.TransactionalID != "" && o.TransactionalID != p.TransactionalID {
		return false
	}
	key := scopeKey{o.ProducerID, o.scope}
	next, known := f.facts.next[key]
	if !known || next.openRef != 0 && next.openRef != open {
		return false
	}
	want, later := expected[key]
	if !later {
		want = next.sequence
	}
	if want != o.Sequence {
		return false
	}
	expected[key] = want + int64(o.RecordCount)
	return true
}

func (f *flush) sureOfLogs(o *call, staged bool) bool {
	for _, p := range o.parts {
		if f.facts.counts[p.log/perTopic] == 0 {
			return false
		}
		if _, known := f.facts.ends[p.log]; !known && !staged {
			return false
		}
	}
	return !f.stale(o)
}

// stale reports whether an op was routed by another partition count than is
// known.
func (f *flush) stale(o *call) bool {
	return o.spread != nil && f.facts.counts[o.scope] != o.count
}

func (f *flush) sureOfPut(o *call) bool {
	if len(o.offsets) > 0 || f.facts.transactions[o.begin.ID] != nil || !f.sureOfLogs(o, !o.whole) {
		return false
	}
	if o.begin.ProducerID == eos.NoProducer {
		return true
	}
	p := f.facts.producers[o.begin.ProducerID]
	return p != nil && p.TransactionalID != "" && p.Epoch == o.begin.Epoch && p.openRef == 0
}

func (f *flush) sureOfCommit(o *op) bool {
	t := f.facts.transactions[o.TransactionID]
	if t == nil || t.State != eos.StateOngoing || t.offsets {
		return false
	}
	for _, s := range t.stagings {
		_, known := f.facts.ends[s.partition]
		_, staged := f.facts.ends[s.id]
		if !known || !staged {
			return false
		}
	}
	if !o.HasProducer() {
		return true
	}
	p := f.facts.producers[o.ProducerID]
	return p != nil && p.openRef == t.ref && p.Epoch == o.Epoch
}
