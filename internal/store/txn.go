package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
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

// TransactionState is a transaction as it is now.
type TransactionState struct {
	eos.Transaction
	Appended  []TopicShare // of a committed one, by topic and partition
	ExpiresAt time.Time    // of an ongoing one
	Repeated  bool         // the request was done before; this is how it ended or stands
	Logs      []int64      // ids of the partitions that this request appended to
}

// TopicShare is where a transaction's records of one partition are. They are
// contiguous.
type TopicShare struct {
	Topic       string `json:"topic"`
	Partition   int    `json:"partition"`
	BaseOffset  int64  `json:"base_offset"`
	RecordCount int    `json:"record_count"`
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
	return offsets, f.fences.check(offsets)
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
		if a.Topic != b.Topic {
			if a.Topic < b.Topic {
				return -1
			}
			return 1
		}
		return a.Partition - b.Partition
	})
}

const sqlTransactionColumns = `
	transaction_id, state, COALESCE(aborted_by, ''), COALESCE(producer_id, -1), COALESCE(producer_epoch, 0),
	fingerprint, COALESCE(appended, '[]'), COALESCE(expires_at, 'epoch')`

// scan reads sqlTransactionColumns, behind others.
func (t *TransactionState) scan(row pgx.Row, before ...any) error {
	var fingerprint []byte
	var appended string
	err := row.Scan(append(before, &t.ID, &t.State, &t.AbortedBy, &t.ProducerID, &t.Epoch, &fingerprint, &appended, &t.ExpiresAt)...)
	if err != nil {
		return err
	}
	if fingerprint != nil {
		sum := eos.Fingerprint(fingerprint)
		t.Fingerprint = &sum
	}
	return json.Unmarshal([]byte(appended), &t.Appended)
}

func scanTransaction(row pgx.Row) (*TransactionState, error) {
	t := &TransactionState{}
	err := t.scan(row)
	return t, err
}

// loadTransaction returns a transaction, or nil when its id is unused.
func loadTransaction(ctx context.Context, conn *pgx.Conn, id string) (*TransactionState, error) {
	const sql = `SELECT` + sqlTransactionColumns + ` FROM transactions WHERE transaction_id = $1`
	t, err := scanTransaction(conn.QueryRow(ctx, sql, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return t, err
}

// Transaction returns a transaction as it is now, or eos.TransactionNotFound.
func (s *Store) Transaction(ctx context.Context, id string) (*TransactionState, error) {
	var t *TransactionState
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var err error
		t, err = loadTransaction(ctx, conn, id)
		return err
	})
	if err == nil && t == nil {
		return nil, unknownTransaction(id)
	}
	return t, err
}

// Transactions returns up to limit transactions whose ids follow after, in the
// order of their bytes, and whether there are more; of one state unless state
// is empty.
func (s *Store) Transactions(ctx context.Context, state eos.State, after string, limit int) (list []*TransactionState, more bool, err error) {
	const all = `SELECT` + sqlTransactionColumns + `
		FROM transactions
		WHERE transaction_id > $1
		ORDER BY transaction_id LIMIT $2`
	const some = `SELECT` + sqlTransactionColumns + `
		FROM transactions
		WHERE transaction_id > $1 AND state = $3
		ORDER BY transaction_id LIMIT $2`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		sql, args := all, []any{after, limit + 1}
		if state != "" {
			sql, args = some, append(args, string(state))
		}
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*TransactionState, error) { return scanTransaction(row) })
		return err
	})
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	return list, more, err
}
