package store

import (
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// done counts what was written. lost are the tries whose COMMIT was not
// answered.
func (f *flush) done(lost []*flush) {
	f.settle(lost)
	w := f.writer
	w.careful = false
	if w.shared > 0 {
		w.shared--
	}
	if f.facts.tooMany() {
		w.facts = newFacts()
	}
	f.store.tail.keep(f)
	f.store.counts.groups.Add(f.newGroups)
	for _, p := range f.puts {
		f.store.counts.ended(p.state, true)
		if p.Commit {
			delete(f.facts.transactions, p.ID)
			continue
		}
		f.facts.transactions[p.ID].ExpiresAt = p.state.ExpiresAt
	}
	for _, o := range f.outcomes { // repeats in this flush, which were told before the time was known
		if s := o.State; s != nil && s.Repeated && s.State == eos.StateOngoing {
			s.ExpiresAt = f.facts.transactions[s.ID].ExpiresAt
		}
	}
	for _, c := range f.commits {
		f.store.tail.drop(c.state.Logs...) // moved rows are not in it
		f.store.counts.ended(c.state, false)
		delete(f.facts.transactions, c.state.ID)
		for _, m := range c.moves {
			delete(f.facts.ends, m.staging)
		}
	}
}

// settle tells the outcomes of a try as what they are after those before it,
// whose COMMIT was not answered: what one of those did is told as done now, not
// as repeated; and nobody can say what became of what is gone with its topic, or
// removed by retention.
func (f *flush) settle(lost []*flush) {
	for _, before := range lost {
		fate := FateUnknown
		for i := range f.outcomes {
			fate = min(fate, f.unrepeat(i, before))
			switch {
			case before.outcomes[i].Err != nil:
			case IsStale(f.outcomes[i].Err) && f.gone(f.ops[i]):
				f.outcomes[i].Err = errGone
			case errors.Is(f.outcomes[i].Err, errDuplicate) && !before.outcomes[i].Result.Repeated:
				f.outcomes[i].Err = errRemoved
			}
		}
		f.store.foundOut(fate)
	}
}

// errDuplicate is a refusal of a sequence that is no request that is kept.
var errDuplicate = eos.DuplicateSequence.Errorf("")

// gone reports whether the operation is an append to a topic that is deleted:
// what it did is, too. A transaction's id tells of it for longer.
func (f *flush) gone(op *Op) bool {
	if op.Append == nil {
		return false
	}
	_, exists := f.facts.topics[op.Append.Topic.ID]
	return !exists
}

// unrepeat makes the outcome of a try that found what one before it had done,
// and was not told, that of the one before. What that took for new, and somebody
// else had done, is elsewhere, of another time, or has another ref. It returns
// what that says of the one before: FateUnknown if nothing.
func (f *flush) unrepeat(i int, lost *flush) Fate {
	o, before := &f.outcomes[i], &lost.outcomes[i]
	switch {
	case o.Err != nil || before.Err != nil:
		return FateUnknown
	case o.State == nil && before.Result.Repeated:
		return FateUnknown
	case o.State == nil:
		id, _ := f.identityOf(f.ops[i].Append)
		k := f.kept[id]
		if k != nil && k.at == lost.now && slices.EqualFunc(o.Result.Shares, before.Result.Shares, sameBase) {
			o.Result.Repeated = false
			return FateDone
		}
	case o.State.State != before.State.State: // a begin that was ended since is told as it stands now
		return FateUnknown
	case before.State.Repeated:
		return FateUnknown
	case o.State.Repeated && lost.did(f.ops[i], f.facts.transactions[o.State.ID]):
		o.State.Repeated, o.State.Logs = false, before.State.Logs
		return FateDone
	}
	return FateNotDone
}

func sameBase(a, b Share) bool { return a.BaseOffset == b.BaseOffset }

// did reports whether the try would have made a transaction what it is.
func (f *flush) did(op *Op, now *transaction) bool {
	return op.Put == nil || slices.ContainsFunc(f.puts, func(p *putRow) bool { return p.ref == now.ref })
}
