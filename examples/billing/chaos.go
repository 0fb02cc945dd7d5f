package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// chaos kills the proxy and its database while the tills work. It goes by their progress, not by the clock,
// so that work is interrupted and not the pause after it.
type chaos struct {
	proxy    *proxy
	progress *progress
	random   *rand.Rand

	kills, postgresKills atomic.Int64
}

// strike is one kill.
type strike struct {
	at       int  // purchases that must have been sent before
	postgres bool // whom it strikes
	// blind: it does not wait until the service is back from the last strike. It may strike a proxy that
	// starts, or one without a database, or a database that recovers or has lost its proxy.
	blind bool
}

// plan spreads the kills over the first 95 percent of the work.
func plan(random *rand.Rand, rows, kills, postgresKills int) []strike {
	var strikes []strike
	spread := func(n int, postgres bool) {
		for i := range n {
			at := float64(rows) * 0.95 * (float64(i) + random.Float64()) / float64(n)
			strikes = append(strikes, strike{int(at), postgres, random.IntN(4) == 0})
		}
	}
	spread(kills, false)
	spread(postgresKills, true)
	slices.SortFunc(strikes, func(a, b strike) int { return a.at - b.at })
	// A blind one comes on the heels of the one before it.
	for i := 1; i < len(strikes); i++ {
		if strikes[i].blind {
			strikes[i].at = strikes[i-1].at
		}
	}
	return strikes
}

// run strikes as planned, until it is through or ctx ends.
func (c *chaos) run(ctx context.Context, strikes []strike) {
	seen := int64(-1) // acknowledgements at the last strike
	for _, s := range strikes {
		ready := func() bool {
			return c.progress.sent() >= s.at && (s.blind || c.progress.acknowledged.Load() > seen)
		}
		if !wait.Until(ctx, ready) || client.Sleep(ctx, time.Duration(c.random.Int64N(int64(c.delay(s))))) != nil {
			return
		}
		// A proxy or database that is not there is waited for: a strike that hits nobody is none.
		if s.postgres {
			if !wait.Until(ctx, func() bool { return c.proxy.postgres.Kill() != 0 }) {
				return
			}
			c.postgresKills.Add(1)
		} else {
			if !wait.Until(ctx, c.proxy.Kill) {
				return
			}
			c.kills.Add(1)
		}
		seen = c.progress.acknowledged.Load()
	}
}

// delay returns within what time a strike comes, from when it may: somewhere in the course of a request, or
// of the time that the service needs to come back.
func (c *chaos) delay(s strike) time.Duration {
	if s.blind {
		return 300 * time.Millisecond
	}
	return 20 * time.Millisecond
}
