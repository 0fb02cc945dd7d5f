package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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
	const sql = `SELECT producer_epoch FROM producers WHERE producer_id = $1`
	p := eos.Producer{ID: c.ProducerID}
	err := conn.QueryRow(ctx, sql, c.ProducerID).Scan(&p.Epoch)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	p.Known = err == nil
	if err := eos.CheckKnown(p, c.Epoch, ""); err != nil || repeat {
		return err
	}
	return eos.CheckFence(p, c.Epoch)
}

// Commit commits a transaction: its records get their offsets and its offsets
// are set, all or nothing (T1). A refused commit changes nothing.
func (s *Store) Commit(ctx context.Context, id string, caller Caller) (*TransactionState, error) {
	return s.end(ctx, id, caller, (*eos.Transaction).DecideCommit, func(ctx context.Context, conn *pgx.Conn, t *transaction, state *TransactionState) error {
		return commitStaged(ctx, conn, t.ref, state)
	})
}

// Abort aborts a transaction. One that is not known is recorded as aborted by
// the caller, so that a late begin of it is refused (T3).
func (s *Store) Abort(ctx context.Context, id string, caller Caller) (*TransactionState, error) {
	state, err := s.end(ctx, id, caller, (*eos.Transaction).DecideAbort, func(ctx context.Context, conn *pgx.Conn, t *transaction, state *TransactionState) error {
		state.State, state.AbortedBy = eos.StateAborted, eos.AbortedByClient
		return abort(ctx, conn, eos.AbortedByClient, t.ref)
	})
	if !errors.Is(err, eos.TransactionNotFound.Errorf("")) {
		return state, err
	}
	const sql = `
		INSERT INTO transactions (transaction_id, producer_id, producer_epoch, state, aborted_by, ended_at)
		VALUES ($1, NULLIF($2, -1), CASE WHEN $2 >= 0 THEN $3::bigint END, 'aborted', 'client', clock_timestamp())
		ON CONFLICT (transaction_id) DO NOTHING`
	if err := s.caps.begin(&s.counts, false); err != nil {
		return nil, err
	}
	recorded := int64(0)
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		// Refused before it is recorded: a refusal has no effect.
		if err := caller.check(ctx, tx.Conn, &eos.Transaction{ID: id, ProducerID: caller.ProducerID}, false); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sql, id, caller.ProducerID, caller.Epoch)
		recorded = tag.RowsAffected()
		return err
	})
	if err != nil {
		return nil, err
	}
	s.counts.transactions.Add(recorded)
	state, err = s.Abort(ctx, id, caller) // known now, whoever wrote it
	if err == nil && recorded > 0 {
		state.Repeated = false
	}
	return state, err
}

type endFunc func(ctx context.Context, conn *pgx.Conn, t *transaction, state *TransactionState) error

func (s *Store) end(ctx context.Context, id string, caller Caller, decide func(*eos.Transaction) (eos.Verdict, error), apply endFunc) (*TransactionState, error) {
	var state *TransactionState
	err := s.write(ctx, func(ctx context.Context, tx *tx) error {
		t, err := lockTransaction(ctx, tx.Conn, id)
		if err != nil {
			return err
		}
		verdict, refusal := decide(&t.Transaction)
		if err := caller.check(ctx, tx.Conn, &t.Transaction, refusal == nil && verdict == eos.Repeat); err != nil {
			return err
		}
		if refusal != nil {
			return refusal
		}
		if verdict == eos.Repeat {
			state, err = loadTransaction(ctx, tx.Conn, id)
			if err == nil {
				state.Repeated = true
			}
			return err
		}
		state = &TransactionState{Transaction: t.Transaction}
		return apply(ctx, tx.Conn, t, state)
	})
	if err != nil {
		return nil, err
	}
	if !state.Repeated {
		s.counts.openTransactions.Add(-1)
	}
	s.tail.drop(state.Logs...)
	return state, nil
}

func lockTransaction(ctx context.Context, conn *pgx.Conn, id string) (*transaction, error) {
	rows, err := conn.Query(ctx, sqlLockTransactions, []string{id})
	if err != nil {
		return nil, err
	}
	var found *transaction
	if err := readTransactions(rows, func(t *transaction) { found = t }); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, eos.TransactionNotFound.Errorf("transaction %q is not known", id)
	}
	return found, nil
}

