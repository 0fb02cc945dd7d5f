package store

import (
	"context"
	"errors"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Caller is the producer that the headers of a request name.
type Caller struct {
	ProducerID int64 // eos.NoProducer when the request names none
	Epoch      int64
}

// check refuses a caller who is not the transaction's, or was replaced; the
// latter not if it repeats what it did before.
func (c Caller) check(ctx context.Context, conn *pgx.Conn, t *eos.Transaction, repeat bool) error {
	if err := t.CheckProducer(c.ProducerID); err != nil || c.ProducerID == eos.NoProducer {
		return err
	}
	p, err := c.producer(ctx, conn)
	if err != nil {
		return err
	}
	return c.checkEpoch(p, repeat)
}

// checkGiveUp refuses a caller to whom no transaction can be bound.
func (c Caller) checkGiveUp(ctx context.Context, conn *pgx.Conn) error {
	if c.ProducerID == eos.NoProducer {
		return nil
	}
	p, err := c.producer(ctx, conn)
	if err != nil {
		return err
	}
	return eos.CheckGiveUp(p, c.Epoch)
}

// producer returns what is stored of the producer that the caller names, without
// its open transaction.
func (c Caller) producer(ctx context.Context, conn *pgx.Conn) (eos.Producer, error) {
	const sql = `
		SELECT producer_epoch, COALESCE(transactional_id, '')
		FROM producers
		WHERE producer_id = $1`
	p := eos.Producer{ID: c.ProducerID}
	err := conn.QueryRow(ctx, sql, c.ProducerID).Scan(&p.Epoch, &p.TransactionalID)
	if p.Known = err == nil; errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return p, err
}

func (c Caller) checkEpoch(p eos.Producer, repeat bool) error {
	if err := eos.CheckKnown(p, c.Epoch, ""); err != nil || repeat {
		return err
	}
	return eos.CheckFence(p, c.Epoch)
}

// Abort aborts a transaction. One that is not known is recorded as aborted by
// the caller, so that a late begin of it is refused (T3).
func (s *Store) Abort(ctx context.Context, id string, caller Caller) (*TransactionState, error) {
	state, err := s.abortKnown(ctx, id, caller)
	if !errors.Is(err, eos.TransactionNotFound.Errorf("")) {
		return state, err
	}
	const sql = `
		INSERT INTO transactions (transaction_id, producer_id, producer_epoch, state, aborted_by, ended_at)
		VALUES ($1, NULLIF($2::bigint, -1), CASE WHEN $2 >= 0 THEN $3::bigint END, 'aborted', 'client', clock_timestamp())
		ON CONFLICT (transaction_id) DO NOTHING`
	if err := s.caps.begin(&s.counts, false); err != nil {
		return nil, err
	}
	recorded := int64(0)
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		tag, err := tx.Exec(ctx, sql, id, caller.ProducerID, caller.Epoch)
		recorded = tag.RowsAffected()
		if err != nil || recorded == 0 {
			return err // recorded before, be it by a try whose answer was lost, and whoever was replaced since
		}
		return caller.checkGiveUp(ctx, tx.Conn) // a refusal undoes the record
	})
	if err != nil {
		return nil, err
	}
	s.counts.transactions.Add(recorded)
	state, err = s.abortKnown(ctx, id, caller) // whoever wrote it
	if err == nil && recorded > 0 {
		state.Repeated = false
	}
	return state, err
}

// abortKnown aborts a transaction that is known.
func (s *Store) abortKnown(ctx context.Context, id string, caller Caller) (*TransactionState, error) {
	var state *TransactionState
	err := s.write(ctx, func(ctx context.Context, tx *tx) error {
		t, err := lockTransaction(ctx, tx.Conn, id)
		if err != nil {
			return err
		}
		verdict, refusal := t.DecideAbort()
		if err := caller.check(ctx, tx.Conn, &t.Transaction, refusal == nil && verdict == eos.Repeat); err != nil {
			return err
		}
		if refusal != nil {
			return refusal
		}
		state = &t.TransactionState
		if state.Repeated = verdict == eos.Repeat; state.Repeated {
			return nil
		}
		state.State, state.AbortedBy = eos.StateAborted, eos.AbortedByClient
		return abort(ctx, tx.Conn, eos.AbortedByClient, t.ref)
	})
	if err != nil {
		return nil, err
	}
	if !state.Repeated {
		s.counts.openTransactions.Add(-1)
	}
	return state, nil
}

