package pgtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestEveryTestHasADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	name := "pgtest_" + t.Name()
	forget(t, name)
	var builds atomic.Int32
	build := func(ctx context.Context, url string) error {
		builds.Add(1)
		return query(ctx, url, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
	}
	urls := make([]string, 4)
	t.Run("clones", func(t *testing.T) {
		for i := range urls {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				urls[i] = NewFrom(t, name, build)
				conn := mustConnect(t, urls[i])
				var rows int
				if err := conn.QueryRow(t.Context(), "INSERT INTO kept VALUES (8) RETURNING (SELECT count(*) FROM kept)").Scan(&rows); err != nil || rows != 1 {
					t.Errorf("%d rows, %v; want the template's one", rows, err)
				}
			})
		}
	})
	if got := builds.Load(); got != 1 {
		t.Errorf("%d builds, want 1", got)
	}
	for _, url := range urls {
		if conn, err := pgx.Connect(t.Context(), url); err == nil || !strings.Contains(err.Error(), "3D000") {
			t.Errorf("the database outlives its test: %v, %v", conn, err)
		}
	}
}

// Two test binaries: nothing of the process remembers the template.
func TestTemplateIsBuiltOncePerServer(t *testing.T) {
	t.Parallel()
	admin, name := adminURL(t), "pgtest_"+t.Name()
	forget(t, name)
	var builds atomic.Int32
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			err := buildTemplate(t.Context(), admin, name, func(ctx context.Context, url string) error {
				builds.Add(1)
				return query(ctx, url, "CREATE TABLE kept (id int)")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := builds.Load(); got != 1 {
		t.Errorf("%d builds, want 1", got)
	}
}

func TestFailedBuildLeavesNoTemplate(t *testing.T) {
	t.Parallel()
	admin, name := adminURL(t), "pgtest_"+t.Name()
	forget(t, name)
	failed := errors.New("on purpose")
	for _, want := range []error{failed, nil} { // the second finds what the first left
		err := buildTemplate(t.Context(), admin, name, func(context.Context, string) error { return want })
		if !errors.Is(err, want) {
			t.Errorf("buildTemplate: %v, want %v", err, want)
		}
	}
}

func TestNewIsEmpty(t *testing.T) {
	t.Parallel()
	conn := mustConnect(t, New(t))
	var tables int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables, %v", tables, err)
	}
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for admin, want := range map[string]string{
		"postgres://postgres@/postgres?host=%2Frun&port=5432": "postgres://postgres@/x?host=%2Frun&port=5432",
		"postgresql://u:p@h:1":                                "postgresql://u:p@h:1/x",
		"host=/run user=u dbname=postgres":                    "host=/run user=u dbname=postgres dbname=x",
	} {
		if got, err := withDatabase(admin, "x"); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", admin, got, err, want)
		}
	}
	config, err := pgx.ParseConfig("host=/run user=u dbname=postgres dbname=x")
	if err != nil || config.Database != "x" {
		t.Errorf("the last dbname must win: %v, %v", config, err)
	}
}

// forget drops a template now and at the end: a server may be used for several runs.
func forget(t *testing.T, name string) {
	t.Helper()
	admin := adminURL(t)
	drop := func(ctx context.Context) {
		if err := asAdmin(ctx, admin, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	}
	drop(t.Context())
	t.Cleanup(func() { drop(context.Background()) })
}

func query(ctx context.Context, url, sql string) error { return asAdmin(ctx, url, sql) }

// mustConnect leaves the connection open at the end of the test: the database is dropped anyway.
func mustConnect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
