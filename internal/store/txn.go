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

// PutTransaction begins a transaction, or does a whole one; a repeat gets the
// transaction as it stands (T8). A refused one leaves its id unused.
func (s *Store) PutTransaction(ctx context.Context, put Put) (*TransactionState, error) {
	var state *TransactionState
	_, size := put.Size()
	for {
		err := s.writeBytes(ctx, size, func(ctx context.Context, tx *tx) error {
			var err error
			state, err = s.put(ctx, tx.Conn, put)
			return err
		})
		switch {
		case IsStale(err):
			continue // a topic changed between its reading and its lock
		case err != nil:
			return nil, err
		}
		if !state.Repeated {
			s.counts.transactions.Add(1)
			if state.State == eos.StateOngoing {
				s.counts.openTransactions.Add(1)
			}
		}
		s.tail.drop(state.Logs...)
		return state, nil
	}
}

func (s *Store) put(ctx context.Context, conn *pgx.Conn, put Put) (*TransactionState, error) {
	producer, timeout, err := lockProducer(ctx, conn, put.ProducerID)
	if err != nil {
		return nil, err
	}
	stored, err := loadTransaction(ctx, conn, put.ID)
	if err != nil {
		return nil, err
	}
	var known *eos.Transaction
	if stored != nil {
		known = &stored.Transaction
	}
	verdict, err := put.Decide(known, producer)
	if err != nil {
		return nil, err
	}
	if verdict == eos.Repeat {
		stored.Repeated = true
		return stored, nil
	}
	if err := s.caps.begin(&s.counts, !put.Commit); err != nil {
		return nil, err
	}
	if put.TimeoutMS > 0 {
		timeout = put.TimeoutMS
	}
	state := &TransactionState{Transaction: eos.Transaction{
		ID: put.ID, ProducerID: put.ProducerID, Epoch: put.Epoch, Fingerprint: &put.Fingerprint,
	}}
	if put.Commit {
		err := s.oneShot(ctx, conn, put, state)
		if errors.As(err, new(*eos.Error)) {
			// Another attempt at this PUT may have been committed while this one
			// waited for its locks: then that is what happened.
			stored, loadErr := loadTransaction(ctx, conn, put.ID)
			switch {
			case loadErr != nil:
				return nil, loadErr
			case stored != nil:
				return nil, errStale
			}
		}
		return state, err
	}
	return state, s.begin(ctx, conn, put, timeout, state)
}

// oneShot appends all of a transaction where it will stay, and records it as
// committed.
func (s *Store) oneShot(ctx context.Context, conn *pgx.Conn, put Put, state *TransactionState) error {
	const sql = `
		INSERT INTO transactions (transaction_id, producer_id, producer_epoch, fingerprint, state, appended, ended_at)
		VALUES ($1, NULLIF($2, -1), CASE WHEN $2 >= 0 THEN $3::bigint END, $4, 'committed', $5, clock_timestamp())`
	state.State = eos.StateCommitted
	requests, err := s.appendIn(ctx, conn, put, "")
	if err != nil {
		return err
	}
	for _, r := range requests {
		state.Logs = append(state.Logs, r.request.Logs()...)
		for _, share := range r.result.Shares {
			state.Appended = addShare(state.Appended, TopicShare{r.request.Topic.Name, share.Partition, share.BaseOffset, share.RecordCount})
		}
	}
	sortShares(state.Appended)
	offsets, err := resolveOffsets(ctx, conn, put.Offsets)
	if err != nil {
		return err
	}
	if err := applyOffsets(ctx, conn, offsets); err != nil {
		return err
	}
	appended, err := json.Marshal(state.Appended)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql, put.ID, put.ProducerID, put.Epoch, put.Fingerprint[:], string(appended))
	return err
}

// begin records a transaction as ongoing and stages what came with it.
func (s *Store) begin(ctx context.Context, conn *pgx.Conn, put Put, timeoutMS int, state *TransactionState) error {
	const sql = `
		INSERT INTO transactions (transaction_id, producer_id, producer_epoch, fingerprint, state, expires_at)
		VALUES ($1, NULLIF($2, -1), CASE WHEN $2 >= 0 THEN $3::bigint END, $4, 'ongoing',
		        clock_timestamp() + $5 * interval '1 millisecond')
		RETURNING transaction_ref, expires_at`
	state.State = eos.StateOngoing
	var ref int64
	err := conn.QueryRow(ctx, sql, put.ID, put.ProducerID, put.Epoch, put.Fingerprint[:], timeoutMS).Scan(&ref, &state.ExpiresAt)
	if err != nil {
		return err
	}
	if _, err := s.appendIn(ctx, conn, put, put.ID); err != nil {
		return err
	}
	return stageOffsets(ctx, conn, ref, put.Offsets)
}

