package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Request is one produce request, routed and packed.
type Request struct {
	eos.Append
	Topic     *Topic // by which it was routed
	Partition int    // that the path names; -1 when it names the topic only
	Parts     []Part
	Largest   int64 // bytes of its largest record
	LargestAt int   // where in the request that is
}

// Part is the share of one partition in a request.
type Part struct {
	Partition int
	Indexes   []int // positions in the request; nil when this is all of it
	*Packed
}

// Scope returns the id whose sequence the request continues (P7): that of the
// partition or topic that its path names.
func (r *Request) Scope() int64 {
	if r.Partition >= 0 {
		return r.Topic.PartitionIDs[r.Partition]
	}
	return r.Topic.ID
}

// Share is where a request's records of one partition are. BaseOffset is -1 in
// a transaction that is not committed.
type Share struct {
	Partition     int   `json:"partition"`
	BaseOffset    int64 `json:"base_offset"`
	RecordCount   int   `json:"record_count"`
	RecordIndexes []int `json:"record_indexes,omitempty"`
}

// Result is the answer to a produce request.
type Result struct {
	Shares       []Share
	Staged       bool  // in a transaction: the offsets are not those of the log
	NextSequence int64 // -1 for a request without sequence
	Repeated     bool  // it was stored before: this is its first answer
}

// Outcome is a Result or the error that refused the request.
type Outcome struct {
	Result Result
	Err    error
}

// errStale says that a request was routed by a topic that is another by now.
var errStale = errors.New("the topic has changed")

// IsStale reports whether a request must be routed again by the topic as it is
// now.
func IsStale(err error) bool { return errors.Is(err, errStale) }

// Append appends all that is right of a group of requests in one SQL
// transaction, in their order, and returns the outcome of each. An outcome may
// be IsStale. When the database refuses the group, each request goes alone, so
// that none fails for another's fault.
func (s *Store) Append(ctx context.Context, requests []*Request) []Outcome {
	outcomes, err := s.appendGroup(ctx, requests)
	if err == nil {
		return outcomes
	}
	var known *eos.Error
	if len(requests) == 1 || errors.As(err, &known) {
		return slices.Repeat([]Outcome{{Err: err}}, len(requests))
	}
	outcomes = make([]Outcome, 0, len(requests))
	for _, r := range requests {
		outcomes = append(outcomes, s.Append(ctx, []*Request{r})...)
	}
	return outcomes
}

func (s *Store) appendGroup(ctx context.Context, requests []*Request) ([]Outcome, error) {
	var outcomes []Outcome
	resent := false
	size := int64(0)
	for _, r := range requests {
		size += r.Bytes()
	}
	var f *flush
	err := s.run(ctx, true, func(ctx context.Context, conn *pgx.Conn, again bool) error {
		f = newFlush(s, requests)
		if resent = again; again {
			for i, r := range requests {
				if !r.Any() {
					f.refuse(i, errAnonymous)
				}
			}
		}
		begin := &pgx.Batch{}
		s.queueBegin(begin, size)
		if err := f.load(ctx, conn, begin); err != nil {
			return err
		}
		f.decide()
		outcomes = f.outcomes
		save := &pgx.Batch{}
		if err := f.save(ctx, conn, save); err != nil {
			return err
		}
		return commit(ctx, conn, save)
	})
	if err == nil {
		s.tail.keep(f)
		return outcomes, nil
	}
	if !resent {
		return nil, err
	}
	for i, r := range requests {
		outcomes[i] = Outcome{Err: err}
		if !r.Any() {
			outcomes[i].Err = errAnonymous
		}
	}
	return outcomes, nil
}

// errAnonymous is the outcome of a request without identity whose COMMIT was
// not answered: sent again it would not be recognised.
var errAnonymous = eos.Lost("the database did not answer the COMMIT, and the request has no identity to ask by")

// logEnd is the end of a log, from which the next batch goes on.
type logEnd struct {
	offset       int64
	bytes        int64
	maxTimestamp int64
}

// transaction is a transaction as the writer sees it, locked.
type transaction struct {
	eos.Transaction
	ref      int64
	stagings map[int64]int64 // staging id by partition id
	staged   int64           // bytes
}

// kept is a stored request: what decides about its repeat, and its answer.
type kept struct {
	eos.Stored
	result Result
}

// identity is the key of a kept request in the tables.
type identity struct {
	producer, scope, sequence int64
	key                       string
}

// flush is one group of requests on its way into the log: loaded, decided,
// saved. Its maps hold the state under the locks of the SQL transaction, and
// after decide the state as it will be.
type flush struct {
	store    *Store
	requests []*Request
	outcomes []Outcome
	refused  []bool

	now          int64 // the database's clock, in milliseconds since 1970
	producers    map[int64]*eos.Producer
	transactions map[string]*transaction
	topics       map[int64]topicNow
	ends         map[int64]*logEnd  // by log id; absent: the partition is gone
	next         map[[2]int64]int64 // next sequence by producer and scope
	kept         map[identity]*kept
	newStagings  [][2]int64 // transaction ref, partition id
	rows         []row
}