func lockTransaction(ctx context.Context, conn *pgx.Conn, id string) (*transaction, error) {
	const sql = `SELECT transaction_ref, ` + sqlTransactionColumns + ` FROM transactions WHERE transaction_id = $1 FOR UPDATE`
	t := &transaction{}
	err := t.scan(conn.QueryRow(ctx, sql, id), &t.ref)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, unknownTransaction(id)
	}
	return t, err
}

func unknownTransaction(id string) error {
	return eos.TransactionNotFound.Errorf("transaction %q is not known", id)
}

// abort records the fate of locked transactions and deletes what they staged;
// their sequences and keys are unused again (T7).
func abort(ctx context.Context, conn *pgx.Conn, by string, refs ...int64) error {
	const finish = `
		UPDATE transactions
		SET state = 'aborted', aborted_by = $2, expires_at = NULL, ended_at = clock_timestamp()
		WHERE transaction_ref = ANY ($1)`
	const unstage = `
		DELETE FROM batches
		WHERE log_id = ANY (ARRAY (SELECT staging_id FROM stagings WHERE transaction_ref = ANY ($1)))`
	if _, err := conn.Exec(ctx, finish, refs, by); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, unstage, refs); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, sqlDropStagings, refs); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, sqlDropStagedOffsets, refs)
	return err
}

const (
	sqlDropStagings      = `DELETE FROM stagings WHERE transaction_ref = ANY ($1)`
	sqlDropStagedOffsets = `DELETE FROM staged_offsets WHERE transaction_ref = ANY ($1)`
)

// abortOpen aborts the open transaction of a producer that was just fenced
// (T6), and returns its id, or the empty text when there is none.
func abortOpen(ctx context.Context, conn *pgx.Conn, producerID int64) (string, error) {
	const sql = `
		SELECT transaction_ref, transaction_id
		FROM transactions
		WHERE producer_id = $1 AND state = 'ongoing'
		FOR UPDATE`
	var ref int64
	var id string
	err := conn.QueryRow(ctx, sql, producerID).Scan(&ref, &id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return id, abort(ctx, conn, eos.AbortedByFencing, ref)
}

// AbortExpired aborts up to limit transactions that are past their timeout by
// the database's clock (T5), in one SQL transaction, and returns how many there
// were.
func (s *Store) AbortExpired(ctx context.Context, limit int) (int, error) {
	const expired = `
		SELECT transaction_ref
		FROM transactions
		WHERE state = 'ongoing' AND expires_at <= (SELECT clock_timestamp()) -- read once, so that the index bounds it
		ORDER BY expires_at
		LIMIT $1`
	const lock = `
		SELECT transaction_ref, state, COALESCE(aborted_by, '')
		FROM transactions
		WHERE transaction_ref = ANY ($1)
		ORDER BY transaction_ref
		FOR UPDATE`
	var refs []int64
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, expired, limit)
		if err != nil {
			return err
		}
		refs, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	if err != nil || len(refs) == 0 {
		return 0, err
	}
	aborted := 0
	var tried []int64 // by the tries so far
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		sql := lock + " SKIP LOCKED" // who holds one ends it
		if tx.again {
			sql = lock // it may be our own lost try, which is to be waited for
		}
		rows, err := tx.Query(ctx, sql, refs)
		if err != nil {
			return err
		}
		var ref int64
		var state eos.State
		var by string
		var ongoing []int64
		aborted = 0
		err = each(rows, []any{&ref, &state, &by}, func() {
			switch {
			case state == eos.StateOngoing:
				ongoing = append(ongoing, ref)
				aborted++
			case by == eos.AbortedByTimeout && slices.Contains(tried, ref):
				aborted++ // by the try whose answer was lost
			}
		})
		if err != nil {
			return err
		}
		tried = append(tried, ongoing...)
		err = abort(ctx, tx.Conn, eos.AbortedByTimeout, ongoing...)
		if aborted > 0 {
			crash.At(crash.TimeoutSweep)
		}
		return err
	})
	return aborted, err
}