// appended is a request of a PUT with its result.
type appended struct {
	request *Request
	result  Result
}

// appendIn appends the records of a PUT: to the logs, or staged in the
// transaction when transactionID is not empty.
func (s *Store) appendIn(ctx context.Context, conn *pgx.Conn, put Put, transactionID string) ([]appended, error) {
	if len(put.Produce) == 0 {
		return nil, nil
	}
	requests := make([]*Request, len(put.Produce))
	routeBy := eos.Identity{ProducerID: eos.NoProducer, Key: put.ID}
	topics := map[string]*Topic{}
	before := 0 // records of the entries before
	for i, p := range put.Produce {
		t, err := topics[p.Topic], error(nil)
		if t == nil {
			if t, err = loadTopic(ctx, conn, p.Topic); err != nil {
				return nil, err
			}
			topics[p.Topic] = t
		}
		a := eos.Append{Identity: eos.Identity{ProducerID: eos.NoProducer}, RecordCount: len(p.Records), TransactionID: transactionID}
		if requests[i], err = NewRequest(a, t, -1, p.Records, routeBy.Keyless(0)); err != nil {
			return nil, recordsBefore(err, before)
		}
		before += len(p.Records)
	}
	f := newFlush(s, requests)
	if err := f.load(ctx, conn, &pgx.Batch{}); err != nil {
		return nil, err
	}
	f.decide()
	done := make([]appended, len(requests))
	before = 0
	for i, o := range f.outcomes {
		if o.Err != nil {
			return nil, recordsBefore(o.Err, before)
		}
		before += requests[i].RecordCount
		done[i] = appended{requests[i], o.Result}
	}
	save := &pgx.Batch{}
	if err := f.save(ctx, conn, save); err != nil {
		return nil, err
	}
	return done, conn.SendBatch(ctx, save).Close()
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

// lockProducer locks the producer that a PUT names against a registration and
// against appends (T10).
func lockProducer(ctx context.Context, conn *pgx.Conn, id int64) (p eos.Producer, timeoutMS int, err error) {
	const lock = `
		SELECT producer_epoch, COALESCE(transactional_id, ''), transaction_timeout_ms
		FROM producers WHERE producer_id = $1 FOR NO KEY UPDATE`
	const open = `
		SELECT transaction_id FROM transactions
		WHERE producer_id = $1 AND state = 'ongoing'`
	p = eos.Producer{ID: id}
	if id == eos.NoProducer {
		return p, eos.DefaultTransactionTimeoutMS, nil
	}
	err = conn.QueryRow(ctx, lock, id).Scan(&p.Epoch, &p.TransactionalID, &timeoutMS)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, 0, nil
	}
	if err != nil {
		return p, 0, err
	}
	p.Known = true
	err = conn.QueryRow(ctx, open, id).Scan(&p.OpenTransaction)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return p, 0, err
	}
	return p, timeoutMS, nil
}

const sqlTransactionColumns = `
	transaction_id, state, COALESCE(aborted_by, ''), COALESCE(producer_id, -1), COALESCE(producer_epoch, 0),
	fingerprint, COALESCE(appended, '[]'), COALESCE(expires_at, 'epoch')`

func scanTransaction(row pgx.Row) (*TransactionState, error) {
	t := &TransactionState{}
	var fingerprint []byte
	var appended string
	err := row.Scan(&t.ID, &t.State, &t.AbortedBy, &t.ProducerID, &t.Epoch, &fingerprint, &appended, &t.ExpiresAt)
	if err != nil {
		return nil, err
	}
	if fingerprint != nil {
		sum := eos.Fingerprint(fingerprint)
		t.Fingerprint = &sum
	}
	return t, json.Unmarshal([]byte(appended), &t.Appended)
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
		return nil, eos.TransactionNotFound.Errorf("transaction %q is not known", id)
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
