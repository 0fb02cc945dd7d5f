package nemesis_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
)

// planned are faults that can be had everywhere, and planned by step.
var planned = []string{"kill-proxy", "stop-proxy", "kill-postgres", "lock-rows", "stall-database"}

func mustPlan(t *testing.T, seed uint64, atOnce, steps int) []string {
	t.Helper()
	n, err := nemesis.New(nemesis.Config{Seed: seed, Names: planned, AtOnce: atOnce, Pause: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return n.Plan(steps)
}

func TestASeedDecidesThePlan(t *testing.T) {
	t.Parallel()
	plan := mustPlan(t, 7, 3, 50)
	if diff := cmp.Diff(plan, mustPlan(t, 7, 3, 50)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(plan, mustPlan(t, 8, 3, 50)) {
		t.Error("another seed has the same plan")
	}
	if len(plan) != 150 || cmp.Equal(plan[:50], plan[50:100]) {
		t.Errorf("%d steps in three lanes, want 50 in each, of their own:\n%s", len(plan), strings.Join(plan, "\n"))
	}
}

func TestInTurnMeansEachOnceBeforeAnyAgain(t *testing.T) {
	t.Parallel()
	plan := mustPlan(t, 7, 1, 10*len(planned))
	for round := range slices.Chunk(plan, len(planned)) {
		for _, name := range planned {
			if strings.Count(strings.Join(round, "\n"), " "+name+" ") != 1 {
				t.Errorf("%s is not once in:\n%s", name, strings.Join(round, "\n"))
			}
		}
	}
}

func TestNamesAreUniqueAndOthersRefused(t *testing.T) {
	t.Parallel()
	names := nemesis.Names()
	if all := slices.Compact(slices.Sorted(slices.Values(names))); len(all) != len(names) {
		t.Errorf("%d names, of which %d differ", len(names), len(all))
	}
	if _, err := nemesis.New(nemesis.Config{Names: []string{"kill-proxy", "kill-everybody"}}); err == nil {
		t.Error("an unknown fault was taken")
	}
}
