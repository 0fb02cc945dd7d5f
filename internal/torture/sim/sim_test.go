package sim_test

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/sim"
)

var (
	steps = flag.Int("steps", 1_000_000, "how many steps TestSimulation makes")
	fresh = flag.Uint64("seed", uint64(time.Now().UnixNano()), "from which seed on, beside the fixed ones")
)

// perSeed is how many steps a seed has before all is healed.
const perSeed = 2_000

// TestSimulation runs fixed seeds, and as many steps again from a fresh seed on,
// which a failure names:
//
//	go test ./internal/torture/sim -run TestSimulation -steps 100000000 -seed 7
func TestSimulation(t *testing.T) {
	t.Parallel()
	for _, first := range []uint64{1, *fresh} {
		began := time.Now()
		var all sim.Counts
		for seed := first; all.Steps < *steps/2; seed++ {
			c, failure := sim.Run(seed, perSeed, sim.NoMutant)
			all.Add(c)
			if failure != nil {
				report(t, failure)
			}
		}
		speed := float64(all.Steps) / 1e6 / time.Since(began).Minutes()
		t.Logf("from seed %d on: %+v, %.1f million steps a minute", first, all, speed)
		for what, n := range map[string]int{
			"crashes": all.Crashes, "lost COMMITs": all.Lost, "late COMMITs": all.Late, "conflicts": all.Conflicts, "joined": all.Joined,
			"requests removed": all.Trimmed,
		} {
			if n < all.Steps/20_000 {
				t.Errorf("%d %s in %d steps prove little", n, what, all.Steps)
			}
		}
	}
}

func report(t *testing.T, f *sim.Failure) {
	t.Helper()
	short := f.Shrink()
	t.Fatalf("%v\nshorter:\n%s", f, strings.Join(short.Transcript(), "\n"))
}

// A failure can be run again, made shorter, and shown.
func TestFailureIsShrunk(t *testing.T) {
	t.Parallel()
	_, f := sim.Run(1, perSeed, sim.HandedOverAtOnce)
	for seed := uint64(2); f == nil; seed++ {
		_, f = sim.Run(seed, perSeed, sim.HandedOverAtOnce)
	}
	short := f.Shrink()
	lines := short.Transcript()
	text := strings.Join(lines, "\n")
	if short.Anomaly != f.Anomaly || short.Step > f.Step || !strings.Contains(text, "ANOMALY "+f.Anomaly) {
		t.Errorf("%v became %v:\n%s", f, short, text)
	}
	if text != strings.Join(short.Transcript(), "\n") {
		t.Error("the same run has another transcript")
	}
}
