package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/eos-proxy/eos-proxy/migrations"
	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
)

// NewerSchemaError says that the database was migrated by a newer program.
type NewerSchemaError struct{ Found, Known uint }

// Error says which version was found and what to do.
func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the database has schema version %d; this program knows versions up to %d: start a newer one", e.Found, e.Known)
}

// Migrate brings the schema of a database up to this program's version. Any
// number of processes may call it at once, also through a transaction pooler.
// It returns a NewerSchemaError for a database that a newer program migrated.
func Migrate(ctx context.Context, connURL string) error {
	cfg, err := pgx.ParseConfig(connURL)
	if err != nil {
		return fmt.Errorf("database url: %w", err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // several statements at once, none of them prepared
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it has done its work or failed
	source, err := iofs.New(migrations.Files, ".")
	if err != nil {
		return fmt.Errorf("embedded migrations: %w", err)
	}
	m, err := migrate.NewWithInstance("embedded", source, "database", &schema{ctx, conn})
	if err != nil {
		return errors.Join(fmt.Errorf("open migrations: %w", err), source.Close())
	}
	defer m.Close() //nolint:errcheck // it closes the source, which is in memory
	if err := bringUp(m); err != nil {
		return err
	}
	return compress(ctx, conn)
}

func bringUp(m *migrate.Migrate) error {
	version, dirty, err := m.Version()
	switch {
	case errors.Is(err, migrate.ErrNilVersion):
	case err != nil:
		return fmt.Errorf("schema version: %w", err)
	case version > migrations.Latest:
		return &NewerSchemaError{Found: version, Known: migrations.Latest}
	case version == migrations.Latest && !dirty:
		return nil // with nobody's lock: a proxy that starts beside others waits for none of them
	}
	err = m.Up()
	switch {
	case errors.As(err, new(migrate.ErrDirty)):
		return fmt.Errorf("a migration was interrupted half way (%w): restore the schema by hand, then set schema_migrations.dirty to false", err)
	case err != nil && !errors.Is(err, migrate.ErrNoChange):
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// compress turns lz4 on for the columns that hold much, where the server has
// it: not every build does, and SQL alone cannot ask before it alters.
func compress(ctx context.Context, conn *pgx.Conn) error {
	const pending = `
		SELECT a.attname
		FROM pg_attribute a, pg_settings s
		WHERE a.attrelid = 'batches'::regclass
		  AND a.attname IN ('body', 'ends', 'flags', 'headers', 'timestamps', 'request_parts')
		  AND a.attstorage = 'e'
		  AND s.name = 'default_toast_compression' AND 'lz4' = ANY (s.enumvals)`
	rows, err := conn.Query(ctx, pending)
	if err != nil {
		return fmt.Errorf("ask for lz4: %w", err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("ask for lz4: %w", err)
	}
	if len(columns) == 0 {
		return nil
	}
	changes := make([]string, 0, 2*len(columns))
	for _, c := range columns {
		changes = append(changes, "ALTER COLUMN "+c+" SET STORAGE EXTENDED", "ALTER COLUMN "+c+" SET COMPRESSION lz4")
	}
	if _, err := conn.Exec(ctx, "ALTER TABLE batches "+strings.Join(changes, ", ")); err != nil {
		return fmt.Errorf("turn lz4 on: %w", err)
	}
	return nil
}
