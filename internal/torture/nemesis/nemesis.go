// Package nemesis does to a cluster, and to the networks of its proxies, all that can go wrong around a service: each
// fault is a named thing that happens to somebody for some time, and is then undone. A seed decides what happens to
// whom, for how long and with what pauses; when exactly it meets which request nobody can decide. It knows nothing of
// requests and histories, but that each fault is a line of one.
package nemesis

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/torture/cluster"
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/network"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// Config says who is hit, and by what.
type Config struct {
	Seed     uint64
	Names    []string      // of the faults; see Names
	AtOnce   int           // how many happen at once; 1: each in turn, once and once again
	Pause    time.Duration // between two faults, about
	Cluster  *cluster.Cluster
	Network  *network.Network // between clients and proxies
	Database []*faults.Proxy  // between each proxy and PostgreSQL
	Shares   network.Shares   // of Network, if cut-clients is among the names
	Cuts     faults.Shares    // of Database, if cut-database is among the names
	Writer   *history.Writer
	Now      func() int64 // of the history's clock
}

// A Nemesis has not begun before Run, and ended when Settle has returned.
type Nemesis struct {
	cfg     Config
	chosen  []*fault
	skipped []string

	mu     sync.Mutex
	random *rand.Rand       // for what is not planned, but drawn when it comes; guarded by mu
	points int              // crash points that were given out; guarded by mu
	counts map[string]int64 // guarded by mu
	healed bool             // guarded by mu
}

// fault is something that can be done.
type fault struct {
	name        string
	weight      int                     // how often it comes among others; 0: it is not planned, but there all the time
	least, most time.Duration           // how long it lasts
	database    bool                    // it is done to PostgreSQL, or to the way there
	can         func(n *Nemesis) string // why it cannot be had here; empty: it can; nil: it always can
	// do does it and undoes it again. ctx ends when it is time. It returns to whom, and how often; 0: to nobody.
	do func(ctx context.Context, n *Nemesis, s step) (target string, count int)
}

// step is a fault that is planned.
type step struct {
	*fault
	pick  uint64 // of the target, among those who are there
	lasts time.Duration
	pause time.Duration // before it
}

// always is how long a fault lasts that is there all the time: longer than any run.
const always = 365 * 24 * time.Hour

// all are the faults that there are.
func all() []*fault {
	return slices.Concat(proxyFaults, crashFaults(), serverFaults, diskFaults, sessionFaults, networkFaults)
}

// Names returns the names of all faults.
func Names() []string {
	var names []string
	for _, f := range all() {
		names = append(names, f.name)
	}
	return names
}

// New returns a nemesis; an error if a name is unknown.
func New(cfg Config) (*Nemesis, error) {
	n := &Nemesis{cfg: cfg, counts: map[string]int64{}}
	n.random = n.newRandom("drawn when it comes")
	known := map[string]*fault{}
	for _, f := range all() {
		known[f.name] = f
	}
	for _, name := range cfg.Names {
		f := known[name]
		if f == nil {
			return nil, fmt.Errorf("there is no fault %q; those that there are: %s", name, strings.Join(Names(), ", "))
		}
		if f.can != nil {
			if why := f.can(n); why != "" {
				n.skipped = append(n.skipped, name+": "+why)
				continue
			}
		}
		n.chosen = append(n.chosen, f)
	}
	return n, nil
}

// Chosen returns the names of the faults that were asked for and can be had.
func (n *Nemesis) Chosen() []string {
	var names []string
	for _, f := range n.chosen {
		names = append(names, f.name)
	}
	return names
}

// Skipped returns the faults that were asked for and cannot be had on this machine, and why.
func (n *Nemesis) Skipped() []string { return n.skipped }

// HitDatabase reports whether any of the faults is done to PostgreSQL, or to the way there.
func (n *Nemesis) HitDatabase() bool {
	return slices.ContainsFunc(n.chosen, func(f *fault) bool { return f.database })
}

