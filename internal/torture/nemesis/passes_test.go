package nemesis

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/crash"
)

// Who draws a pass of a point that has none would end the run.
func TestEachCrashPointHasPasses(t *testing.T) {
	t.Parallel()
	for _, point := range crash.Points {
		if passes[point] < 1 {
			t.Errorf("%s has %d passes", point, passes[point])
		}
	}
	if len(passes) != len(crash.Points) {
		t.Errorf("there are %d points, and passes of %d", len(crash.Points), len(passes))
	}
}
