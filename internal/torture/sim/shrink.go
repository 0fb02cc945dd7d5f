package sim

import "slices"

// mostWork bounds the steps that are made to make a failure shorter.
const mostWork = 3_000_000

// Shrink returns a failure with the same anomaly in as few steps as it finds:
// pieces of the run are left out while it still fails, first large ones, then
// small ones (Zeller, Hildebrandt: Simplifying and isolating failure-inducing
// input, 2002).
func (f *Failure) Shrink() *Failure {
	best := f
	work := 0
	for size := len(best.steps) / 2; size > 0; size /= 2 {
		for from := 0; from < len(best.steps) && work < mostWork; {
			less := slices.Delete(slices.Clone(best.steps), from, min(from+size, len(best.steps)))
			c, g := replay(f.Seed, less, f.Mutant, nil)
			work += c.Steps
			if g != nil && g.Anomaly == f.Anomaly {
				best = g
				continue
			}
			from += size
		}
	}
	return best
}

// Transcript returns what happened, one line a step that did something, up to the
// anomaly.
func (f *Failure) Transcript() []string {
	var lines []string
	_, _ = replay(f.Seed, f.steps, f.Mutant, func(line string) { lines = append(lines, line) })
	return lines
}
