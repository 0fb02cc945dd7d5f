package wake

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// GroupMember is a member of a consumer group that waits in a poll.
type GroupMember struct {
	Group, Member string
	Epoch         int64 // the member's, as its poll saw it
}

// Rebalances reads what other proxies did to groups.
type Rebalances struct {
	// Epochs returns the epochs of groups, leaving out those that are gone. An
	// epoch rises whenever a member has something to be told.
	Epochs func(ctx context.Context, groups []string) (map[string]int64, error)
	// Disturbed returns the indexes of the members that have.
	Disturbed func(ctx context.Context, members []GroupMember) ([]int, error)
}

// groupsEvery is the pause between two polls for rebalances, which slow polls
// stretch like those for records.
const groupsEvery = 50 * time.Millisecond

// Groups knows which members of groups wait. Rebalances of this proxy wake them
// in memory; those of others are found by one poll for all groups that somebody
// waits in, which runs only while somebody does, and asks about single members
// only when their group has changed. It is safe for concurrent use.
type Groups struct {
	asks Rebalances
	log  *slog.Logger
	pace pacer // owned by Run

	mu      sync.Mutex
	waiting map[string]map[*groupWaiter]bool // by group; guarded by mu
	arrived chan struct{}                    // holds one token when waiting became non-empty
}

type groupWaiter struct {
	GroupMember
	seen int64 // the group's epoch; guarded by the mu of Groups
	wake func()
}

// NewGroups returns a Groups that asks about what other proxies did.
func NewGroups(asks Rebalances, log *slog.Logger) *Groups {
	return &Groups{asks: asks, log: log, waiting: map[string]map[*groupWaiter]bool{}, arrived: make(chan struct{}, 1)}
}

// Wait calls wake, from any goroutine and perhaps several times, when a member
// has something to be told that it was not by a poll that saw its group in
// epoch seen; until stop is called.
func (g *Groups) Wait(m GroupMember, seen int64, wake func()) (stop func()) {
	w := &groupWaiter{GroupMember: m, seen: seen, wake: wake}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting[m.Group] == nil {
		g.waiting[m.Group] = map[*groupWaiter]bool{}
	}
	g.waiting[m.Group][w] = true
	select {
	case g.arrived <- struct{}{}:
	default:
	}
	return func() { g.stop(w) }
}

func (g *Groups) stop(w *groupWaiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.waiting[w.Group], w)
	if len(g.waiting[w.Group]) == 0 {
		delete(g.waiting, w.Group)
	}
}

// Wake wakes members of a group that wait. Who changes a group calls it after
// its commit.
func (g *Groups) Wake(group string, members []string) {
	if len(members) == 0 {
		return
	}
	named := make(map[string]bool, len(members))
	for _, id := range members {
		named[id] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for w := range g.waiting[group] {
		if named[w.Member] {
			w.wake()
		}
	}
}

// Run polls for what other proxies did, until ctx ends.
func (g *Groups) Run(ctx context.Context) error {
	loop(ctx, g.arrived, g.groups, g.poll)
	return nil
}

func (g *Groups) groups() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]string, 0, len(g.waiting))
	for id := range g.waiting {
		list = append(list, id)
	}
	return list
}

// poll asks once, wakes whom something was done to, and returns how long to
// pause.
func (g *Groups) poll(ctx context.Context, groups []string) time.Duration {
	start := time.Now()
	err := g.ask(ctx, groups)
	if err != nil {
		if ctx.Err() == nil {
			g.log.Debug("poll for other proxies' rebalances", "error", err)
		}
		return errorPause
	}
	return g.pace.pause(groupsEvery, time.Since(start))
}

func (g *Groups) ask(ctx context.Context, groups []string) error {
	epochs, err := g.asks.Epochs(ctx, groups)
	if err != nil {
		return err
	}
	moved := g.moved(groups, epochs)
	if len(moved) == 0 {
		return nil
	}
	members := make([]GroupMember, len(moved))
	for i, w := range moved {
		members[i] = w.GroupMember
	}
	disturbed, err := g.asks.Disturbed(ctx, members)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range moved {
		w.seen = epochs[w.Group] // not asked about again; what happened since raises it
	}
	for _, i := range disturbed {
		moved[i].wake()
	}
	return nil
}

// moved returns those who wait in a group that has another epoch than they saw,
// or is gone.
func (g *Groups) moved(groups []string, epochs map[string]int64) (list []*groupWaiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range groups {
		epoch, exists := epochs[id]
		for w := range g.waiting[id] {
			if !exists || epoch > w.seen {
				list = append(list, w)
			}
		}
	}
	return list
}
