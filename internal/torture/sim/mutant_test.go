package sim_test

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/sim"
)

// mostForMutant bounds the steps in which a mutant is found.
const mostForMutant = 40_000_000

// TestEveryMutantIsCaught plants each mistake, and logs what caught it, after how
// many steps.
func TestEveryMutantIsCaught(t *testing.T) {
	t.Parallel()
	for _, m := range sim.Mutants {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			made := 0
			for seed := uint64(1); made < mostForMutant; seed++ {
				c, f := sim.Run(seed, perSeed, m)
				made += c.Steps
				if f != nil {
					t.Logf("| %s | %s | %d |", m, f.Anomaly, made)
					return
				}
			}
			t.Errorf("%s was not caught in %d steps", m, made)
		})
	}
}
