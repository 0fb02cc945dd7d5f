package proxies_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

// TestDutiesBehindPgBouncer: what a proxy does unasked it does through a
// transaction pooler as well: the schema, timeouts of transactions and of
// members, retention, and waking those who wait for another proxy's records.
func TestDutiesBehindPgBouncer(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	alone := newProxy(t, "behind PgBouncer", pgtest.NewBouncer(t, database).URL())
	alone.awaitReady()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	f := newFleet(alone)
	must := func(method, path string, body, answer any) {
		t.Helper()
		if !f.must(ctx, request{method: method, path: path, body: body}, answer, http.StatusOK, http.StatusCreated) {
			t.Fatal(f.faults)
		}
	}
	must("PUT", "/v1/topics/kept", nil, &struct{}{})
	must("PUT", "/v1/topics/fading", map[string]any{"retention_ms": 1}, &struct{}{})

	must("PUT", "/v1/transactions/late", map[string]any{"timeout_ms": 1}, &struct{}{})
	var fate struct {
		AbortedBy string `json:"aborted_by"`
	}
	await(ctx, t, f, "the abort of a transaction", func() bool {
		must("GET", "/v1/transactions/late", nil, &fate)
		return fate.AbortedBy == "timeout"
	})

	records, _ := some("writer", 0, 10, 1)
	must("POST", "/v1/topics/fading/records", map[string]any{"records": records}, &struct{}{})
	var topic struct {
		Partitions []struct {
			LogStartOffset int `json:"log_start_offset"`
		} `json:"partitions"`
	}
	await(ctx, t, f, "retention", func() bool {
		must("GET", "/v1/topics/fading", nil, &topic)
		return topic.Partitions[0].LogStartOffset == 10
	})

	subscription := map[string]any{"topics": []string{"kept"}, "session_timeout_ms": 6000}
	must("PUT", "/v1/groups/g/members/dies", subscription, &struct{}{})
	var p struct {
		MemberEpoch int   `json:"member_epoch"`
		Assignment  []any `json:"assignment"`
	}
	must("PUT", "/v1/groups/g/members/lives", subscription, &p)
	await(ctx, t, f, "the end of a session", func() bool {
		must("POST", "/v1/groups/g/members/lives/poll", map[string]any{"member_epoch": p.MemberEpoch, "wait_ms": 1000}, &p)
		return len(p.Assignment) == 1
	})

	other := newProxy(t, "beside it", database)
	other.awaitReady()
	woken := make(chan []record, 1)
	go func() {
		var page struct {
			Records []record `json:"records"`
		}
		path := "/v1/topics/kept/partitions/0/records?offset=0&wait_ms=30000"
		f.must(ctx, request{method: http.MethodGet, path: path}, &page, http.StatusOK)
		woken <- page.Records
	}()
	mustWait(ctx, t, f)
	beside := newFleet(other)
	if !beside.must(ctx, request{
		method: http.MethodPost, path: "/v1/topics/kept/records", body: map[string]any{"records": records[:1]},
	}, &struct{}{}, http.StatusOK) {
		t.Fatal(beside.faults)
	}
	if got := <-woken; len(got) != 1 {
		t.Errorf("a waiting fetch was answered %v, want the record of the other proxy; %v", got, f.faults)
	}
	for _, p := range []*proxy{alone, other} {
		p.stop()
		p.mustBeCalm()
	}
}

// mustWait returns when a fetch waits at the only proxy.
func mustWait(ctx context.Context, t *testing.T, f *fleet) {
	t.Helper()
	await(ctx, t, f, "a fetch that waits", func() bool {
		_, text, err := f.try(ctx, request{method: http.MethodGet, path: "/metrics"}, nil)
		waiting := 0
		for line := range strings.Lines(string(text)) {
			_, _ = fmt.Sscanf(line, "eos_waiting_fetches %d", &waiting) // other lines are none
		}
		return err == nil && waiting == 1
	})
}