// Plan returns the first steps of what will happen, a line each.
func (n *Nemesis) Plan(steps int) []string {
	var lines []string
	for lane := range n.cfg.AtOnce {
		i := 0
		for s := range n.steps(lane) {
			if i++; i > steps {
				break
			}
			lines = append(lines, fmt.Sprintf("lane %d, step %d: after %s %s for %s (%d)",
				lane, i, s.pause.Round(time.Millisecond), s.name, s.lasts.Round(time.Millisecond), s.pick))
		}
	}
	return lines
}

// steps returns what happens in a lane, without an end: each fault in turn where there is one lane, else each as often
// as its weight says.
func (n *Nemesis) steps(lane int) func(yield func(step) bool) {
	var planned []*fault
	weights := 0
	for _, f := range n.chosen {
		if f.weight > 0 {
			planned = append(planned, f)
			weights += f.weight
		}
	}
	random := n.newRandom(fmt.Sprint("lane ", lane))
	next := func(i int) *fault {
		if n.cfg.AtOnce == 1 {
			if i%len(planned) == 0 {
				random.Shuffle(len(planned), func(i, j int) { planned[i], planned[j] = planned[j], planned[i] })
			}
			return planned[i%len(planned)]
		}
		dice := random.IntN(weights)
		for _, f := range planned {
			if dice -= f.weight; dice < 0 {
				return f
			}
		}
		return planned[0]
	}
	return func(yield func(step) bool) {
		for i := 0; len(planned) > 0; i++ {
			f := next(i)
			s := step{fault: f, pick: random.Uint64N(1 << 32)}
			s.pause = n.cfg.Pause/4 + between(random, 0, 3*n.cfg.Pause/2)
			s.lasts = between(random, f.least, f.most)
			if !yield(s) {
				return
			}
		}
	}
}

func between(random *rand.Rand, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// Run does what is planned until ctx ends. When it returns, what it did is undone, but for what Undo does.
func (n *Nemesis) Run(ctx context.Context) {
	n.begin()
	var lanes sync.WaitGroup
	for lane := range n.cfg.AtOnce {
		lanes.Go(func() {
			for s := range n.steps(lane) {
				if !wait.For(ctx, s.pause) {
					return
				}
				n.do(ctx, s)
			}
		})
	}
	if n.chose(CutDatabase) {
		lanes.Go(func() { n.cutWhatIsRare(ctx) })
	}
	for _, f := range n.chosen {
		if f.weight == 0 && f.do != nil {
			lanes.Go(func() { n.do(ctx, step{fault: f, lasts: always}) })
		}
	}
	lanes.Wait()
}

func (n *Nemesis) do(ctx context.Context, s step) {
	ctx, cancel := context.WithTimeout(ctx, s.lasts)
	defer cancel()
	began := n.cfg.Now()
	lasts := s.lasts.Round(time.Millisecond).String()
	if s.lasts == always {
		lasts = "as long as there are faults"
	}
	n.cfg.Cluster.Note("%s begins, for %s", s.name, lasts)
	target, count := s.do(ctx, n, s)
	n.cfg.Cluster.Note("%s of %s is over: %d", s.name, target, count)
	n.note(s.name, target, began, count)
}

// note writes a fault into the history.
func (n *Nemesis) note(name, target string, began int64, count int) {
	if count == 0 {
		return
	}
	n.count(name, count)
	n.cfg.Writer.Write(history.Line{Fault: &history.Fault{
		Kind: name, Target: target, Began: began, Ended: n.cfg.Now(), Count: count,
	}})
}

func (n *Nemesis) count(name string, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[name] += int64(count)
}

// Counts returns how often each fault has happened so far.
func (n *Nemesis) Counts() map[string]int64 {
	n.mu.Lock()
	counts := maps.Clone(n.counts)
	healed := n.healed
	n.mu.Unlock()
	if !healed {
		maps.Copy(counts, n.counted())
	}
	return counts
}

// chose reports whether a fault is to be done.
func (n *Nemesis) chose(name string) bool {
	return slices.ContainsFunc(n.chosen, func(f *fault) bool { return f.name == name })
}

// newRandom returns the random numbers of one part of a run.
func (n *Nemesis) newRandom(part string) *rand.Rand {
	sum := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(part) {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(n.cfg.Seed, sum)) //nolint:gosec // not for secrets
}
