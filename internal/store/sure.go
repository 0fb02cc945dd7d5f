package store

import "github.com/eos-proxy/eos-proxy/internal/eos"

// unsure returns the operations that cannot be decided by the facts that are
// known, or that would be refused by them: only what is read under the locks
// may refuse.
func (f *flush) unsure() (which []bool, some bool) {
	which = make([]bool, len(f.ops))
	expected := map[scopeKey]int64{} // after those before it in the group
	var fresh bool
	f.now, fresh = f.facts.clock.now()
	for i, op := range f.ops {
		if f.refused[i] {
			continue
		}
		which[i] = f.careful || !fresh || !f.sure(op, expected)
		some = some || which[i]
	}
	return which, some
}

func (f *flush) sure(op *Op, expected map[scopeKey]int64) bool {
	switch {
	case op.Append != nil:
		return f.sureOfAppend(op.Append, expected)
	case op.Put != nil:
		return f.sureOfPut(op.Put)
	}
	return !f.shared && f.sureOfCommit(op.Commit) // the ends that it moves to are read with its stagings
}

func (f *flush) sureOfAppend(r *Request, expected map[scopeKey]int64) bool {
	open := int64(0)
	if r.TransactionID != "" {
		txn := f.facts.transactions[r.TransactionID]
		if txn == nil || txn.State != eos.StateOngoing {
			return false
		}
		open = txn.ref
	}
	if !f.sureOfLogs(r, open != 0) {
		return false
	}
	if !r.HasProducer() {
		return true
	}
	p := f.facts.producers[r.ProducerID]
	if p == nil || p.mayBeForgotten(f.now) || p.Epoch != r.Epoch || p.openRef != open || r.TransactionalID != "" && r.TransactionalID != p.TransactionalID {
		return false
	}
	key := scopeKey{r.ProducerID, r.Scope()}
	next, known := f.facts.next[key]
	if !known || next.openRef != 0 && next.openRef != open {
		return false
	}
	want, later := expected[key]
	if !later {
		want = next.sequence
	}
	if want != r.Sequence {
		return false
	}
	expected[key] = want + int64(r.RecordCount)
	return true
}

// sureOfLogs reports whether the topic and the ends of a request's logs are
// known. The stagings of a transaction that is known are all known.
func (f *flush) sureOfLogs(r *Request, staged bool) bool {
	t, ok := f.facts.topics[r.Topic.ID]
	if !ok || t.partitionCount != len(r.Topic.PartitionIDs) || r.Largest > t.maxRecordBytes {
		return false
	}
	for _, p := range r.Parts {
		if f.facts.ends[r.Topic.PartitionIDs[p.Partition]] == nil && !staged {
			return false
		}
	}
	return true
}

// sureOfPut: a transaction whose id is not known is taken for new; its unique
// key tells otherwise. Offsets are always read under their locks.
func (f *flush) sureOfPut(put *Put) bool {
	if len(put.Offsets) > 0 || put.missing != nil || f.facts.transactions[put.ID] != nil {
		return false
	}
	for _, r := range put.requests {
		if !f.sureOfLogs(r, !put.Commit) {
			return false
		}
	}
	if put.ProducerID == eos.NoProducer {
		return true
	}
	p := f.facts.producers[put.ProducerID]
	return p != nil && p.transactional() && p.Epoch == put.Epoch && p.openRef == 0
}

// sureOfCommit: staged offsets are always read under the locks of those that
// are committed.
func (f *flush) sureOfCommit(c *Commit) bool {
	t := f.facts.transactions[c.ID]
	if t == nil || t.State != eos.StateOngoing || t.offsets {
		return false
	}
	for partition, staging := range t.stagings {
		if t.places[partition].topic == "" || f.facts.ends[partition] == nil || f.facts.ends[staging] == nil {
			return false
		}
	}
	if c.Caller.ProducerID == eos.NoProducer {
		return true
	}
	p := f.facts.producers[c.Caller.ProducerID]
	return p != nil && p.openRef == t.ref && p.Epoch == c.Caller.Epoch
}
