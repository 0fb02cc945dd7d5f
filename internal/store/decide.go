package store

import (
	"encoding/json"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// decide fills in the outcome of each operation from the first on that it is
// told, and what is to be written. An operation sees those before it in the group
// as done.
func (f *flush) decide(first int) {
	for i := first; i < len(f.ops); i++ {
		op := f.ops[i]
		if f.refused[i] {
			continue
		}
		if f.skip && f.busy(op) {
			f.refuse(i, errBusy)
			continue
		}
		var err error
		switch {
		case op.Append != nil:
			f.outcomes[i].Result, err = f.decideAppend(op.Append)
		case op.Put != nil:
			f.outcomes[i].State, err = f.decidePut(op.Put)
		default:
			f.outcomes[i].State, err = f.decideCommit(op.Commit)
		}
		if err != nil {
			f.refuse(i, err)
		}
	}
}

func (f *flush) refuse(i int, err error) {
	f.outcomes[i] = Outcome{Err: err}
	f.refused[i] = true
}

// busy reports whether a row that the operation must hold is held by somebody
// else. A row that does not exist is nobody's.
func (f *flush) busy(op *Op) bool {
	k := &keys{}
	switch {
	case op.Append != nil:
		k.append(op.Append)
	case op.Put != nil:
		k.producer(op.Put.ProducerID)
		for _, r := range op.Put.requests {
			if op.Put.Commit {
				k.partitions = append(k.partitions, r.Logs()...)
			}
		}
	default:
		k.transactions = append(k.transactions, op.Commit.ID)
	}
	for _, id := range k.producers {
		if p := f.facts.producers[id]; p != nil && (p.transactional() || p.mayBeForgotten(f.now)) && !f.locked.producers[id] {
			return true
		}
	}
	for _, id := range k.transactions {
		t := f.facts.transactions[id]
		if t == nil {
			continue
		}
		if !f.locked.transactions[t.ref] {
			return true
		}
		if op.Commit != nil {
			for partition := range t.places {
				if !f.locked.partitions[partition] {
					return true
				}
			}
		}
	}
	for _, id := range k.partitions {
		if _, exists := f.facts.ends[id]; exists && !f.locked.partitions[id] {
			return true
		}
	}
	return false
}

func (f *flush) decideAppend(r *Request) (Result, error) {
	if err := f.checkTopic(r); err != nil {
		return Result{}, err
	}
	id, txn := f.identityOf(r)
	facts := eos.Facts{Producer: eos.Producer{ID: r.ProducerID}, Next: f.facts.next[scopeKey{r.ProducerID, r.Scope()}].sequence}
	if p := f.facts.producers[r.ProducerID]; p != nil {
		facts.Producer = p.Producer
	}
	if txn != nil {
		facts.Transaction = &txn.Transaction
	}
	stored := f.storedUnder(id, facts.Next)
	if stored != nil {
		facts.Stored = &stored.Stored
	}
	verdict, err := r.Decide(facts)
	if err != nil {
		return Result{}, err
	}
	if verdict == eos.Repeat {
		result := stored.result
		result.Repeated = true
		return result, nil
	}
	if err := f.checkLargest(r); err != nil {
		return Result{}, err
	}
	if txn != nil {
		if err := f.store.caps.stage(&f.store.counts, txn.staged, r.Size()); err != nil {
			return Result{}, err
		}
	}
	return f.append(r, id, txn)
}

// checkTopic refuses a request that was routed by another topic than there is.
func (f *flush) checkTopic(r *Request) error {
	if now, ok := f.facts.topics[r.Topic.ID]; !ok || now.partitionCount != len(r.Topic.PartitionIDs) {
		return errStale
	}
	return nil
}

func (f *flush) checkLargest(r *Request) error {
	limit := f.facts.topics[r.Topic.ID].maxRecordBytes
	if r.Largest <= limit {
		return nil
	}
	return eos.MessageTooLarge.Errorf("the record has %d bytes of key, value and headers; topic %q takes %d",
		r.Largest, r.Topic.Name, limit).AtRecord(r.LargestAt)
}

// identityOf returns the key under which the request is kept, and the
// transaction that it names, if it is known.
func (f *flush) identityOf(r *Request) (identity, *transaction) {
	txn := f.facts.transactions[r.TransactionID]
	switch {
	case r.HasProducer():
		return identity{producer: r.ProducerID, scope: r.Scope(), sequence: r.Sequence}, txn
	case txn != nil:
		return identity{producer: eos.NoProducer, scope: txn.ref, key: r.Key}, txn
	case r.TransactionID != "": // not known: nothing can be kept in it
		return identity{producer: eos.NoProducer}, nil
	}
	return identity{producer: eos.NoProducer, scope: r.Topic.ID, key: r.Key}, nil
}

// storedUnder returns the request that is kept under an identity, also one of
// this flush; nil when there is none. A sequence from next on is not stored.
func (f *flush) storedUnder(id identity, next int64) *keptRequest {
	if k := f.kept[id]; k != nil {
		return k
	}
	if id.producer == eos.NoProducer && id.key == "" || id.producer != eos.NoProducer && id.sequence >= next {
		return nil
	}
	if i, ok := f.keyed[id]; ok {
		return f.rows[i].kept()
	}
	if id.key != "" {
		return nil
	}
	for i := range f.rows {
		if r := &f.rows[i]; r.requestCount > 0 && r.identity == id {
			return r.kept()
		}
	}
	return nil
}

// append puts a request that the rules accept at the end of its logs.
func (f *flush) append(r *Request, id identity, txn *transaction) (Result, error) {
	logs, err := f.logsOf(r, txn)
	if err != nil {
		return Result{}, err
	}
	result := Result{NextSequence: -1, Staged: txn != nil, Shares: make([]Share, len(r.Parts))}
	first := len(f.rows)
	for i, p := range r.Parts {
		end := f.facts.ends[logs[i]]
		if txn == nil {
			f.touch(logs[i], end, r.Topic.ID)
		}
		result.Shares[i] = Share{Partition: p.Partition, BaseOffset: end.offset, RecordCount: p.Count, RecordIndexes: p.Indexes}
		f.rows = append(f.rows, f.rowAt(logs[i], end, p.Packed))
		f.rows[len(f.rows)-1].staged = txn != nil
		end.offset += int64(p.Count)
	}
	f.topics[r.Topic.ID] = true
	openRef := int64(0)
	if txn != nil {
		openRef = txn.ref
		f.transactions[txn.ref] = true
	}
	if r.HasProducer() {
		result.NextSequence = r.Sequence + int64(r.RecordCount)
		key := scopeKey{r.ProducerID, r.Scope()}
		if txn != nil && f.facts.next[key].openRef != openRef {
			txn.scopes = append(txn.scopes, key)
		}
		// The first one: if that was not removed by retention, what follows it was not.
		if _, guarded := f.sequences[key]; !guarded && (f.shared || f.now-f.facts.next[key].at > surelyNext.Milliseconds()) {
			f.sequences[key] = r.Sequence
		}
		f.facts.next[key] = nextSequence{result.NextSequence, openRef, f.now}
		f.uses(r.ProducerID)
	}
	if r.Any() {
		row := &f.rows[first]
		row.identity, row.epoch, row.fingerprint, row.requestCount = id, r.Epoch, r.Fingerprint, r.RecordCount
		row.transactionRef, row.result = openRef, result
		if len(r.Parts) > 1 {
			parts, err := json.Marshal(result.Shares)
			if err != nil {
				return Result{}, fmt.Errorf("encode shares: %w", err)
			}
			row.parts = string(parts)
		}
		if id.key != "" {
			f.keyed[id] = first
		}
	}
	return result, nil
}

// logsOf returns the log that each part goes to: its partition's, or in a
// transaction its staging's.
func (f *flush) logsOf(r *Request, txn *transaction) ([]int64, error) {
	logs := make([]int64, len(r.Parts))
	for i, p := range r.Parts {
		logs[i] = r.Topic.PartitionIDs[p.Partition]
		if f.facts.ends[logs[i]] == nil && txn == nil {
			return nil, errStale
		}
	}
	if txn == nil {
		return logs, nil
	}
	txn.staged += r.Size()
	for i, partition := range logs {
		id, ok := txn.stagings[partition]
		if !ok {
			id = f.newID()
			f.newStagings = append(f.newStagings, [3]int64{id, txn.ref, partition})
			txn.stagings[partition] = id
			f.facts.ends[id] = &logEnd{maxTimestamp: -1}
		}
		txn.places[partition] = place{r.Topic.Name, r.Parts[i].Partition}
		logs[i] = id
	}
	return logs, nil
}

// touch notes where the end of a partition's log was before the flush, and by
// which topic it was routed to.
func (f *flush) touch(log int64, end *logEnd, topic int64) {
	if _, moved := f.first[log]; !moved {
		f.first[log] = firstEnd{end.offset, topic}
	}
}

// uses notes that what is written depends on a producer: one that may be
// fenced, or one that is not forgotten while it appends.
func (f *flush) uses(producer int64) {
	p := f.facts.producers[producer]
	switch {
	case p == nil:
	case p.transactional():
		f.producers[producer] = p
	default:
		p.appended = f.now
	}
}

// rowAt returns the row of packed records at the end of a log, and counts
// their bytes and timestamps in.
func (f *flush) rowAt(log int64, end *logEnd, p *Packed) row {
	end.bytes += p.Size
	end.maxTimestamp = max(end.maxTimestamp, p.MaxTimestamp)
	if p.Undated {
		end.maxTimestamp = max(end.maxTimestamp, f.now)
	}
	return row{log: log, baseOffset: end.offset, endBytes: end.bytes, maxTimestamp: end.maxTimestamp, Packed: p}
}
