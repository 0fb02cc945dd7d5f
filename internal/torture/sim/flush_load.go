package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// load reads the facts about the calls that are not sure, behind the locks of
// all; where partitions are shared the ends of their logs for the others, too.
func (f *flush) load() {
	for i, c := range f.calls {
		f.outcomes[i].right = f.w.truth.verdict(c.op)
		if f.shared && c.TransactionID == "" {
			f.loadEnds(c.parts)
		}
		if !f.which[i] {
			continue
		}
		f.loadTopics(c)
		switch c.kind {
		case kindProduce:
			f.loadProducer(c.ProducerID)
			f.loadTransaction(c.TransactionID, false)
			f.loadEnds(c.parts)
			f.loadKept(c)
		case kindPut:
			f.loadProducer(c.begin.ProducerID)
			f.loadTransaction(c.begin.ID, false)
			f.loadEnds(c.parts)
			f.loadOffsets(c.offsets)
		case kindCommit:
			f.loadProducer(c.ProducerID)
			f.loadTransaction(c.TransactionID, true)
		}
	}
}

func (f *flush) loadTopics(c *call) {
	if c.spread != nil {
		f.facts.counts[c.scope] = f.w.db.counts[c.scope]
	}
	for _, p := range c.parts {
		f.facts.counts[p.log/perTopic] = f.w.db.counts[p.log/perTopic]
	}
}

func (f *flush) loadProducer(id int64) {
	delete(f.facts.producers, id)
	row := f.w.db.producers[id]
	if row == nil {
		return
	}
	ref, _ := f.w.db.open(id)
	f.facts.producers[id] = &producerFact{Producer: row.Producer, openRef: ref, timeout: row.timeout}
}

func (f *flush) loadTransaction(id string, ends bool) {
	delete(f.facts.transactions, id)
	row := f.w.db.transactions[id]
	if row == nil {
		return
	}
	t := &txnFact{
		Transaction: row.Transaction, ref: row.ref, stagings: slices.Clone(row.stagings), offsets: len(row.offsets) > 0,
		places: row.places,
	}
	f.facts.transactions[id] = t
	for _, s := range t.stagings {
		f.facts.ends[s.id] = f.w.db.logs[s.id].end
		if ends {
			f.facts.ends[s.partition] = f.w.db.logs[s.partition].end
		}
	}
	if ends {
		f.staged[id] = slices.Clone(row.offsets)
		f.loadOffsets(row.offsets)
	}
}

func (f *flush) loadEnds(parts []part) {
	for _, p := range parts {
		f.facts.ends[p.log] = f.w.db.logs[p.log].end
	}
}

func (f *flush) loadKept(c *call) {
	if c.HasProducer() {
		key := scopeKey{c.ProducerID, c.scope}
		next := nextFact{sequence: f.w.db.next(key), at: f.w.db.now}
		if p := f.facts.producers[c.ProducerID]; p != nil {
			next.openRef = p.openRef
		}
		f.facts.next[key] = next
	}
	if id, _ := f.identityOf(c.op); id.key != "" || id.producer != eos.NoProducer {
		if k := f.w.db.kept[id]; k != nil {
			f.kept[id] = k
		}
	}
}

func (f *flush) loadOffsets(offsets []offset) {
	for _, o := range offsets {
		row := f.w.db.group(o.group)
		if at, there := row.committed[o.partition]; there {
			f.committed[groupPartition{o.group, o.partition}] = at
		}
		if f.groups[o.group] == nil {
			f.groups[o.group] = new(eos.NewGroup(o.group))
		}
		g := f.groups[o.group]
		f.members[o.group] = len(row.members) > 0
		if m, there := row.members[o.member]; there && g.Members[o.member] == nil {
			g.Members[o.member] = &m
		}
		if row.replaced[o.member] {
			g.Replaced[o.member] = true
		}
		if at, there := row.rows[o.partition]; there {
			g.Partitions[o.partition] = &at
		}
	}
}
