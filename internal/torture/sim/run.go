package sim

import (
	"fmt"
	"slices"
)

// Failure is a seed that failed.
type Failure struct {
	Seed    uint64
	Mutant  Mutant
	Anomaly string
	Detail  string
	Step    int      // in which it was found
	steps   []uint64 // by which the run can be repeated
}

// Error names the seed and the anomaly.
func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, step %d: %s: %s", f.Seed, f.Step, f.Anomaly, f.Detail)
}

// mostToHeal bounds the steps in which everything is to be done when nothing
// fails any more.
const mostToHeal = 20_000

// Run runs a seed for so many steps, then heals everything and lets all clients
// finish. It returns what was wrong, or nil.
func Run(seed uint64, steps int, mutant Mutant) (Counts, *Failure) {
	r := random(seed ^ 0x5eed)
	list := make([]uint64, steps)
	for i := range list {
		list[i] = r.next()
	}
	return replay(seed, list, mutant, nil)
}

// replay runs a seed with these steps. Each has a seed of its own: a run from
// which some are left out is another run.
func replay(seed uint64, steps []uint64, mutant Mutant, trace func(line string)) (Counts, *Failure) {
	w := newWorld(seed, mutant)
	w.trace = trace
	for i, s := range steps {
		w.random = random(s)
		if w.act(); w.truth.anomaly != "" {
			return w.counts(), w.failure(steps[:i+1])
		}
	}
	w.heal(seed)
	return w.counts(), w.failure(steps)
}

func (w *world) counts() Counts {
	c := w.count
	c.Steps, c.Operations = w.step, w.ops
	return c
}

func (w *world) failure(steps []uint64) *Failure {
	if w.truth.anomaly == "" {
		return nil
	}
	return &Failure{w.seed, w.mutant, w.truth.anomaly, w.truth.detail, w.step, slices.Clone(steps)}
}

// heal ends all faults and waits until everybody has done what was begun.
func (w *world) heal(seed uint64) {
	w.tracef("all is healed")
	w.calm, w.random = true, random(seed^0x4ea1)
	for _, p := range w.proxies {
		p.up, p.frozen = true, 0
	}
	for range mostToHeal {
		if w.step%16 == 0 && w.finished() {
			w.drain()
			return
		}
		if w.act(); w.truth.anomaly != "" {
			return
		}
	}
	for _, c := range w.clients {
		if !c.role.finished() {
			w.truth.fail("no progress", "%s has not finished: %v", c.name, c.pending)
		}
	}
	w.truth.fail("no progress", "%d tasks are still on their way", len(w.tasks))
}

func (w *world) finished() bool {
	for _, c := range w.clients {
		if !c.role.finished() {
			return false
		}
	}
	for _, p := range w.proxies {
		if len(p.queue) > 0 {
			return false
		}
	}
	return len(w.tasks) == 0 && len(w.network) == 0
}

// drain reads all logs from their starts, and holds them against what was
// written.
func (w *world) drain() {
	for log, l := range w.db.logs {
		if log >= firstStaging {
			continue
		}
		next := l.start
		for _, b := range l.batches {
			end := b.base + int64(len(b.values))
			if end <= l.start {
				continue
			}
			if b.base != next || end > int64(len(w.truth.logs[log])) || !slices.Equal(b.values, w.truth.logs[log][b.base:end]) {
				w.truth.fail("inconsistent offset", "log %d has %v at %d, where %d is next", log, b.values, b.base, next)
				return
			}
			next = end
		}
		if next != int64(len(w.truth.logs[log])) {
			w.truth.fail("lost write", "log %d ends at %d, and %d records were written", log, next, len(w.truth.logs[log]))
		}
	}
}
