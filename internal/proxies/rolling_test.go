package proxies_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

const (
	partitions = 3 // of each topic
	rounds     = 2 // in which each proxy is restarted
)

// TestRollingRestartUnderLoad: three proxies over one PostgreSQL and one over
// PgBouncer in transaction mode are restarted in turn while everything that
// clients can do goes on, each request at the next proxy. Nothing is lost,
// doubled, out of order or answered with another 5xx than 503.
func TestRollingRestartUnderLoad(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	bouncer := pgtest.NewBouncer(t, database)
	var proxies []*proxy
	for i, url := range []string{database, database, database, bouncer.URL()} {
		proxies = append(proxies, newProxy(t, fmt.Sprint(i), url)) // all bring the schema up
	}
	for _, p := range proxies {
		p.awaitReady()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	f := newFleet(proxies...)
	for _, topic := range []string{"sequenced", "keyed", "left", "right", "processed"} {
		r := request{method: http.MethodPut, path: "/v1/topics/" + topic, body: map[string]any{"partition_count": partitions}}
		if !f.must(ctx, r, &struct{}{}, http.StatusOK, http.StatusCreated) {
			t.Fatal(f.faults)
		}
	}

	told, processed := &ledger{values: map[place]string{}}, &ledger{values: map[place]string{}}
	w := &writing{fleet: f, ledger: told, life: ctx}
	following := newFollowing(ctx, f)
	working, stopWorking := context.WithCancel(ctx)
	var workers, writers sync.WaitGroup
	g := &group{f, processed}
	for i := range 3 {
		workers.Go(func() { g.work(working, fmt.Sprintf("worker-%d", i), i == 2) })
	}
	loading, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	for i := range 2 {
		writers.Go(func() { w.sequenced(loading, fmt.Sprintf("sequenced-%d", i)) })
		writers.Go(func() { w.keyed(loading, fmt.Sprintf("keyed-%d", i)) })
		writers.Go(func() { w.oneShot(loading, fmt.Sprintf("oneshot-%d", i)) })
		writers.Go(func() { w.staged(loading, fmt.Sprintf("staged-%d", i)) })
	}

	roll(ctx, t, f, bouncer, told, processed)
	stopLoad()
	writers.Wait()
	sequenced := told.mustHold(ctx, t, f, "sequenced", partitions)
	told.mustHold(ctx, t, f, "keyed", partitions)
	left, right := told.mustHold(ctx, t, f, "left", partitions), told.mustHold(ctx, t, f, "right", partitions)
	mustEqual(t, "left and right of transactions", valuesOf(left), valuesOf(right))

	await(ctx, t, f, "the group's work", func() bool { return processed.acknowledged() >= len(sequenced) })
	stopWorking()
	workers.Wait()
	out := processed.mustHold(ctx, t, f, "processed", partitions)
	mustEqual(t, "what was to be processed, and what was", valuesOf(sequenced), valuesOf(out))
	following.mustHaveSeenAll(ctx, t)

	for _, p := range proxies {
		p.stop()
		p.mustBeCalm()
	}
	for _, fault := range f.faults {
		t.Error(fault)
	}
	t.Logf("%d records acknowledged, %d processed; answers by status (0: none) %v", told.acknowledged(), len(out), f.statuses)
	if f.statuses[0] == 0 {
		t.Error("no request went unanswered: nothing was restarted under load")
	}
}

// roll restarts each proxy in turn, by the progress of the work: so that there
// is work before, while it is down, and after. PgBouncer gets its turn as well.
func roll(ctx context.Context, t *testing.T, f *fleet, bouncer *pgtest.Bouncer, told, processed *ledger) {
	t.Helper()
	progress := func(records int) {
		t.Helper()
		from, done := told.acknowledged(), processed.acknowledged()
		await(ctx, t, f, "progress", func() bool {
			return told.acknowledged() >= from+records && processed.acknowledged() >= done+records/10
		})
	}
	for range rounds {
		for _, p := range f.proxies {
			progress(300)
			p.stop()
			progress(100)
			p.start()
			p.awaitReady()
		}
		progress(300)
		bouncer.Reconnect()
		progress(300)
		bouncer.Restart()
	}
	progress(300)
}

// await waits until done, which nothing but the work of clients makes true.
func await(ctx context.Context, t *testing.T, f *fleet, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !done() {
		wait(ctx, 5*time.Millisecond)
		f.mu.Lock()
		faults := slices.Clone(f.faults)
		f.mu.Unlock()
		if ctx.Err() != nil || len(faults) > 0 {
			t.Fatalf("waiting for %s: %v %v", what, ctx.Err(), faults)
		}
	}
}

func valuesOf(records []record) []string {
	values := make([]string, 0, len(records))
	for _, r := range records {
		values = append(values, r.Value)
	}
	slices.Sort(values)
	return values
}

func mustEqual(t *testing.T, what string, a, b []string) {
	t.Helper()
	if !slices.Equal(a, b) {
		t.Errorf("%s: %d and %d records, or others", what, len(a), len(b))
	}
}
