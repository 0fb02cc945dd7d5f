package sim

import (
	"flag"
	"testing"
	"time"
)

var stepsFlag = flag.Int("steps", 0, "how many steps TestSimulation makes")

func TestTry(t *testing.T) {
	began := time.Now()
	var all Counts
	for seed := uint64(1); time.Since(began) < time.Duration(max(5,*stepsFlag))*time.Second; seed++ {
		c, f := Run(seed, 2000, NoMutant)
		all.Steps += c.Steps
		all.Conflicts += c.Conflicts
		all.Lost += c.Lost
		all.Crashes += c.Crashes
		all.Operations += c.Operations
		all.Raised += c.Raised
		all.Trimmed += c.Trimmed
		if f != nil {
			f = f.Shrink()
			lines := f.Transcript()
			for _, l := range lines[:min(600, len(lines))] {
				t.Log(l)
			}
			t.Fatal(f, len(f.steps))
		}
	}
	t.Logf("%+v in %v", all, time.Since(began))
}
