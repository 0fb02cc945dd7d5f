// Package pgtest gives every test a database of its own.
//
// The databases live in the PostgreSQL that EOS_TEST_DATABASE_URL names; `make test` starts one
// (see the command in ./with). A test's database is cloned from a template, which is built once
// for each server and name, by whichever of the concurrently running test binaries comes first.
// The package knows nothing of schemas: who wants tables gives a function that makes them.
package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Env is the environment variable with the URL of the server for tests: a superuser's, or that
// of a role that may create databases.
const Env = "EOS_TEST_DATABASE_URL"

const (
	cloneTime = 2 * time.Minute // to make or drop one database on a busy machine
	buildTime = 5 * time.Minute
	maxName   = 63 - len(building) // PostgreSQL's limit for names
	building  = "_building"
)

// New returns the URL of a new, empty database, which is dropped when the test ends.
func New(t testing.TB) string {
	t.Helper()
	return clone(t, adminURL(t), "template0")
}

// NewFrom returns the URL of a new database that is a copy of the template name, and is dropped
// when the test ends. The first call with a name builds the template by calling build with the
// URL of an empty database; build must have closed its connections when it returns. A template is
// never rebuilt: a TemplateName is another one when what build makes it of is (at most 54 bytes).
func NewFrom(t testing.TB, name string, build func(ctx context.Context, url string) error) string {
	t.Helper()
	admin := adminURL(t)
	if err := template(admin, name, build); err != nil {
		t.Fatalf("template database %s: %v", name, err)
	}
	return clone(t, admin, name)
}

// TemplateName returns a name for NewFrom: the prefix, and a hash of all files that a template is made of.
func TemplateName(t testing.TB, prefix string, files fs.FS) string {
	t.Helper()
	sum := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		sum.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return prefix + hex.EncodeToString(sum.Sum(nil)[:6])
}

func adminURL(t testing.TB) string {
	t.Helper()
	admin := os.Getenv(Env)
	if admin == "" {
		t.Fatal("no database: run make test")
	}
	return admin
}

// built remembers the templates that this process knows to be there: name → *attempt.
var built sync.Map

type attempt struct {
	once sync.Once
	err  error
}

// template builds the template unless it is there, once per process.
func template(admin, name string, build func(ctx context.Context, url string) error) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("name of %d bytes, must be 1 to %d", len(name), maxName)
	}
	value, _ := built.LoadOrStore(admin+"\x00"+name, &attempt{})
	first := value.(*attempt) //nolint:errcheck // nothing else is stored
	first.once.Do(func() {
		// Other tests wait for it: not the context of the test that happens to come first.
		ctx, cancel := context.WithTimeout(context.Background(), buildTime)
		defer cancel()
		first.err = errors.New("the building test ended early") // by t.FailNow or a panic in build
		first.err = buildTemplate(ctx, admin, name, build)
	})
	return first.err
}

// buildTemplate builds the template under another name and renames it: a template is complete or
// missing, also if this process is killed. An advisory lock keeps other test binaries waiting.
func buildTemplate(ctx context.Context, admin, name string, build func(ctx context.Context, url string) error) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // releases the lock in any case
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended('pgtest ' || $1, 0))", name); err != nil {
		return err
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
		return err
	}
	temp := name + building
	if err := run(ctx, conn, "DROP DATABASE IF EXISTS "+quote(temp)+" WITH (FORCE)", "CREATE DATABASE "+quote(temp)+" TEMPLATE template0"); err != nil {
		return err
	}
	target, err := withDatabase(admin, temp)
	if err != nil {
		return err
	}
	if err := build(ctx, target); err != nil {
		return err
	}
	return run(ctx, conn, "ALTER DATABASE "+quote(temp)+" RENAME TO "+quote(name))
}

// clone copies the template for the test. STRATEGY FILE_COPY is many times faster than the
// default, which writes each page to the WAL.
func clone(t testing.TB, admin, template string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	target, err := withDatabase(admin, name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), cloneTime)
	defer cancel()
	err = asAdmin(ctx, admin, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template)+" STRATEGY FILE_COPY")
	t.Cleanup(func() {
		// The test's context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), cloneTime)
		defer cancel()
		if err := asAdmin(ctx, admin, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("make the test's database: %v", err)
	}
	return target
}

func asAdmin(ctx context.Context, admin string, statements ...string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is open on it
	return run(ctx, conn, statements...)
}

// run executes statements that may not stand in a transaction block.
func run(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// withDatabase returns the connection string, a URL or key=value pairs, with another database.
func withDatabase(admin, name string) (string, error) {
	if !strings.HasPrefix(admin, "postgres://") && !strings.HasPrefix(admin, "postgresql://") {
		return admin + " dbname=" + name, nil
	}
	target, err := url.Parse(admin)
	if err != nil {
		return "", fmt.Errorf("%s: %w", Env, err)
	}
	target.Path, target.RawPath = "/"+name, ""
	return target.String(), nil
}
