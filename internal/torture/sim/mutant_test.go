package sim

import "testing"

func TestEveryMutantIsCaught(t *testing.T) {
	for _, m := range Mutants {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			steps := 0
			for seed := uint64(1); steps < 3_000_000; seed++ {
				c, f := Run(seed, 2000, m)
				steps += c.Steps
				if f != nil {
					t.Logf("| %s | %s | %d | seed %d |", m, f.Anomaly, steps, seed)
					return
				}
			}
			t.Errorf("%s was not caught in %d steps", m, steps)
		})
	}
}
