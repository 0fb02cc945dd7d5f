package sim

import "slices"

// mostTries bounds how often a failure is run to make it shorter.
const mostTries = 3_000

// Shrink returns a failure with the same anomaly in as few steps as it finds:
// pieces of the run are left out while it still fails, first large ones, then
// small ones (Zeller, Hildebrandt: Simplifying and isolating failure-inducing
// input, 2002).
func (f *Failure) Shrink() *Failure {
	best := f
	tries := 0
	for size := len(best.steps) / 2; size > 0; size /= 2 {
		for from := 0; from < len(best.steps) && tries < mostTries; {
			tries++
			less := slices.Delete(slices.Clone(best.steps), from, min(from+size, len(best.steps)))
			if _, g := replay(f.Seed, less, f.Mutant, nil); g != nil && g.Anomaly == f.Anomaly {
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
	replay(f.Seed, f.steps, f.Mutant, func(line string) { lines = append(lines, line) })
	return lines
}
