package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"
)

// schema is golang-migrate's database.Driver on one SQL transaction, from Lock
// to Unlock: all migrations are done or none is, and nothing of it is a session's.
// golang-migrate's own driver holds an advisory lock of its session, which a
// transaction pooler leaves behind on a connection that is somebody else's by
// then.
type schema struct {
	ctx  context.Context // of Migrate: the interface has none
	conn *pgx.Conn
}

// lockTime is how long others may migrate before we give up. golang-migrate
// does after 15 s, but then leaves the statement running.
const lockTime = "14s"

// Lock begins the transaction and waits until it is the only one that
// migrates, also beside programs that use golang-migrate's own driver.
func (s *schema) Lock() error {
	const sql = `
		BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
		SET LOCAL statement_timeout = 0;
		SET LOCAL idle_in_transaction_session_timeout = 0;
		SET LOCAL lock_timeout = '%s';
		SELECT pg_advisory_xact_lock(%s);
		SET LOCAL lock_timeout = 0;
		CREATE TABLE IF NOT EXISTS schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)`
	var name, in string
	if err := s.conn.QueryRow(s.ctx, `SELECT current_database(), COALESCE(current_schema(), '')`).Scan(&name, &in); err != nil {
		return err
	}
	id, err := database.GenerateAdvisoryLockId(name, in, "schema_migrations")
	if err != nil {
		return err
	}
	return s.exec(fmt.Sprintf(sql, lockTime, id))
}

// Unlock commits what was done, unless a statement has failed.
func (s *schema) Unlock() error {
	if s.conn.PgConn().TxStatus() == 'E' {
		return s.exec(`ROLLBACK`) // the failure is told by whom it failed
	}
	tag, err := s.conn.Exec(s.ctx, `COMMIT`)
	if err == nil && tag.String() != sqlCommit {
		return errNotCommitted
	}
	return err
}

// Run runs the statements of one migration.
func (s *schema) Run(migration io.Reader) error {
	sql, err := io.ReadAll(migration)
	if err != nil {
		return err
	}
	return s.exec(string(sql))
}

// SetVersion saves the version that the schema now has.
func (s *schema) SetVersion(version int, dirty bool) error {
	const remove = `DELETE FROM schema_migrations`
	if version < 0 && !dirty {
		return s.exec(remove)
	}
	return s.exec(fmt.Sprintf(remove+`; INSERT INTO schema_migrations (version, dirty) VALUES (%d, %t)`, version, dirty))
}

// Version returns the schema's version; database.NilVersion when there is none.
func (s *schema) Version() (version int, dirty bool, err error) {
	var found bool
	if err := s.conn.QueryRow(s.ctx, `SELECT to_regclass('schema_migrations') IS NOT NULL`).Scan(&found); err != nil {
		return 0, false, err
	}
	if !found {
		return database.NilVersion, false, nil
	}
	err = s.conn.QueryRow(s.ctx, `SELECT version, dirty FROM schema_migrations`).Scan(&version, &dirty)
	if errors.Is(err, pgx.ErrNoRows) {
		return database.NilVersion, false, nil
	}
	return version, dirty, err
}

// Open is not used: the connection is there.
func (s *schema) Open(string) (database.Driver, error) { return nil, errors.ErrUnsupported }

// Drop is not used: nobody drops a log.
func (s *schema) Drop() error { return errors.ErrUnsupported }

// Close leaves the connection to whoever opened it.
func (s *schema) Close() error { return nil }

func (s *schema) exec(sql string) error {
	_, err := s.conn.Exec(s.ctx, sql)
	return err
}
