package faults_test

import (
	"context"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/jackc/pgx/v5"
)

func TestEveryFaultLeavesWhatItSays(t *testing.T) {
	t.Parallel()
	for fault, want := range map[faults.Fault]struct{ told, done bool }{
		faults.None:      {told: true, done: true},
		faults.CutBefore: {},
		faults.Abandon:   {},
		faults.Stall:     {},
		faults.CutAfter:  {done: true},
		faults.Late:      {done: true},
		faults.Delay:     {told: true, done: true},
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
			t.Run(fault.String()+"/"+mode.String(), func(t *testing.T) {
				t.Parallel()
				url := pgtest.New(t)
				direct := mustConnect(t, url)
				if _, err := direct.Exec(t.Context(), "CREATE TABLE done (i integer)"); err != nil {
					t.Fatal(err)
				}
				proxy := faults.New(t, url)
				conn := mustConnect(t, proxy.URL())
				proxy.Arm(fault)
				batch := &pgx.Batch{}
				batch.Queue("BEGIN")
				batch.Queue("INSERT INTO done VALUES (1)")
				if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
					t.Fatal(err)
				}
				_, err := conn.Exec(t.Context(), "COMMIT", mode)
				if told := err == nil; told != want.told {
					t.Errorf("COMMIT: %v, want told: %v", err, want.told)
				}
				done := mustCount(t, direct, want.done)
				if done != want.done {
					t.Errorf("done: %v, want %v", done, want.done)
				}
				if got := proxy.Commits(); got != 1 || proxy.Armed() != 0 {
					t.Errorf("%d commits seen, %d faults left; want 1, 0", got, proxy.Armed())
				}
			})
		}
	}
}

// The server skips what comes behind an error in a pipeline, a COMMIT too: there
// is no answer to it, and the next one is not taken for it.
func TestCutAfterASkippedCommitCutsNothing(t *testing.T) {
	t.Parallel()
	proxy := faults.New(t, pgtest.New(t))
	conn := mustConnect(t, proxy.URL())
	proxy.Arm(faults.CutAfter)
	batch := &pgx.Batch{}
	for _, sql := range []string{"BEGIN", "SELECT 1 / 0", "COMMIT"} {
		batch.Queue(sql)
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err == nil || conn.IsClosed() || proxy.Armed() != 0 {
		t.Fatalf("the pipeline: %v, %d faults left", err, proxy.Armed())
	}
	for _, sql := range []string{"ROLLBACK", "BEGIN", "COMMIT"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func TestCancelRequestsAreCounted(t *testing.T) {
	t.Parallel()
	proxy := faults.New(t, pgtest.New(t))
	conn := mustConnect(t, proxy.URL())
	if err := conn.PgConn().CancelRequest(t.Context()); err == nil {
		t.Log("the cancel request was swallowed")
	}
	if got := proxy.Cancels(); got != 1 {
		t.Errorf("%d cancel requests seen, want 1", got)
	}
}

func mustConnect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// mustCount reports whether the row is there. A COMMIT may still be on its way
// where one is wanted, so it asks again until the lock that it holds is gone.
func mustCount(t *testing.T, conn *pgx.Conn, wanted bool) bool {
	t.Helper()
	for range 10_000 {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM done").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 1 || !wanted {
			return n == 1
		}
	}
	return false
}
