package store

import (
	"context"
	"errors"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/migrations"
	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

func TestTenProxiesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	errs := make(chan error)
	for range 10 {
		go func() { errs <- Migrate(context.Background(), url) }()
	}
	for range 10 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s := newStore(t, url)
	mustTopic(t, s, "t", 1)
	mustProduce(t, s, plain("a"))
	mustHold(t, s, "0:0 a")
	if err := Migrate(t.Context(), url); err != nil {
		t.Errorf("migrate what is migrated: %v", err)
	}
	mustHold(t, s, "0:0 a")
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := newConn(t, url)
	mustExec(t, conn, "UPDATE schema_migrations SET version = version + 1")
	err := Migrate(t.Context(), url)
	var newer *NewerSchemaError
	if !errors.As(err, &newer) || *newer != (NewerSchemaError{Found: migrations.Latest + 1, Known: migrations.Latest}) {
		t.Errorf("Migrate: %v, want a NewerSchemaError", err)
	}
}

func TestInterruptedMigrationIsTold(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := newConn(t, url)
	mustExec(t, conn, "UPDATE schema_migrations SET dirty = true")
	if err := Migrate(t.Context(), url); err == nil || !errors.As(err, new(migrate.ErrDirty)) {
		t.Errorf("Migrate: %v, want that it is dirty", err)
	}
}

func TestMigrateDownAndUp(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := newConn(t, url)
	before := mustCatalog(t, conn)
	m := newMigration(t, url)
	if version, _, err := m.Version(); err != nil || version != migrations.Latest {
		t.Errorf("version %d, %v; the newest migration is %d", version, err, migrations.Latest)
	}
	if err := m.Down(); err != nil {
		t.Fatal(err)
	}
	if rest := mustCatalog(t, conn); len(rest) != 0 {
		t.Errorf("left after all migrations down: %v", rest)
	}
	if err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, mustCatalog(t, conn)); diff != "" {
		t.Errorf("after down and up (-before +after):\n%s", diff)
	}
}

// newMigration returns what migrates a database step by step.
func newMigration(t *testing.T, url string) *migrate.Migrate {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	source, err := iofs.New(migrations.Files, ".")
	if err != nil {
		t.Fatal(err)
	}
	driver, err := migratepgx.WithInstance(stdlib.OpenDB(*cfg), &migratepgx.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrate.NewWithInstance("embedded", source, "database", driver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// No group begins below the floor that was there before floors had names.
func TestEpochsOutliveTheirMigration(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := newConn(t, url)
	m := newMigration(t, url)
	mustExec(t, conn, `INSERT INTO group_epochs (group_id, floor) VALUES ('a', 7), ('b', 41)`)
	if err := m.Migrate(4); err != nil {
		t.Fatal(err)
	}
	if floor := mustGet[int64](t, conn, `SELECT floor FROM group_epochs WHERE one`); floor != 41 {
		t.Errorf("the floor is %d, want 41", floor)
	}
	if err := m.Migrate(5); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, url)
	mustTopic(t, s, "t", 1)
	if j := mustJoin(t, s, member("m1")); j.Epoch != 42 {
		t.Errorf("the first epoch is %d, want 42", j.Epoch)
	}
}

func TestSchemaSQLIsWhatMigrationsMake(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := newConn(t, url)
	schema, err := migrations.Files.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, string(schema))
	if err := compress(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	migrated := mustCatalog(t, newConn(t, newDatabase(t)))
	if len(migrated) < 50 {
		t.Fatalf("only %d lines of catalog: %v", len(migrated), migrated)
	}
	if diff := cmp.Diff(migrated, mustCatalog(t, conn)); diff != "" {
		t.Errorf("migrations/schema.sql is outdated (-migrated +schema.sql):\n%s", diff)
	}
}

// mustCatalog lists what PostgreSQL knows of the schema, in an order that does
// not depend on how it came about.
func mustCatalog(t testing.TB, conn *pgx.Conn) []string {
	t.Helper()
	const sql = `
		SELECT format('column %s.%s %s%s default %s identity %s collation %s storage %s compression %s',
		              c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
		              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
		              COALESCE(pg_get_expr(d.adbin, d.adrelid), '-'), a.attidentity,
		              a.attcollation::regcollation, a.attstorage, a.attcompression) AS line
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'schema_migrations'
		UNION ALL
		SELECT format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
		FROM pg_constraint
		WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid::regclass::text <> 'schema_migrations'
		UNION ALL
		SELECT format('index %s', indexdef)
		FROM pg_indexes
		WHERE schemaname = 'public' AND tablename <> 'schema_migrations'
		UNION ALL
		SELECT format('view %s %s', viewname, definition)
		FROM pg_views
		WHERE schemaname = 'public'
		UNION ALL
		SELECT format('sequence %s from %s by %s', sequencename, start_value, increment_by)
		FROM pg_sequences
		WHERE schemaname = 'public'
		ORDER BY line`
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
