package chaos

import (
	"math/rand/v2"
	"testing"
)

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
