package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A work is one kind of load, and what it is held to.
type work struct {
	name    string // in Config.Only and in every report; up to the first "-" it is the name of its family
	what    string // for people
	unit    string // of the figure
	target  target
	ceiling *ceiling // nil: the figure stands for itself
	// database says that the work needs the run's own database and proxy, and cannot be done on a service
	// that somebody else started.
	database bool
	flag     string // without which it is left out, because it takes minutes; empty: none
	once     bool   // is measured once, however many rounds there are
	// run measures once, and checks what was stored. An error is a wrong count, or a service that refuses.
	run func(ctx context.Context, b *bench) (*sample, error)
	// begin makes what the works of a family share, before the first of them, and nothing before the others. Its
	// time is not that of a ceiling. end ends it, after the last of them that was chosen. Either may be nil.
	begin, end func(ctx context.Context, b *bench) error
}

// family returns the first part of the work's name.
func (w *work) family() string {
	family, _, _ := strings.Cut(w.name, "-")
	return family
}

// A target bounds the ratio of a work to its ceiling or, for one without a ceiling, its figure. The zero
// value is none.
type target struct {
	bound float64
	most  bool          // the bound is an upper one
	aim   float64       // beyond it; 0: none
	p99   time.Duration // of the latencies of all rounds, at most; 0: any
}

func atLeast(bound float64) target { return target{bound: bound} }
func atMost(bound float64) target  { return target{bound: bound, most: true} }

// aiming returns the target with a value to aim at beyond it.
func (t target) aiming(at float64) target {
	t.aim = at
	return t
}

// slowest returns the target with a bound of the 99th percentile of latencies.
func (t target) slowest(p99 time.Duration) target {
	t.p99 = p99
	return t
}

// String returns the target as the table shows it.
func (t target) String() string {
	switch {
	case t.bound == 0:
		return "-"
	case t.p99 > 0:
		fast := t
		fast.p99 = 0
		return fast.String() + ", p99 ≤ " + short(t.p99)
	case t.most:
		return "≤ " + number(t.bound)
	case t.aim > 0:
		return "≥ " + number(t.bound) + ", aim " + number(t.aim)
	default:
		return "≥ " + number(t.bound)
	}
}

// met reports whether a value, and the 99th percentile of latencies, are within the target; any are where there
// is none.
func (t target) met(value float64, p99 time.Duration) bool {
	switch {
	case t.bound == 0:
		return true
	case t.p99 > 0 && p99 > t.p99:
		return false
	case t.most:
		return value <= t.bound
	default:
		return value >= t.bound
	}
}

// works are all of them, in the order in which they run.
func works() []work {
	return slices.Concat(singleWorks(), batchWorks(), streamWorks(), fetchWorks(), transactionWorks(), proxiesWorks(),
		wakeWorks(), waiterWorks(), rebalanceWorks(), heldWorks(), bigWorks(),
		retentionWorks(), membersWorks())
}

// choose returns the works with the given names, or of the families with these names; all for no names.
func choose(all []work, names []string) ([]work, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []work
	found := make(map[string]bool)
	for _, w := range all {
		wanted := false
		for _, name := range names {
			if name == w.name || name == w.family() {
				found[name], wanted = true, true
			}
		}
		if wanted {
			chosen = append(chosen, w)
		}
	}
	for _, name := range names {
		if !found[name] {
			known := make([]string, len(all))
			for i, w := range all {
				known[i] = w.name
			}
			return nil, fmt.Errorf("there is no work %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}
