package cluster

import (
	"context"
	"fmt"
	"time"
)

// How much more than at the start there may be when all is over: goroutines and descriptors of a connection that is
// being closed, or of a keep-alive one of somebody who looks.
const (
	moreGoroutines = 12
	moreFiles      = 12
	poolSize       = 8 // of a proxy, its default
	otherClients   = 3 // of PostgreSQL: who asks, and whoever migrates or starts
)

// AwaitFloor waits until the proxies take no more than when they were new, and PostgreSQL has no client in a
// transaction, for twice as long as a transaction may take; what does not come down until ctx ends is told as an alarm.
// Nobody may send requests any more, and no connections to the proxies may be left.
func (c *Cluster) AwaitFloor(ctx context.Context) {
	var left map[string]string
	for quiet := 0; quiet < 5; {
		now := c.leaks(ctx)
		if ctx.Err() != nil {
			break
		}
		if left, quiet = now, quiet+1; len(left) > 0 {
			quiet = 0
		}
		if !sleep(ctx, 500*time.Millisecond) {
			break
		}
	}
	for name, detail := range left {
		c.log.alarm(name, detail)
	}
}

// leaks returns what there is too much of, by the names of the alarms.
func (c *Cluster) leaks(ctx context.Context) map[string]string {
	left := map[string]string{}
	for _, p := range c.Proxies {
		f, err := p.Figures(ctx)
		if err != nil {
			left["no-progress"] = fmt.Sprintf("%s does not tell its figures: %v", p.Name, err)
			continue
		}
		// The pool may be larger now than it was at the start; each connection has a goroutine at most.
		pool := max(0, f.Pool-p.floor.Pool)
		if most := p.floor.Goroutines + pool + moreGoroutines; f.Goroutines > most {
			left["leak-goroutines"] = fmt.Sprintf("%s has %d goroutines, %d at the start",
				p.Name, f.Goroutines, p.floor.Goroutines)
		}
		if most := p.floor.Files + pool + moreFiles; f.Files > most {
			left["leak-connections"] = fmt.Sprintf("%s has %d files open, %d at the start", p.Name, f.Files, p.floor.Files)
		}
	}
	s, err := c.Sessions(ctx)
	most := int64(len(c.Proxies)*poolSize + otherClients)
	switch {
	case err != nil:
		left["no-progress"] = fmt.Sprintf("PostgreSQL does not answer: %v", err)
	case s.Connections > most:
		left["leak-connections"] = fmt.Sprintf("PostgreSQL has %d connections; the proxies' pools have %d at most",
			s.Connections, most)
	case s.Transactions > 0:
		left["leak-transactions"] = fmt.Sprintf("%d sessions are in a transaction that has lasted longer than a second",
			s.Transactions)
	}
	return left
}

// Course is how what a run takes has developed: averages of its first and its last third.
type Course struct {
	Memory    [2]int64 // resident, of a proxy, in bytes
	Data, WAL [2]int64 // in bytes
	Samples   int
}

// Course returns how it has developed so far.
func (c *Cluster) Course() (k Course) {
	if c.figures == nil {
		return k
	}
	c.figures.mu.Lock()
	taken := c.figures.taken
	c.figures.mu.Unlock()
	k.Samples = len(taken)
	third := (len(taken) + 2) / 3
	if third == 0 {
		return k
	}
	for i, part := range [][]sample{taken[:third], taken[len(taken)-third:]} {
		memory, proxies := int64(0), int64(0)
		for _, s := range part {
			k.Data[i] += s.data / int64(third)
			k.WAL[i] += s.wal / int64(third)
			for _, m := range s.memory {
				if m > 0 {
					memory += m
					proxies++
				}
			}
		}
		if proxies > 0 {
			k.Memory[i] = memory / proxies
		}
	}
	return k
}
