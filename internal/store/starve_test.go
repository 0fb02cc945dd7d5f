package store

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Eight proxies append for one producer without a pause, each in a partition
// of its own: there is always an append in flight. A registration gets through
// before it has waited for the producer's lock as long as it may; else it is
// refused.
func TestP9RegistrationIsNotStarved(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	stores := make([]*Store, 8)
	for i := range stores {
		stores[i] = newStore(t, url)
	}
	mustTopic(t, stores[0], "t", len(stores))
	first := mustRegister(t, stores[0], "billing")
	var current atomic.Pointer[Producer]
	current.Store(&first)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var done atomic.Int64
	for w, s := range stores {
		writers.Go(func() {
			for next := int64(0); ctx.Err() == nil; {
				if _, err := produce(s, sequenced(*current.Load(), next, "x").to(w)); err == nil {
					next++
					done.Add(1)
				}
			}
		})
	}
	defer writers.Wait()
	defer stop()
	beside := newStore(t, url)
	var longest time.Duration
	for range 20 {
		start := time.Now()
		p := mustRegister(t, beside, "billing")
		longest = max(longest, time.Since(start))
		current.Store(&p)
		for before := done.Load(); done.Load() < before+20; {
			mustEnd(t, beside)
		}
	}
	t.Logf("the longest registration took %v", longest)
}