// staged is the log of a transaction's records for one partition, and the end
// of the partition that they are to follow. Topic is nil when the partition is
// gone.
type staged struct {
	ID           int64
	PartitionID  int64
	Topic        *string
	Partition    *int
	RecordCount  int
	Offset       int64
	Bytes        int64
	MaxTimestamp int64
}

// commitStaged moves the staged records of a locked transaction to the ends of
// their partitions, sets its offsets, and records its fate.
func commitStaged(ctx context.Context, conn *pgx.Conn, ref int64, state *TransactionState) error {
	const lock = `
		SELECT p.partition_id
		FROM partitions p
		WHERE p.partition_id IN (SELECT partition_id FROM stagings WHERE transaction_ref = $1)
		ORDER BY p.partition_id
		FOR UPDATE`
	const ends = `
		SELECT s.staging_id, s.partition_id, t.topic, p.partition,
		       e.base_offset + e.record_count,
		       GREATEST(p.log_start_offset, COALESCE(b.base_offset + b.record_count, 0)),
		       GREATEST(p.log_start_bytes, COALESCE(b.end_bytes, 0)),
		       COALESCE(b.max_timestamp, -1)
		FROM stagings s
		CROSS JOIN LATERAL (SELECT base_offset, record_count
		                    FROM batches
		                    WHERE log_id = s.staging_id
		                    ORDER BY base_offset DESC LIMIT 1) e
		LEFT JOIN partitions p ON p.partition_id = s.partition_id
		LEFT JOIN topics t ON t.topic_id = p.topic_id
		LEFT JOIN LATERAL (SELECT base_offset, record_count, end_bytes, max_timestamp
		                   FROM batches
		                   WHERE log_id = s.partition_id
		                   ORDER BY base_offset DESC LIMIT 1) b ON true
		WHERE s.transaction_ref = $1
		ORDER BY t.topic, p.partition`
	// One statement a log: joined with a list of them, it would read all of batches.
	const move = `
		UPDATE batches
		SET log_id = $2,
		    base_offset = base_offset + $3,
		    end_bytes = end_bytes + $4,
		    max_timestamp = GREATEST(max_timestamp, $5),
		    appended_at = clock_timestamp()
		WHERE log_id = $1`
	const finish = `
		UPDATE transactions
		SET state = 'committed', appended = $2, expires_at = NULL, ended_at = clock_timestamp()
		WHERE transaction_ref = $1`
	if _, err := conn.Exec(ctx, lock, ref); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, ends, ref)
	if err != nil {
		return err
	}
	logs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[staged])
	if err != nil {
		return err
	}
	var partitions []int64
	moves := &pgx.Batch{}
	for _, l := range logs {
		if l.Topic == nil {
			return eos.UnknownTopic.Errorf("a topic that the transaction wrote to was deleted: abort it")
		}
		partitions = append(partitions, l.PartitionID)
		moves.Queue(move, l.ID, l.PartitionID, l.Offset, l.Bytes, l.MaxTimestamp)
		state.Appended = append(state.Appended, TopicShare{*l.Topic, *l.Partition, l.Offset, l.RecordCount})
	}
	if err := conn.SendBatch(ctx, moves).Close(); err != nil {
		return err
	}
	if err := applyStagedOffsets(ctx, conn, ref); err != nil {
		return err
	}
	appended, err := json.Marshal(state.Appended)
	if err != nil {
		return fmt.Errorf("encode shares: %w", err)
	}
	if _, err := conn.Exec(ctx, finish, ref, string(appended)); err != nil {
		return err
	}
	state.State, state.Logs = eos.StateCommitted, partitions
	return dropStaged(ctx, conn, ref)
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
	return dropStaged(ctx, conn, refs...)
}

func dropStaged(ctx context.Context, conn *pgx.Conn, refs ...int64) error {
	if _, err := conn.Exec(ctx, `DELETE FROM stagings WHERE transaction_ref = ANY ($1)`, refs); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, `DELETE FROM staged_offsets WHERE transaction_ref = ANY ($1)`, refs)
	return err
}

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
		return abort(ctx, tx.Conn, eos.AbortedByTimeout, ongoing...)
	})
	return aborted, err
}
