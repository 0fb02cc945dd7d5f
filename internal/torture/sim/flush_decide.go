package sim

import (
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// decide fills in what becomes of each call from the first on that it is told; a
// call sees those before it as done.
func (f *flush) decide(first int) {
	for i := first; i < len(f.calls); i++ {
		c := f.calls[i]
		var a *answer
		var applied bool
		var err error
		switch c.kind {
		case kindProduce:
			a, applied, err = f.decideAppend(c)
		case kindPut:
			a, applied, err = f.decidePut(c)
		default:
			a, applied, err = f.decideCommit(c)
		}
		var refusal *eos.Error
		if errors.As(err, &refusal) {
			a, applied = &answer{err: refusal}, false
		}
		f.outcomes[i].answer, f.outcomes[i].applied = a, applied
	}
}

func (f *flush) decideAppend(c *call) (a *answer, applied bool, err error) {
	if f.stale(c) {
		f.misrouted = true
		return nil, false, eos.UnknownTopic.Errorf("routed by another partition count")
	}
	id, txn := f.identityOf(c.op)
	facts := eos.Facts{Producer: eos.Producer{ID: c.ProducerID}}
	facts.Next = f.facts.next[scopeKey{c.ProducerID, c.scope}].sequence
	if p := f.facts.producers[c.ProducerID]; p != nil {
		facts.Producer = p.Producer
	}
	if txn != nil {
		facts.Transaction = &txn.Transaction
	}
	stored := f.storedUnder(id, facts.Next)
	if stored != nil {
		facts.Stored = &stored.Stored
	}
	verdict, err := f.w.decideAppend(c.Append, facts)
	switch {
	case err != nil:
		return nil, false, err
	case verdict == eos.Repeat:
		return &answer{places: stored.places, staged: stored.ref != 0, replayed: true}, false, nil
	}
	return f.append(c, id, txn), true, nil
}

// identityOf is the key under which a request is kept, and the transaction that
// it names.
func (f *flush) identityOf(o *op) (identity, *txnFact) {
	txn := f.facts.transactions[o.TransactionID]
	switch {
	case o.HasProducer():
		return identity{producer: o.ProducerID, scope: o.scope, sequence: o.Sequence}, txn
	case txn != nil:
		return identity{producer: eos.NoProducer, scope: txn.ref, key: o.Key}, txn
	case o.TransactionID != "":
		return identity{producer: eos.NoProducer}, nil
	}
	return identity{producer: eos.NoProducer, scope: o.scope, key: o.Key}, nil
}

func (f *flush) storedUnder(id identity, next int64) *keptRow {
	if k := f.kept[id]; k != nil {
		return k
	}
	if id.producer == eos.NoProducer && id.key == "" || id.producer != eos.NoProducer && id.sequence >= next {
		return nil
	}
	for _, r := range f.rows {
		if r.kept != nil && r.kept.identity == id {
			return r.kept
		}
	}
	return nil
}

// append puts a request at the end of its logs.
func (f *flush) append(c *call, id identity, txn *txnFact) *answer {
	a := &answer{staged: txn != nil}
	kept := (*keptRow)(nil)
	if c.kind == kindProduce && c.Any() {
		kept = &keptRow{identity: id, Stored: eos.Stored{RecordCount: c.RecordCount, Fingerprint: c.Fingerprint}, op: c.op}
	}
	for i, p := range c.parts {
		log := p.log
		if txn != nil {
			log = f.stagingOf(txn, p.log)
		} else if _, touched := f.first[log]; !touched {
			f.first[log] = f.facts.ends[log]
		}
		base := f.facts.ends[log]
		row := newRow{log: log, base: base, values: p.values}
		if i == 0 {
			row.kept = kept
		}
		f.rows = append(f.rows, row)
		f.facts.ends[log] = base + int64(len(p.values))
		a.places = append(a.places, place{log, base, len(p.values)})
	}
	if c.spread != nil {
		f.topics[c.scope] = true
	}
	ref := int64(0)
	if txn != nil {
		ref = txn.ref
		f.transactions = append(f.transactions, ref)
	}
	if kept == nil {
		return a
	}
	kept.places, kept.ref = a.places, ref
	if c.HasProducer() {
		key := scopeKey{c.ProducerID, c.scope}
		next := f.facts.next[key]
		if txn != nil && next.openRef != ref {
			txn.scopes = append(txn.scopes, key)
		}
		if f.shared || f.now-next.at > surelyNext {
			f.sequences = append(f.sequences, newRow{kept: kept})
		}
		f.facts.next[key] = nextFact{c.Sequence + int64(c.RecordCount), ref, f.now}
		f.uses(c.ProducerID)
	}
	return a
}

func (f *flush) stagingOf(txn *txnFact, partition int64) int64 {
	if id := txn.staging(partition); id != 0 {
		return id
	}
	s := staging{f.w.db.newID(), partition}
	txn.stagings = append(txn.stagings, s)
	f.newStagings = append(f.newStagings, newStaging{s, txn.ref})
	f.facts.ends[s.id] = 0
	return s.id
}

// uses notes that what is written depends on a producer that may be fenced.
func (f *flush) uses(producer int64) {
	p := f.facts.producers[producer]
	if p != nil && p.TransactionalID != "" && !slices.Contains(f.producers, producer) {
		f.producers = append(f.producers, producer)
	}
}

func (f *flush) decidePut(c *call) (a *answer, applied bool, err error) {
	producer, timeout := eos.Producer{ID: c.begin.ProducerID}, c.timeout
	p := f.facts.producers[c.begin.ProducerID]
	if p != nil {
		producer = p.Producer
	}
	var known *eos.Transaction
	stored := f.facts.transactions[c.begin.ID]
	if stored != nil {
		known = &stored.Transaction
	}
	begin := c.begin
	if f.w.mutant == NoEpochCheck {
		begin.Epoch = producer.Epoch
	}
	verdict, err := begin.Decide(known, producer)
	switch {
	case err != nil:
		return nil, false, err
	case verdict == eos.Repeat:
		return &answer{state: stored.State, by: stored.AbortedBy, places: stored.places, replayed: true}, false, nil
	}
	if err := f.checkPut(c); err != nil {
		return nil, false, err
	}
	put := &newTxn{op: c.op, ref: f.w.db.newID(), timeout: timeout}
	f.puts = append(f.puts, put)
	f.uses(c.begin.ProducerID)
	txn := &txnFact{
		Transaction: eos.Transaction{
			ID: c.begin.ID, State: eos.StateOngoing, ProducerID: c.begin.ProducerID, Epoch: c.begin.Epoch,
			Fingerprint: &c.begin.Fingerprint,
		},
		ref: put.ref, offsets: len(c.offsets) > 0,
	}
	f.facts.transactions[c.begin.ID] = txn
	if c.whole {
		put.places = sortPlaces(f.append(c, identity{}, nil).places)
		txn.State, txn.places = eos.StateCommitted, put.places
		f.setOffsets(c.offsets)
		return &answer{state: eos.StateCommitted, places: put.places}, true, nil
	}
	if p != nil {
		p.openRef, p.OpenTransaction = put.ref, c.begin.ID
	}
	put.offsets = c.offsets
	f.append(c, identity{}, txn)
	return &answer{state: eos.StateOngoing}, true, nil
}

func (f *flush) checkPut(c *call) error {
	if c.whole {
		return f.checkOffsets(c.offsets)
	}
	return f.checkMembers(c.offsets)
}

func (f *flush) decideCommit(c *call) (a *answer, applied bool, err error) {
	t := f.facts.transactions[c.TransactionID]
	if t == nil {
		return nil, false, eos.TransactionNotFound.Errorf("transaction %q is not known", c.TransactionID)
	}
	verdict, refusal := t.DecideCommit()
	if f.w.mutant == CommitAfterAbort && t.State == eos.StateAborted {
		verdict, refusal = eos.Apply, nil
	}
	if err := t.CheckProducer(c.ProducerID); err != nil {
		return nil, false, err
	}
	if c.HasProducer() {
		p := eos.Producer{ID: c.ProducerID}
		if known := f.facts.producers[c.ProducerID]; known != nil {
			p = known.Producer
		}
		if err := f.w.checkCaller(p, c.Epoch, refusal == nil && verdict == eos.Repeat); err != nil {
			return nil, false, err
		}
		f.uses(c.ProducerID)
	}
	switch {
	case refusal != nil:
		return nil, false, refusal
	case verdict == eos.Repeat:
		return &answer{state: t.State, places: t.places, replayed: true}, false, nil
	}
	return f.commit(c.op, t)
}

func (f *flush) commit(o *op, t *txnFact) (a *answer, applied bool, err error) {
	offsets := f.staged[t.ID]
	if err := f.checkOffsets(offsets); err != nil {
		return nil, false, err
	}
	c := &committing{txnFact: t, op: o, offsets: len(offsets) > 0}
	for _, s := range t.stagings {
		end, records := f.facts.ends[s.partition], f.facts.ends[s.id]
		if _, touched := f.first[s.partition]; !touched {
			f.first[s.partition] = end
		}
		c.moves = append(c.moves, move{s.id, s.partition, records, end})
		c.places = append(c.places, place{s.partition, end, int(records)})
		f.facts.ends[s.partition] = end + records
	}
	c.places = sortPlaces(c.places)
	f.setOffsets(offsets)
	t.State, t.places = eos.StateCommitted, c.places
	for _, key := range t.scopes {
		if n := f.facts.next[key]; n.openRef == t.ref {
			f.facts.next[key] = nextFact{sequence: n.sequence, at: n.at}
		}
	}
	if p := f.facts.producers[t.ProducerID]; p != nil && p.openRef == t.ref {
		p.openRef, p.OpenTransaction = 0, ""
	}
	f.commits = append(f.commits, c)
	return &answer{state: eos.StateCommitted, places: c.places}, true, nil
}

// sortPlaces puts the places of a transaction in order, one a log.
func sortPlaces(places []place) []place {
	var list []place
	for _, p := range places {
		i := slices.IndexFunc(list, func(q place) bool { return q.log == p.log })
		if i < 0 {
			list = append(list, p)
			continue
		}
		list[i].count += p.count
	}
	slices.SortFunc(list, func(a, b place) int { return int(a.log - b.log) })
	return list
}
