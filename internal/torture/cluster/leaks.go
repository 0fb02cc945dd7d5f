package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// How much more than at the start there may be when all is over: goroutines and descriptors of a connection that is
// being closed, or of a keep-alive one of somebody who looks.
const (
	moreGoroutines = 12
	moreFiles      = 12
	poolSize       = 8 // of a proxy, its default
	otherClients   = 3 // of PostgreSQL: who asks, and whoever migrates or starts
)

// quiet is how often in a row, lookTime apart, nothing must be left: for longer than a transaction counts as short.
const (
	quiet    = 5
	lookTime = 500 * time.Millisecond
)

// AwaitFloor waits until the proxies take no more than when they were new, and PostgreSQL has had no client in a
// transaction of a second, whenever it looked for 2.5 s; what does not come down until ctx ends is told as an alarm.
// Nobody may send requests any more, and no connections to the proxies may be left.
func (c *Cluster) AwaitFloor(ctx context.Context) {
	for name, detail := range awaitQuiet(ctx, func() map[string]string { return c.leaks(ctx) }) {
		c.log.alarm(name, detail)
	}
}

// awaitQuiet looks until nothing is left for quiet looks in a row. If ctx ends first, it returns what was left when
// something last was.
func awaitQuiet(ctx context.Context, look func() map[string]string) map[string]string {
	var last map[string]string
	for still := 0; ; {
		left := look()
		switch {
		case ctx.Err() != nil: // who was asked may not have answered for that reason
			return last
		case len(left) > 0:
			last, still = left, 0
		default:
			still++
		}
		if still == quiet {
			return nil
		}
		wait.For(ctx, lookTime)
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

// Course is how what a run takes has developed: averages of each third of it. In the first one all grows.
type Course struct {
	Memory    [3]int64 // resident, of a proxy, in bytes
	Data, WAL [3]int64 // in bytes
	Records   [3]int64 // that clients have sent by then
	Samples   int
}

// Course returns how it has developed so far.
func (c *Cluster) Course() Course {
	if c.figures == nil {
		return Course{}
	}
	c.figures.mu.Lock()
	defer c.figures.mu.Unlock()
	return course(c.figures.taken)
}

func course(taken []sample) (k Course) {
	k.Samples = len(taken)
	third := int64(len(taken) / 3)
	if third == 0 {
		return k
	}
	for i := range k.Memory {
		memory, answers := int64(0), int64(0)
		for _, s := range taken[int64(i)*third:][:third] {
			k.Data[i] += s.data
			k.WAL[i] += s.wal
			k.Records[i] += s.records
			for _, m := range s.memory {
				if m > 0 {
					memory += m
					answers++
				}
			}
		}
		k.Memory[i] = memory / max(1, answers)
		k.Data[i], k.WAL[i], k.Records[i] = k.Data[i]/third, k.WAL[i]/third, k.Records[i]/third
	}
	return k
}

// leastWAL is how large a write-ahead log may be in any case: twice max_wal_size, below which it is to stay, about.
const leastWAL = 512 << 20

// Leaks returns what has grown by more than half from the second third to the last one, by the names of alarms. A run
// of minutes is too short for it. Data grow with the records, which stay for ever: it is the bytes of one that must not.
func (k *Course) Leaks() map[string]string {
	const most = 1.5
	grown := map[string]string{}
	note := func(name, what string, was, is float64) {
		if is > most*was {
			grown[name] = fmt.Sprintf("%s: %.0f in the second third of the run, %.0f in the last one", what, was, is)
		}
	}
	if k.Samples < 3 || k.Records[1] == 0 || k.Records[2] == 0 {
		return grown
	}
	note("leak-memory", "bytes of a proxy's memory", float64(k.Memory[1]), float64(k.Memory[2]))
	note("leak-data", "bytes of data for each record", float64(k.Data[1])/float64(k.Records[1]),
		float64(k.Data[2])/float64(k.Records[2]))
	note("leak-wal", "bytes of the write-ahead log", max(float64(k.WAL[1]), leastWAL/most), float64(k.WAL[2]))
	return grown
}
