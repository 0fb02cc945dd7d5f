package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// save writes what was decided, unless a guard or a unique key refuses it:
// store/guard.go.
func (f *flush) save() bool {
	if !f.guards() || !f.uniqueKeys() {
		return false
	}
	for _, c := range f.commits {
		f.saveCommit(c)
	}
	for _, p := range f.puts {
		f.savePut(p)
	}
	for _, s := range f.newStagings {
		t := f.w.db.refs[s.ref]
		t.stagings = append(t.stagings, s.staging)
	}
	for _, r := range f.rows {
		if f.w.db.logs[r.log] == nil { // a staging that is new, or, without its guard, gone
			f.w.db.logs[r.log] = &logRow{}
		}
		f.w.db.logs[r.log].insert(batch{r.base, r.values, f.now, r.kept})
		if r.kept != nil && f.w.db.kept[r.kept.identity] == nil {
			f.w.db.insertKept(r.kept)
		}
	}
	f.judge()
	if f.w.mutant == OffsetsApart && len(f.offsets) > 0 {
		f.w.later(f.saveOffsets)
		return true
	}
	f.saveOffsets()
	return true
}

func (f *flush) guards() bool {
	d, mutant := f.w.db, f.w.mutant
	if d.now >= f.now+maxLate && mutant != NoLateGuard {
		return false
	}
	for log, end := range f.first {
		if d.logs[log].end != end && mutant != NoEndGuard {
			return false
		}
	}
	for topic := range f.topics {
		if d.counts[topic] != f.facts.counts[topic] && mutant != NoPartitionCountGuard {
			return false
		}
	}
	for _, id := range f.producers {
		p := f.facts.producers[id]
		if (d.producers[id].Epoch != p.Epoch || f.openAfter(id) != p.openRef) && mutant != NoProducerGuard {
			return false
		}
	}
	for _, s := range f.sequences {
		if s.kept.sequence < d.positions[scopeKey{s.kept.producer, s.kept.scope}] && mutant != NoSequenceGuard {
			return false
		}
	}
	for _, ref := range f.transactions {
		if t := d.refs[ref]; t != nil && t.State != eos.StateOngoing && mutant != NoTransactionGuard {
			return false
		}
	}
	return f.commitGuards()
}

// commitGuards: what a commit moves is all that its transaction has staged,
// which is ongoing.
func (f *flush) commitGuards() bool {
	for _, c := range f.commits {
		t := f.w.db.refs[c.ref]
		if t.State != eos.StateOngoing && f.w.mutant != CommitAfterAbort {
			return false
		}
		if f.w.mutant == NoCommitGuard {
			continue
		}
		if len(t.stagings) != len(c.moves) || len(t.offsets) > 0 != c.offsets {
			return false
		}
		for _, m := range c.moves {
			if f.w.db.logs[m.staging] == nil || f.w.db.logs[m.staging].end != m.records {
				return false
			}
		}
	}
	return true
}

// openAfter is the ref of the transaction that a producer has open when the
// flush is written.
func (f *flush) openAfter(producer int64) int64 {
	ref := f.stillOpen(producer)
	for _, p := range f.puts {
		if p.begin.ProducerID == producer && !p.whole {
			ref = p.ref
		}
	}
	return ref
}

// stillOpen is the same without what the flush begins.
func (f *flush) stillOpen(producer int64) int64 {
	ref, _ := f.w.db.open(producer)
	for _, c := range f.commits {
		if c.ref == ref {
			return 0
		}
	}
	return ref
}

// uniqueKeys reports whether what is to be inserted is not there yet.
func (f *flush) uniqueKeys() bool {
	d := f.w.db
	for _, p := range f.puts {
		if d.transactions[p.begin.ID] != nil {
			return false
		}
		if !p.whole && f.stillOpen(p.begin.ProducerID) != 0 {
			return false
		}
	}
	for _, r := range f.rows {
		if r.kept != nil && d.kept[r.kept.identity] != nil && f.w.mutant != NoUniqueIdentity {
			return false
		}
		if l := d.logs[r.log]; l != nil && slices.ContainsFunc(l.batches, func(b batch) bool { return b.base == r.base }) {
			return false
		}
	}
	for _, o := range f.offsets {
		if _, there := d.group(o.group).committed[o.partition]; there && o.first {
			return false
		}
	}
	return true
}

func (f *flush) saveCommit(c *committing) {
	t := f.w.db.refs[c.ref]
	for _, m := range c.moves {
		from, to := f.w.db.logs[m.staging], f.w.db.logs[m.partition]
		if from == nil {
			continue
		}
		for _, b := range from.batches {
			b.base += m.end
			b.at = f.w.db.now
			to.insert(b)
		}
		f.moveKept(t, m)
	}
	t.places = c.places
	f.w.db.endTransaction(t, eos.StateCommitted, "")
}

// moveKept has repeats of what a transaction staged be told where it is.
func (f *flush) moveKept(t *txnRow, m move) {
	for _, b := range f.w.db.logs[m.staging].batches {
		if b.kept == nil {
			continue
		}
		moved := slices.Clone(b.kept.places)
		for i := range moved {
			for _, s := range t.stagings {
				if s.id != moved[i].log {
					continue
				}
				base := int64(0)
				for _, p := range f.commits {
					for _, q := range p.moves {
						if q.staging == s.id {
							base = q.end
						}
					}
				}
				moved[i].log, moved[i].base = s.partition, moved[i].base+base
			}
		}
		b.kept.places = moved
	}
}

func (f *flush) savePut(p *newTxn) {
	t := &txnRow{
		Transaction: eos.Transaction{
			ID: p.begin.ID, State: eos.StateOngoing, ProducerID: p.begin.ProducerID, Epoch: p.begin.Epoch,
			Fingerprint: &p.begin.Fingerprint,
		},
		ref: p.ref, expires: f.w.db.now + p.timeout, offsets: p.offsets, requests: map[eos.Fingerprint]bool{},
	}
	if p.whole {
		t.State, t.places, t.offsets = eos.StateCommitted, p.places, nil
	} else if row := f.w.db.producers[p.begin.ProducerID]; row != nil {
		row.OpenTransaction = p.begin.ID
	}
	f.w.db.transactions[t.ID], f.w.db.refs[t.ref] = t, t
}

func (f *flush) saveOffsets() {
	for _, o := range f.offsets {
		f.w.db.group(o.group).committed[o.partition] = o.offset
		f.w.truth.committedOffset(o.by, o.offset)
	}
	for _, o := range f.offsets {
		f.w.truth.together(o.by)
	}
	for id, g := range f.groups {
		for member, m := range g.Members {
			row, there := f.w.db.group(id).members[member]
			if there && m.Previous == 0 && row.Previous != 0 && row.Epoch == m.Epoch {
				row.Previous = 0
				f.w.db.group(id).members[member] = row
			}
		}
	}
}

// judge tells what became of each call, in their order.
func (f *flush) judge() {
	f.w.truth.ending = map[string]bool{}
	for _, c := range f.commits {
		f.w.truth.ending[c.ID] = true
	}
	defer func() { f.w.truth.ending = nil }()
	for i, c := range f.calls {
		o := &f.outcomes[i]
		if !o.applied {
			f.w.truth.told(c, o.answer, o.right)
			continue
		}
		f.w.truth.applies(c)
		switch c.kind {
		case kindProduce:
			f.w.truth.appended(c, o.places)
		case kindPut:
			f.w.truth.put(c, o.places)
		default:
			f.w.truth.committed(c.op, o.places)
		}
	}
}
