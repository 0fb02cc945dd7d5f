package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// tryTimeout bounds one try of an SQL transaction, and settleTimeout the
	// search for the outcome of one whose answer was lost.
	tryTimeout    = 15 * time.Second
	settleTimeout = 10 * time.Second
	// conflictTries bounds how often a write that lost a race runs again, and
	// connectTries how often one that found its connection broken.
	conflictTries = 20
	connectTries  = 3

	sqlCommit = `COMMIT`
	sqlBegin  = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`
	// A frozen proxy must not hold its locks for ever, nor one that waits for
	// them wait for ever. Plans that scan are never right here: every table is
	// read by its keys, and a plan made while a table was empty is kept.
	// A server or role may have settings of its own that a write cannot use.
	sqlBounds = `
		SELECT set_config('lock_timeout', $3, true),
		       set_config('idle_in_transaction_session_timeout', $1, true),
		       set_config('statement_timeout', '0', true),
		       set_config('enable_seqscan', 'off', true),
		       set_config('enable_hashjoin', 'off', true),
		       set_config('enable_mergejoin', 'off', true),
		       set_config('plan_cache_mode', 'force_generic_plan', true),
		       set_config('synchronous_commit',
		                  CASE WHEN $2 AND current_setting('synchronous_commit') = 'off' THEN 'on'
		                       ELSE current_setting('synchronous_commit') END, true)`

	// idleTime is how long PostgreSQL waits for the next statement of a write,
	// and idleBytes how many bytes of it take a second more on a slow network:
	// the wait ends with the last byte.
	idleTime  = 2 * time.Second
	idleBytes = 1 << 20
)

// queueBegin queues the beginning of a write that will send so many bytes, and
// waits for a lock no longer than wait.
func (s *Store) queueBegin(batch *pgx.Batch, bytes int64, wait time.Duration) {
	batch.Queue(sqlBegin)
	batch.Queue(sqlBounds, s.boundsFor(bytes, wait)...)
}

// boundsFor returns the arguments of sqlBounds.
func (s *Store) boundsFor(bytes int64, wait time.Duration) []any {
	idle := idleTime + time.Duration(bytes)*time.Second/idleBytes
	return []any{milliseconds(idle), !s.unsafe, milliseconds(wait)}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

// tx is an SQL transaction that is open on conn.
type tx struct {
	*pgx.Conn
	again bool // whether an earlier try may have been committed
}

// doubt turns the refusal of an operation that cannot recognise what it did
// into one of unknown effect, if an earlier try may have been committed: others
// may have changed since then what the refusal is about.
func (tx *tx) doubt(err *error) {
	if tx.again && errors.As(*err, new(*eos.Error)) {
		*err = eos.Lost("the database did not answer the COMMIT, and the state is another by now")
	}
}

// write runs fn in an SQL transaction and commits it. fn may run several times,
// each time in a new transaction; it must do the same thing again. When the
// answer to COMMIT is lost, fn runs again on a fresh connection, meets the
// locks and keys of the first try, and so finds out what became of it (rule
// P12). The request's context cannot cancel any of this: a client that hangs
// up must not decide between done and not done.
func (s *Store) write(ctx context.Context, fn func(ctx context.Context, tx *tx) error) error {
	return s.run(ctx, func(ctx context.Context, conn *pgx.Conn, again bool) error {
		begin := &pgx.Batch{}
		s.queueBegin(begin, 0, patientWait)
		if err := conn.SendBatch(ctx, begin).Close(); err != nil {
			return err
		}
		if err := fn(ctx, &tx{conn, again}); err != nil {
			return err
		}
		return commit(ctx, conn, &pgx.Batch{})
	})
}

// exchange is write in two trips: what load queues, behind the BEGIN, is read in
// the first one; what decide then queues is sent with the COMMIT in the second.
// again is that of tx.
func (s *Store) exchange(
	ctx context.Context, load func(loads *pgx.Batch, again bool), decide func(tx *tx, saves *pgx.Batch) error,
) error {
	return s.run(ctx, func(ctx context.Context, conn *pgx.Conn, again bool) error {
		loads, saves := &pgx.Batch{}, &pgx.Batch{}
		s.queueBegin(loads, 0, patientWait)
		load(loads, again)
		if err := conn.SendBatch(ctx, loads).Close(); err != nil {
			return err
		}
		if err := decide(&tx{conn, again}, saves); err != nil {
			return err
		}
		return commit(ctx, conn, saves)
	})
}

// commit sends what is queued and a COMMIT in one trip.
func commit(ctx context.Context, conn *pgx.Conn, batch *pgx.Batch) error {
	if crash.Meets(crash.BeforeCommit) {
		_ = conn.SendBatch(ctx, batch).Close()
		crash.Now()
	}
	committed := false
	batch.Queue(sqlCommit).Exec(func(tag pgconn.CommandTag) error {
		committed = tag.String() == "COMMIT"
		return nil
	})
	sent := conn.SendBatch(ctx, batch)
	crash.At(crash.AfterCommitSent)
	err := sent.Close()
	switch {
	case refused(err):
		return err
	case err != nil:
		return &lostError{err}
	case !committed:
		return errNotCommitted
	}
	crash.At(crash.AfterCommit)
	return nil
}

// affected returns what adds the rows that a command affects to n, which each
// try begins at zero.
func affected[T int | int64](n *T) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*n += T(tag.RowsAffected())
		return nil
	}
}

// run is retry of a write that does not find out what a try before has done,
// or does not tell.
func (s *Store) run(ctx context.Context, try func(ctx context.Context, conn *pgx.Conn, again bool) error) error {
	lost := 0
	err := s.retry(ctx, func(ctx context.Context, conn *pgx.Conn, again bool) error {
		err := try(ctx, conn, again)
		if errors.As(err, new(*lostError)) {
			lost++
		}
		return err
	})
	fate := FateEither
	if isUnknown(err) {
		fate = FateUnknown
	}
	for range lost {
		s.foundOut(fate)
	}
	return err
}

// isUnknown reports whether an error says that nobody knows what was done.
func isUnknown(err error) bool {
	var refusal *eos.Error
	return errors.As(err, &refusal) && refusal.Effect == eos.EffectUnknown
}

// retry calls try on a connection until it is through: again when it lost a
// race or a connection, and again to settle what became of a try whose COMMIT
// was not answered. It returns try's own refusals as they are, and
// eos.Unavailable when the database cannot be reached.
func (s *Store) retry(ctx context.Context, try func(ctx context.Context, conn *pgx.Conn, again bool) error) error {
	ctx = context.WithoutCancel(ctx)
	var deadline time.Time // to settle by; zero while nothing was lost
	for tries := 1; ; tries++ {
		again := !deadline.IsZero()
		err := s.runOnce(ctx, again, try)
		switch {
		case err == nil:
			return nil
		case errors.As(err, new(*lostError)):
			crash.At(crash.Settling)
			if !again {
				s.log.Warn("finding out what became of a commit", "error", err)
				deadline = time.Now().Add(settleTimeout)
			}
		case lostRace(err) && tries < conflictTries:
		case unreachable(err) && tries < connectTries:
		case again && (lostRace(err) || unreachable(err) || sqlState(err) == lockTimeout):
		default:
			return s.refusal(err, again)
		}
		if again {
			if time.Now().After(deadline) {
				return &awayError{eos.Lost("the database did not answer the COMMIT and cannot be asked what became of it")}
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
}

// runOnce is one try on a connection of its own.
func (s *Store) runOnce(ctx context.Context, again bool, try func(ctx context.Context, conn *pgx.Conn, again bool) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return &unreachableError{err}
	}
	defer conn.Release()
	err = try(ctx, conn.Conn(), again)
	switch {
	case err == nil || errors.As(err, new(*lostError)):
		return err
	case conn.Conn().IsClosed():
		return &unreachableError{err}
	case conn.Conn().PgConn().TxStatus() != 'I':
		_, _ = conn.Exec(ctx, "ROLLBACK") // the pool drops a connection that is still in a transaction
	}
	return err
}

// read runs queries on a connection, under the request's context.
func (s *Store) read(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	for tries := 1; ; tries++ {
		err := s.runOnce(ctx, false, func(ctx context.Context, conn *pgx.Conn, _ bool) error { return fn(ctx, conn) })
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("read: %w", ctx.Err())
		case unreachable(err) && tries < connectTries:
			continue
		}
		return s.refusal(err, false)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
