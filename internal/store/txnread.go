package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

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

// OpenTransactions tells how many transactions are open, how many seconds the oldest has
// been, and how many bytes all of them have staged.
type OpenTransactions struct {
	Count         int64
	OldestSeconds float64
	StagedBytes   int64
}

// CountOpen counts the open transactions, for the caps and for metrics.
func (s *Store) CountOpen(ctx context.Context) (OpenTransactions, error) {
	const sql = `
		SELECT count(*),
		       COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - min(t.began_at)), 0)::float8,
		       COALESCE(sum(b.bytes), 0)::bigint
		FROM transactions t
		LEFT JOIN LATERAL (SELECT sum(e.end_bytes) AS bytes
		                   FROM stagings s
		                   CROSS JOIN LATERAL (SELECT end_bytes FROM batches
		                                       WHERE log_id = s.staging_id
		                                       ORDER BY base_offset DESC LIMIT 1) e
		                   WHERE s.transaction_ref = t.transaction_ref) b ON true
		WHERE t.state = 'ongoing'`
	var o OpenTransactions
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql).Scan(&o.Count, &o.OldestSeconds, &o.StagedBytes)
	})
	if err == nil {
		s.counts.openTransactions.Store(o.Count)
		s.counts.stagedBytes.Store(o.StagedBytes)
	}
	return o, err
}
