package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// How often groupkeeping looks for members whose session is over and for topics that have changed, every how
// many of the latter rounds it deletes what is left of dead groups, and how much in one SQL transaction; and
// counts the groups that there are.
const (
	sessionsInterval = 250 * time.Millisecond
	topicsInterval   = 2 * time.Second
	roundsPerForget  = 30
	roundsPerGroups  = 5
	forgetAtOnce     = 1000
	forgetFor        = time.Second // of a round: topics wait
)

// groupkeeping does for consumer groups what no request does. Any number of proxies may do so at once.
type groupkeeping struct {
	store   *store.Store
	groups  *wake.Groups
	metrics *handlers.Metrics
	log     *slog.Logger

	back      time.Time // since when the database is there, by its own clock; zero while it is not; owned by RunSessions
	refresher *store.Refresher
	dead      bool // perhaps there are dead groups left; owned by RunTopics
}

// RunSessions removes members whose time is over, until ctx ends.
func (g *groupkeeping) RunSessions(ctx context.Context) error {
	return g.repeat(ctx, sessionsInterval, func(ctx context.Context, _ int) error { return g.expire(ctx) })
}

// RunTopics keeps groups up to date with the topics that there are, until ctx ends.
func (g *groupkeeping) RunTopics(ctx context.Context) error {
	g.refresher = g.store.NewRefresher()
	return g.repeat(ctx, topicsInterval, g.refresh)
}

func (g *groupkeeping) repeat(ctx context.Context, every time.Duration, pass func(ctx context.Context, round int) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for round := 0; ; round++ {
		if err := pass(ctx, round); err != nil && ctx.Err() == nil {
			g.log.Warn("housekeeping of groups", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// expire is one pass of RunSessions. While the database was away nobody could be heard: whenever it is back,
// also at the start, members have the time of a heartbeat.
func (g *groupkeeping) expire(ctx context.Context) (err error) {
	if g.back.IsZero() {
		if g.back, err = g.store.Clock(ctx); err != nil {
			return err
		}
	}
	moved, err := g.store.ExpireMembers(ctx, g.back)
	g.wake(moved)
	if store.IsAway(err) {
		g.back = time.Time{}
	}
	return g.metrics.Done(handlers.DutySessions, err)
}

// refresh is one pass of RunTopics.
func (g *groupkeeping) refresh(ctx context.Context, round int) error {
	moved, err := g.refresher.Refresh(ctx)
	g.wake(moved)
	err = g.metrics.Done(handlers.DutyTopics, err)
	if round%roundsPerGroups == 0 {
		counts, countErr := g.store.CountGroups(ctx)
		if countErr == nil {
			g.metrics.Groups(counts)
		}
		err = errors.Join(err, countErr)
	}
	if g.dead = g.dead || round%roundsPerForget == 0; g.dead {
		err = errors.Join(err, g.forget(ctx))
	}
	return err
}

// forget deletes what is left of dead groups, for a while; what then remains is
// the next round's.
func (g *groupkeeping) forget(ctx context.Context) error {
	for start := time.Now(); g.dead && time.Since(start) < forgetFor; {
		n, err := g.store.ForgetGroups(ctx, forgetAtOnce)
		if g.dead = n > 0; err != nil {
			return err
		}
	}
	return nil
}

func (g *groupkeeping) wake(moved []store.Moved) {
	for _, m := range moved {
		g.metrics.Rebalanced(len(m.Wake))
		g.groups.Wake(m.Group, m.Wake)
	}
}
