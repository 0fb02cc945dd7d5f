package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// Put begins a transaction, or is all of it when Commit is set.
type Put struct {
	eos.Begin
	TimeoutMS int // 0: the producer's, or the default
	Produce   []TopicRecords
	Offsets   []GroupOffset
	Commit    bool

	requests []*Request // what Route made of Produce
	missing  error      // that a topic or partition does not exist; only a repeat is not refused for it
}

// TopicRecords are records for a topic.
type TopicRecords struct {
	Topic   string
	Records []eos.Record
}

// Size returns how many records the PUT brings, and their bytes.
func (p *Put) Size() (records int, bytes int64) {
	for _, t := range p.Produce {
		records += len(t.Records)
		for i := range t.Records {
			bytes += int64(t.Records[i].Size())
		}
	}
	return records, bytes
}

// Route returns the PUT with its records routed by the topics as they are
// remembered. It returns eos.InvalidRecord as NewRequest. A topic or partition
// that does not exist is for Flush to refuse: the PUT may be the repeat of one
// whose topic was deleted since (T8).
func (s *Store) Route(ctx context.Context, put Put) (*Put, error) {
	routeBy := eos.Identity{ProducerID: eos.NoProducer, Key: put.ID}
	put.requests = make([]*Request, 0, len(put.Produce))
	before := 0 // records of the entries before
	for _, p := range put.Produce {
		r, err := s.routeRecords(ctx, p, routeBy)
		if errors.Is(err, eos.UnknownTopic.Errorf("")) {
			put.missing = recordsBefore(err, before)
			break
		}
		if err != nil {
			return nil, recordsBefore(err, before)
		}
		put.requests = append(put.requests, r)
		before += len(p.Records)
	}
	return &put, nil
}

func (s *Store) routeRecords(ctx context.Context, p TopicRecords, by eos.Identity) (*Request, error) {
	t, err := s.Topic(ctx, p.Topic)
	if err != nil {
		return nil, err
	}
	a := eos.Append{Identity: eos.Identity{ProducerID: eos.NoProducer}, RecordCount: len(p.Records)}
	return NewRequest(a, t, -1, p.Records, by.Keyless(0))
}

// putRow is a transaction to insert.
type putRow struct {
	*Put
	ref       int64
	timeoutMS int
	state     *TransactionState
	offsets   []partitionOffset // to stage
}

func (f *flush) decidePut(put *Put) (*TransactionState, error) {
	producer := eos.Producer{ID: put.ProducerID}
	timeout := eos.DefaultTransactionTimeoutMS
	p := f.facts.producers[put.ProducerID]
	if p != nil {
		producer, timeout = p.Producer, p.timeoutMS
	}
	var known *eos.Transaction
	stored := f.facts.transactions[put.ID]
	if stored != nil {
		known = &stored.Transaction
	}
	verdict, err := put.Decide(known, producer)
	if err != nil {
		return nil, err
	}
	if verdict == eos.Repeat {
		state := stored.TransactionState
		state.Repeated = true
		return &state, nil
	}
	if put.missing != nil {
		return nil, put.missing
	}
	offsets, err := f.checkPut(put)
	if err != nil {
		return nil, err
	}
	if put.TimeoutMS > 0 {
		timeout = put.TimeoutMS
	}
	state := &TransactionState{Transaction: eos.Transaction{
		ID: put.ID, ProducerID: put.ProducerID, Epoch: put.Epoch, Fingerprint: &put.Fingerprint,
	}}
	row := &putRow{Put: put, ref: f.newID(), timeoutMS: timeout, state: state}
	f.puts = append(f.puts, row)
	f.uses(put.ProducerID)
	if put.Commit {
		return state, f.oneShot(row, offsets)
	}
	row.offsets = offsets
	return state, f.beginTransaction(row, p)
}

// checkPut refuses what would be refused of a PUT half way, and returns its
// offsets.
func (f *flush) checkPut(put *Put) ([]partitionOffset, error) {
	if err := f.store.caps.begin(&f.store.counts, !put.Commit); err != nil {
		return nil, err
	}
	before, staged := 0, int64(0)
	adds := map[int64]int64{} // records by partition id
	for _, r := range put.requests {
		if err := f.checkTopic(r); err != nil {
			return nil, err
		}
		if err := f.checkLargest(r); err != nil {
			return nil, recordsBefore(err, before)
		}
		before += r.RecordCount
		for _, p := range r.Parts {
			log := r.Topic.PartitionIDs[p.Partition]
			if put.Commit && f.facts.ends[log] == nil {
				return nil, errStale
			}
			staged += p.Size
			if put.Commit {
				adds[log] += int64(p.Count)
			}
		}
	}
	if !put.Commit && staged > 0 {
		if err := f.store.caps.stage(&f.store.counts, 0, staged); err != nil {
			return nil, err
		}
	}
	offsets, err := f.resolve(put.Offsets, adds)
	switch {
	case err != nil:
		return nil, err
	case put.Commit:
		return offsets, f.checkOffsets(offsets)
	}
	return offsets, f.checks.check(offsets)
}

// oneShot appends all of a transaction where it will stay.
func (f *flush) oneShot(row *putRow, offsets []partitionOffset) error {
	row.state.State = eos.StateCommitted
	for _, r := range row.requests {
		result, err := f.append(r, identity{}, nil)
		if err != nil {
			return err
		}
		row.state.Logs = append(row.state.Logs, r.Logs()...)
		for _, share := range result.Shares {
			row.state.Appended = addShare(row.state.Appended, TopicShare{r.Topic.Name, share.Partition, share.BaseOffset, share.RecordCount})
		}
	}
	sortShares(row.state.Appended)
	f.facts.transactions[row.ID] = &transaction{TransactionState: *row.state, ref: row.ref} // for repeats in this flush
	return f.setOffsets(offsets)
}

// beginTransaction opens a transaction and stages what came with it.
func (f *flush) beginTransaction(row *putRow, p *producerFacts) error {
	row.state.State = eos.StateOngoing
	txn := newTransaction()
	txn.TransactionState, txn.ref, txn.offsets = *row.state, row.ref, len(row.offsets) > 0
	f.facts.transactions[row.ID] = txn
	if p != nil {
		p.openRef, p.OpenTransaction = row.ref, row.ID
	}
	for _, r := range row.requests {
		if _, err := f.append(r, identity{}, txn); err != nil {
			return err
		}
	}
	return nil
}

// recordsBefore counts the record that an error names through all entries of a
// PUT, of which count records came before.
func recordsBefore(err error, count int) error {
	var refusal *eos.Error
	if errors.As(err, &refusal) && refusal.RecordIndex != nil {
		return refusal.AtRecord(count + *refusal.RecordIndex)
	}
	return err
}

func addShare(shares []TopicShare, more TopicShare) []TopicShare {
	for i := range shares {
		if shares[i].Topic == more.Topic && shares[i].Partition == more.Partition {
			shares[i].RecordCount += more.RecordCount // appended in order under one lock, so contiguous
			return shares
		}
	}
	return append(shares, more)
}

func sortShares(shares []TopicShare) {
	slices.SortFunc(shares, func(a, b TopicShare) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}
