package torture

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFates sends one request to each of its fates.
func TestFates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fate     fate
		answered bool
		arrives  int64 // times, in the end
	}{
		{through, true, 1},
		{cutBefore, false, 0},
		{cutMiddle, false, 0},
		{cutAnswer, false, 1},
		{cutHalf, false, 1},
		{late, false, 1},
		{twice, true, 2},
	} {
		t.Run(test.fate.String(), func(t *testing.T) {
			t.Parallel()
			var arrived atomic.Int64
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if body, err := io.ReadAll(r.Body); err == nil && string(body) == strings.Repeat("x", 10_000) {
					arrived.Add(1)
				}
				_, _ = io.WriteString(w, strings.Repeat("y", 10_000))
			}))
			defer proxy.Close()
			n := &network{
				upstream: func() string { return proxy.Listener.Addr().String() },
				log:      t.Logf, random: rand.New(rand.NewPCG(1, 2)), latest: 10 * time.Millisecond,
			}
			n.shares[test.fate] = 10_000
			ctx, end := context.WithCancel(t.Context())
			defer end()
			url, err := n.listen(ctx)
			if err != nil {
				t.Fatal(err)
			}

			// Not one that Go's client repeats by itself.
			resp, err := http.Post(url, "text/plain", strings.NewReader(strings.Repeat("x", 10_000)))
			if err == nil {
				var body []byte
				body, err = io.ReadAll(resp.Body)
				if err == nil && string(body) != strings.Repeat("y", 10_000) {
					t.Errorf("the answer is %d bytes", len(body))
				}
			}
			if (err == nil) != test.answered {
				t.Errorf("error %v, want an answer: %t", err, test.answered)
			}
			if !n.settle(ctx) {
				t.Error(ctx.Err())
			}
			if got := arrived.Load(); got != test.arrives {
				t.Errorf("arrived %d times, want %d", got, test.arrives)
			}
			if test.fate != through && n.counts[test.fate].Load() != 1 {
				t.Errorf("counted %d", n.counts[test.fate].Load())
			}
		})
	}
}

// TestPlanHasAllStrikes counts them, and looks where they are.
func TestPlanHasAllStrikes(t *testing.T) {
	t.Parallel()
	cfg := Config{Views: 1000, WorkerKills: 30, ProxyKills: 20, PostgresKills: 5, Freezes: 4, Zombies: 10}
	got, before := map[target]int{}, 0
	for _, s := range plan(rand.New(rand.NewPCG(1, 2)), cfg) {
		got[s.target]++
		if s.at < before || s.at > 900 || s.target == aZombie && s.at > 600 {
			t.Errorf("%+v comes after %d", s, before)
		}
		before = s.at
	}
	if got[aWorker] != 30 || got[aProxy] != 20 || got[thePostgres] != 5 || got[aFreeze] != 4 || got[aZombie] != 10 {
		t.Errorf("strikes %v", got)
	}
}

// TestTooLittleIsAnError is what makes the numbers of a run a condition.
func TestTooLittleIsAnError(t *testing.T) {
	t.Parallel()
	want := Config{WorkerKills: 30, ProxyKills: 20, PostgresKills: 5, Freezes: 4, Fenced: 5, Cuts: 50}
	done := Result{WorkerKills: 30, ProxyKills: 20, PostgresKills: 5, Freezes: 4, Fenced: 6, Cuts: 51}
	if err := done.shortOf(want); err != nil {
		t.Error(err)
	}
	for _, less := range []func(r *Result){
		func(r *Result) { r.WorkerKills-- }, func(r *Result) { r.ProxyKills-- }, func(r *Result) { r.PostgresKills-- },
		func(r *Result) { r.Freezes-- }, func(r *Result) { r.Fenced -= 2 }, func(r *Result) { r.Cuts -= 2 },
	} {
		r := done
		less(&r)
		if err := r.shortOf(want); err == nil {
			t.Errorf("%+v is taken for enough", r)
		}
	}
}
