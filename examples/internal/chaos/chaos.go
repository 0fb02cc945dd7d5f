package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// target is whom a strike hits.
type target int

const (
	aWorker target = iota
	aProxy
	thePostgres
	aFreeze // of a proxy, which goes on after some seconds
	aZombie // a worker that is stopped, and goes on when it is replaced
	targetsCount
)

// strike is one of the things that happen to the processes.
type strike struct {
	at     int // views that must have been billed before
	target target
}

// plan spreads the strikes over the first nine tenths of the work. A zombie needs work that it can be late with, and
// time to become one: there are none in the last of it.
func plan(random *rand.Rand, cfg Config) []strike {
	var strikes []strike
	counts := [targetsCount]int{
		aWorker: cfg.WorkerKills, aProxy: cfg.ProxyKills, thePostgres: cfg.PostgresKills,
		aFreeze: cfg.Freezes, aZombie: cfg.Zombies,
	}
	for t := range targetsCount {
		share := 0.9
		if t == aZombie {
			share = 0.6
		}
		for i := range counts[t] {
			at := float64(cfg.Views) * share * (float64(i) + random.Float64()) / float64(counts[t])
			strikes = append(strikes, strike{int(at), t})
		}
	}
	slices.SortStableFunc(strikes, func(a, b strike) int { return a.at - b.at })
	return strikes
}

// chaos strikes as planned. It goes by the progress of the work, not by the clock, so that work is interrupted and not
// the pause after it.
type chaos struct {
	torture *torture
	random  *rand.Rand

	hits     [aZombie]atomic.Int64 // kills and freezes, by target
	zombies  atomic.Int64          // stopped
	fenced   atomic.Int64          // of them, refused when they went on
	tooLate  atomic.Int64          // of these, with a commit
	progress atomic.Int64          // views that are billed
}

// run returns when every strike has hit, and every zombie has been heard, or with the first error.
func (c *chaos) run(ctx context.Context, strikes []strike) (err error) {
	var zombies sync.WaitGroup
	defer zombies.Wait()
	ctx, fail := context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			fail(err)
		}
	}()
	for _, s := range strikes {
		ready := func() bool { return int(c.progress.Load()) >= s.at }
		// Anywhere in the course of a request.
		if !wait.Until(ctx, ready) || !wait.For(ctx, time.Duration(c.random.Int64N(int64(20*time.Millisecond)))) {
			return context.Cause(ctx)
		}
		// Who is not there is waited for: a strike that hits nobody is none.
		if s.target == aZombie {
			c.zombie(ctx, &zombies, fail)
		} else if wait.Until(ctx, func() bool { return c.hit(s.target) }) {
			c.hits[s.target].Add(1)
		}
	}
	zombies.Wait()
	return context.Cause(ctx)
}

func (c *chaos) hit(t target) bool {
	switch t {
	case aWorker:
		return c.torture.crew.kill(c.random)
	case aProxy:
		return c.torture.service.killProxy(c.random)
	case thePostgres:
		return c.torture.service.killPostgres()
	default:
		longest := c.torture.cfg.Frozen
		return c.torture.service.freezeProxy(c.random, longest/3+time.Duration(c.random.Int64N(int64(longest*2/3))))
	}
}

// zombie picks a worker and makes a zombie of it, while other things happen.
func (c *chaos) zombie(ctx context.Context, all *sync.WaitGroup, fail func(error)) {
	var p *post
	var w *worker
	if !wait.Until(ctx, func() bool { p, w = c.torture.crew.pick(c.random); return w != nil }) {
		return
	}
	all.Go(func() {
		text, err := c.torture.makeZombie(ctx, p, w)
		if err != nil {
			fail(err)
			return
		}
		c.heard(text)
	})
}

// watch notes how far the work is, until ctx ends.
func (c *chaos) watch(ctx context.Context) {
	for {
		if n, err := c.torture.committed(ctx); err == nil {
			c.progress.Store(int64(n))
		}
		if client.Sleep(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}

// heard counts a zombie by what it did when it went on; empty if it had been killed before it was one.
func (c *chaos) heard(text string) {
	if text == "" {
		return
	}
	c.zombies.Add(1)
	if strings.HasPrefix(text, refused) || strings.HasPrefix(text, outdated) {
		c.fenced.Add(1)
		if strings.Contains(text, "commit: ") {
			c.tooLate.Add(1)
		}
	}
}
