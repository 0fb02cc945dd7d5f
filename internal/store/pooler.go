package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A transaction pooler (PgBouncer) gives each SQL transaction the next free
// connection to PostgreSQL. Two things that the store does otherwise are not
// done behind one:
//
//   - Statements are not prepared: a pooler may look for them on another
//     connection, where they are not. One that follows them to where they are is
//     told by default_query_exec_mode in the connection URL, which is never
//     overruled.
//   - Rows are not copied in a pipeline. When something before the COPY fails, as
//     guards do, PostgreSQL skips the COPY and its data; PgBouncer from 1.21 on
//     waits for an answer to them and never gives the connection back
//     (github.com/pgbouncer/pgbouncer/pull/1471).

// modeParameter is the parameter of a connection URL that tells pgx how to use
// prepared statements.
const modeParameter = "default_query_exec_mode"

// unnamed lets connections describe a statement once, and then send it as a
// whole each time; arguments and results stay binary.
const unnamed = pgx.QueryExecModeCacheDescribe

// lookForPooler finds out whether a pooler is between us and PostgreSQL, and if
// so opens all connections anew. A pooler invents the process id that it tells
// when a connection begins, with which one would cancel. One that does not is
// known by a mode in the URL that prepares nothing.
func (s *Store) lookForPooler(ctx context.Context) error {
	if s.pooled.Load() {
		return nil
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	var pid uint32
	const sql = `SELECT pg_backend_pid()`
	if err := conn.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return fmt.Errorf("ask for the process id: %w", err)
	}
	prepares := conn.Conn().Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement
	if prepares && pid == conn.Conn().PgConn().PID() {
		return nil
	}
	s.pooled.Store(true)
	if s.told() {
		return nil
	}
	s.pool.Reset()
	s.log.Info("a pooler is in front of PostgreSQL: statements are not prepared; " + modeParameter +
		"=cache_statement in the URL prepares them nevertheless")
	return nil
}

// told reports whether the connection URL says how statements are used.
func (s *Store) told() bool { return strings.Contains(s.pool.Config().ConnString(), modeParameter) }
