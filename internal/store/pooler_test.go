package store

import (
	"context"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

// TestMigrateThroughAPooler: migrations of several proxies at once leave no
// lock behind on the pooler's connections.
func TestMigrateThroughAPooler(t *testing.T) {
	t.Parallel()
	direct := pgtest.New(t)
	bouncer := pgtest.NewBouncer(t, direct)
	errs := make(chan error)
	for range 5 {
		go func() { errs <- Migrate(context.Background(), bouncer.URL()) }()
	}
	for range 5 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	var locks int
	const sql = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	if err := newConn(t, direct).QueryRow(t.Context(), sql).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d advisory locks are left, %v", locks, err)
	}
}

// TestAPoolerIsFoundOut: the store asks nobody whether there is one, and what
// it writes by one connection of PostgreSQL it reads by another.
func TestAPoolerIsFoundOut(t *testing.T) {
	t.Parallel()
	direct := newDatabase(t)
	bouncer := pgtest.NewBouncer(t, direct)
	beside, through := newStore(t, direct), newStore(t, bouncer.URL())
	for s, want := range map[*Store]bool{beside: false, through: true} {
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.pooled.Load(); got != want {
			t.Errorf("found a pooler: %t, want %t", got, want)
		}
	}
	told := newStore(t, bouncer.URL()+"&default_query_exec_mode=exec")
	if err := told.Check(t.Context()); err != nil || told.pooled.Load() {
		t.Errorf("what the URL says is overruled (%v)", err)
	}
	mustTopic(t, through, "t", 1)
	for _, s := range []*Store{beside, through, told} {
		for range 20 {
			mustProduce(t, s, plain("a"))
			bouncer.Reconnect()
		}
	}
	for _, s := range []*Store{beside, through, told} {
		if log := mustLog(t, s, "t"); len(log) != 60 {
			t.Errorf("%d records, want 60: %v", len(log), log)
		}
	}
}

// TestFailedFlushesCostAPoolerNothing: two stores, of which each moves the end
// that the other one knows. More flushes are refused in the middle of their COPY
// than the pooler has connections.
func TestFailedFlushesCostAPoolerNothing(t *testing.T) {
	t.Parallel()
	direct := newDatabase(t)
	beside, through := newStore(t, direct), newStore(t, pgtest.NewBouncer(t, direct).URL())
	if err := through.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustTopic(t, beside, "t", 2)
	large := strings.Repeat("a", 900<<10) // still on its way when the first row is refused
	for range 20 {
		first := plain("a", large, large, large)
		for i := range first.records {
			first.records[i].Partition = min(i, 1)
		}
		mustProduce(t, through, first)
		through.writer.shared = 0 // it goes on from the end that it knows
		mustProduce(t, beside, plain("b").to(0))
	}
	if log := mustLog(t, through, "t"); len(log) != 100 {
		t.Errorf("%d records, want 100", len(log))
	}
}
