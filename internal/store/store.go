// Package store is the log in PostgreSQL. One exported method is one Kafka
// operation and one SQL transaction: it loads, asks package eos, and saves. It
// knows SQL and nothing of HTTP. Its data are the tables of migrations/schema.sql.
//
// Where things begin:
//
//   - An append, a PUT of a transaction, its commit: Op (op.go, append.go, txn.go),
//     many of which Flush (flush.go) writes in one SQL transaction. One try of it
//     (try.go) asks which it is sure of by what it knows (sure.go, facts.go), locks
//     and loads what the others need (keys.go, load.go, kept.go), decides (decide.go,
//     txn.go, commit.go, commitoffsets.go), and writes (save.go, pipeline.go) under
//     guards that compare what it knew (guard.go). settle.go tells the outcomes.
//   - All other writes: write and exchange (run.go), where lost COMMITs and lost
//     races are run again. Topics: topicchange.go. Producers: producers.go.
//     Transactions that end otherwise: txnend.go.
//   - Reading: Reader (reader.go), from memory (tail.go) or by one query; who waits
//     at the end of a log shares a probe (probe.go). Uploads go on by resume.go.
//   - Groups: group.go, then grouppoll.go; offsets in groupoffsets.go and commitcheck.go.
//   - Records leave: retention.go, then trim.go; what nobody needs: forget.go.
//
// Nothing on the way of an append is updated: a log is its rows in batches, dense
// in base_offset, and unique keys forbid what must not be true twice. Locks are
// taken in the order producers, transactions, groups, members, partitions,
// committed offsets, each sorted; all waits are bounded (run.go).
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config holds what an operator may set.
type Config struct {
	PoolSize  int          // connections at the most
	Caps      Caps         // how much may be kept; the zero value of a cap is no cap
	TailBytes int64        // of the last batches, kept in memory for those who follow the logs; 0: none
	Logger    *slog.Logger // nil: slog.Default()
	Unsafe    bool         // leave synchronous_commit off where the server has it off
}

// Store is the log. It is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	caps   Caps
	log    *slog.Logger
	unsafe bool
	counts counts
	totals totals
	tail   *tail
	prober prober

	failures failures

	trimming sync.Mutex // held during a Trim
	trimmed  int64      // the log that the last one came to; guarded by trimming

	writer *writer
	pooled atomic.Bool // whether there is a pooler in front of the server

	mu     sync.RWMutex
	topics map[string]*Topic // by name; guarded by mu; a stale entry is found out when it is written to
}

// Open returns a Store on the database of a connection URL. It does not
// connect yet.
func Open(ctx context.Context, url string, cfg Config) (*Store, error) {
	pc, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	if cfg.PoolSize > 0 {
		pc.MaxConns = int32(cfg.PoolSize)
	}
	pc.ConnConfig.ConnectTimeout = 5 * time.Second
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "eos-proxy"
	}
	pc.ConnConfig.RuntimeParams["client_encoding"] = "UTF8" // whatever the role's is
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Store{
		caps: cfg.Caps, log: cfg.Logger, unsafe: cfg.Unsafe, writer: newWriter(), topics: map[string]*Topic{},
		tail: newTail(cfg.TailBytes), prober: prober{logs: map[int64]*queue{}},
	}
	pc.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		neverCancel(&cc.Config)
		if s.pooled.Load() {
			cc.DefaultQueryExecMode = unnamed
		}
		return nil
	}
	s.pool, err = pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return s, nil
}

// Close closes all connections. No other method may run or be called.
func (s *Store) Close() {
	s.prober.running.Wait()
	s.pool.Close()
}

// Pool returns the state of the connection pool, for metrics.
func (s *Store) Pool() *pgxpool.Stat { return s.pool.Stat() }

// neverCancel makes a connection refuse to send cancel requests. pgx sends one
// whenever it gives a connection up, and PostgreSQL answers one that meets a
// COMMIT waiting for its standby by committing on the primary only. A cancel
// request is the only thing that dials after the connection is up.
func neverCancel(cc *pgconn.Config) {
	var connected atomic.Bool
	dial, after := cc.DialFunc, cc.AfterConnect
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected.Load() {
			return nil, errors.New("cancel requests are never sent")
		}
		return dial(ctx, network, addr)
	}
	cc.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		connected.Store(true)
		if after != nil {
			return after(ctx, conn)
		}
		return nil
	}
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// UnsafeError says that the server may lose what it acknowledged (rule P13).
type UnsafeError struct{ Setting, Value string }

// Error names the setting and what to do.
func (e *UnsafeError) Error() string {
	return fmt.Sprintf("the database runs with %s = %s and may lose acknowledged records: turn it on, or start with --allow-unsafe-database", e.Setting, e.Value)
}

// Check returns an UnsafeError when the server does not flush commits to disk
// (fsync, synchronous_commit, full_page_writes) or is a read-only standby. It
// also finds out whether a pooler is in front of it; until then none is supposed.
func (s *Store) Check(ctx context.Context) error {
	if err := s.lookForPooler(ctx); err != nil {
		return err
	}
	const sql = `
		SELECT current_setting('fsync'), current_setting('synchronous_commit'),
		       current_setting('full_page_writes'), pg_is_in_recovery()`
	var fsync, commit, pages string
	var standby bool
	if err := s.pool.QueryRow(ctx, sql).Scan(&fsync, &commit, &pages, &standby); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	switch {
	case standby:
		return errors.New("the database is a read-only standby")
	case fsync != "on":
		return &UnsafeError{"fsync", fsync}
	case commit == "off":
		return &UnsafeError{"synchronous_commit", commit}
	case pages != "on":
		return &UnsafeError{"full_page_writes", pages}
	}
	return nil
}

// Clock returns the database's time.
func (s *Store) Clock(ctx context.Context) (now time.Time, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sqlClock).Scan(&now)
	})
	return now, err
}
