package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A transaction pooler (PgBouncer) gives each SQL transaction the next free
// connection to PostgreSQL. What the store keeps in a session is prepared
// statements, which a pooler may look for on another connection, where they are
// not: so behind one every statement goes with its text. A pooler that follows
// prepared statements to where they are is told by default_query_exec_mode in
// the connection URL, which is never overruled.

// modeParameter is the parameter of a connection URL that tells pgx how to use
// prepared statements.
const modeParameter = "default_query_exec_mode"

// unnamed lets connections describe a statement once, and then send it as a
// whole each time; arguments and results stay binary.
const unnamed = pgx.QueryExecModeCacheDescribe

// lookForPooler finds out whether a pooler is between us and PostgreSQL, and if
// so opens all connections anew without named statements. A pooler invents the
// process id that it tells when a connection begins, with which one would cancel.
func (s *Store) lookForPooler(ctx context.Context) error {
	if s.pooled.Load() || strings.Contains(s.pool.Config().ConnString(), modeParameter) {
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
	if pid == conn.Conn().PgConn().PID() {
		return nil
	}
	s.pooled.Store(true)
	s.pool.Reset()
	s.log.Info("a pooler is in front of PostgreSQL: statements are not prepared; " + modeParameter +
		"=cache_statement in the URL prepares them nevertheless")
	return nil
}
