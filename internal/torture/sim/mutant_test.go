package sim_test

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/sim"
)

// mostForMutant bounds the steps in which a mutant is found.
const mostForMutant = 40_000_000

// found are seeds that catch what takes long from the first one on.
var found = map[sim.Mutant]uint64{
	sim.NoTransactionGuard: 116, sim.ReplacedStillHeard: 147, sim.FactsOutliveFailure: 193,
	sim.NoDoubt: 326, sim.NoEndGuard: 328, sim.NoSequenceGuard: 3664,
}

// TestEveryMutantIsCaught plants each mistake, and logs what caught it, after how
// many steps, and by which seed.
func TestEveryMutantIsCaught(t *testing.T) {
	t.Parallel()
	for _, m := range sim.Mutants {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			made := 0
			for seed := max(1, found[m]); made < mostForMutant; seed++ {
				c, f := sim.Run(seed, perSeed, m)
				made += c.Steps
				if f != nil {
					t.Logf("| %s | %s | %d | %d |", m, f.Anomaly, made, seed)
					return
				}
			}
			t.Errorf("%s was not caught in %d steps", m, made)
		})
	}
}