// topicNow is the part of a topic that decides about a request.
type topicNow struct {
	partitionCount int
	maxRecordBytes int64
}

func newFlush(s *Store, requests []*Request) *flush {
	return &flush{
		store: s, requests: requests,
		outcomes:     make([]Outcome, len(requests)),
		refused:      make([]bool, len(requests)),
		producers:    map[int64]*eos.Producer{},
		transactions: map[string]*transaction{},
		topics:       map[int64]topicNow{},
		ends:         map[int64]*logEnd{},
		next:         map[[2]int64]int64{},
		kept:         map[identity]*kept{},
	}
}

func (f *flush) refuse(i int, err error) {
	f.outcomes[i] = Outcome{Err: err}
	f.refused[i] = true
}

// decide fills in the outcome of each request, and the rows of those that are
// new. A request sees those before it in the group as stored.
func (f *flush) decide() {
	for i, r := range f.requests {
		if f.refused[i] {
			continue
		}
		result, err := f.decideOne(r)
		if err != nil {
			f.refuse(i, err)
			continue
		}
		f.outcomes[i] = Outcome{Result: result}
	}
	// Two proxies that insert the same identities in two orders would deadlock.
	slices.SortStableFunc(f.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.producer, b.producer),
			cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.key, b.key))
	})
}

func (f *flush) decideOne(r *Request) (Result, error) {
	now, ok := f.topics[r.Topic.ID]
	if !ok || now.partitionCount != len(r.Topic.PartitionIDs) {
		return Result{}, errStale
	}
	id, txn := f.identityOf(r)
	facts := eos.Facts{Producer: eos.Producer{ID: r.ProducerID}, Next: f.next[[2]int64{r.ProducerID, r.Scope()}]}
	if p := f.producers[r.ProducerID]; p != nil {
		facts.Producer = *p
	}
	if txn != nil {
		facts.Transaction = &txn.Transaction
	}
	stored := f.kept[id]
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
	if r.Largest > now.maxRecordBytes {
		return Result{}, eos.MessageTooLarge.Errorf("the record has %d bytes of key, value and headers; topic %q takes %d",
			r.Largest, r.Topic.Name, now.maxRecordBytes).AtRecord(r.LargestAt)
	}
	return f.append(r, id, txn)
}

// identityOf returns the key under which the request is kept, and the
// transaction that it names, if it is known.
func (f *flush) identityOf(r *Request) (identity, *transaction) {
	txn := f.transactions[r.TransactionID]
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

// append puts a request that the rules accept at the end of its logs.
func (f *flush) append(r *Request, id identity, txn *transaction) (Result, error) {
	logs, err := f.logsOf(r, txn)
	if err != nil {
		return Result{}, err
	}
	result := Result{NextSequence: -1, Staged: txn != nil, Shares: make([]Share, len(r.Parts))}
	first := len(f.rows)
	for i, p := range r.Parts {
		end := f.ends[logs[i]]
		result.Shares[i] = Share{Partition: p.Partition, BaseOffset: end.offset, RecordCount: p.Count, RecordIndexes: p.Indexes}
		f.rows = append(f.rows, f.rowAt(logs[i], end, p.Packed))
		f.rows[len(f.rows)-1].staged = txn != nil
		end.offset += int64(p.Count)
	}
	if r.HasProducer() {
		result.NextSequence = r.Sequence + int64(r.RecordCount)
		f.next[[2]int64{r.ProducerID, r.Scope()}] = result.NextSequence
	}
	if r.Any() {
		row := &f.rows[first]
		row.identity, row.epoch, row.fingerprint, row.requestCount = id, r.Epoch, r.Fingerprint, r.RecordCount
		if txn != nil {
			row.transactionRef = txn.ref
		}
		if len(r.Parts) > 1 {
			parts, err := json.Marshal(result.Shares)
			if err != nil {
				return Result{}, fmt.Errorf("encode shares: %w", err)
			}
			row.parts = string(parts)
		}
		f.kept[id] = &kept{eos.Stored{RecordCount: r.RecordCount, Fingerprint: r.Fingerprint}, result}
	}
	return result, nil
}

// logsOf returns the log that each part goes to: its partition's, or in a
// transaction its staging's.
func (f *flush) logsOf(r *Request, txn *transaction) ([]int64, error) {
	logs := make([]int64, len(r.Parts))
	size := int64(0)
	for i, p := range r.Parts {
		logs[i] = r.Topic.PartitionIDs[p.Partition]
		size += p.Size
		if _, ok := f.ends[logs[i]]; !ok && txn == nil {
			return nil, errStale
		}
	}
	if txn == nil {
		return logs, nil
	}
	if err := f.store.caps.stage(&f.store.counts, txn.staged, size); err != nil {
		return nil, err
	}
	txn.staged += size
	for i, partition := range logs {
		id, ok := txn.stagings[partition]
		if !ok {
			// Ids below zero stand for those that save draws.
			id = -int64(len(f.newStagings)) - 1
			f.newStagings = append(f.newStagings, [2]int64{txn.ref, partition})
			txn.stagings[partition] = id
			f.ends[id] = &logEnd{maxTimestamp: -1}
		}
		logs[i] = id
	}
	return logs, nil
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
