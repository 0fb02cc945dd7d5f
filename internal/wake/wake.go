// Package wake tells waiting fetches that a partition, or a topic, has grown,
// and waiting members that their group was rebalanced. Writes of this proxy wake
// their readers in memory. Writes of other proxies are found by one poll for all
// partitions that somebody waits for, which runs only while somebody does. A
// waiter costs a map entry and a channel, and no connection (rule F4).
package wake

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Ends reads the high watermarks of partitions by id, and likewise how many
// partitions a topic has, leaving out what is gone.
type Ends func(ctx context.Context, ids []int64) (map[int64]int64, error)

// pollEvery is the pause between two polls. Slow polls stretch it, see pacer.
const pollEvery = 5 * time.Millisecond

// Hub knows who waits for what. It is safe for concurrent use.
type Hub struct {
	ends Ends
	log  *slog.Logger
	pace pacer // owned by Run

	mu      sync.Mutex
	waiting map[int64]map[*Waiter]int64 // guarded by mu; the end that each waiter has seen, by partition id
	waiters int                         // guarded by mu
	arrived chan struct{}               // holds one token when waiting became non-empty
}

// New returns a Hub that asks ends for what other proxies wrote.
func New(ends Ends, log *slog.Logger) *Hub {
	return &Hub{ends: ends, log: log, waiting: map[int64]map[*Waiter]int64{}, arrived: make(chan struct{}, 1)}
}

// Waiter waits for growth of partitions.
type Waiter struct {
	hub   *Hub
	waits bool          // guarded by the hub's mu
	id    int64         // the partition, where it is one
	more  []int64       // further ones
	woke  chan struct{} // holds one token when it was woken
}

// Waiter returns a waiter that does not wait yet.
func (h *Hub) Waiter() *Waiter { return &Waiter{hub: h, woke: make(chan struct{}, 1)} }

// Wait registers interest in partitions beyond the ends that the caller has
// seen, and in topics with more partitions than it has seen. To miss nothing the caller registers first, then reads once more, then
// waits for Woken. It must call Stop.
func (h *Hub) Wait(seen map[int64]int64) *Waiter {
	w := h.Waiter()
	w.Wait(seen)
	return w
}

// Wait is that of the Hub. It ends what the waiter was interested in before.
func (w *Waiter) Wait(seen map[int64]int64) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w.stop()
	w.more = w.more[:0]
	first := true
	for id, end := range seen {
		if first {
			w.id, first = id, false
		} else {
			w.more = append(w.more, id)
		}
		h.add(w, id, end)
	}
	w.arrive()
}

// WaitOne is Wait for one partition.
func (w *Waiter) WaitOne(id, end int64) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w.stop()
	w.id, w.more = id, nil
	h.add(w, id, end)
	w.arrive()
}

// add registers a waiter for one of its partitions. The caller holds mu.
func (h *Hub) add(w *Waiter, id, end int64) {
	if h.waiting[id] == nil {
		h.waiting[id] = map[*Waiter]int64{}
	}
	h.waiting[id][w] = end
}

// arrive counts a waiter that was added. The caller holds mu.
func (w *Waiter) arrive() {
	w.waits = true
	w.hub.waiters++
	select {
	case w.hub.arrived <- struct{}{}:
	default:
	}
}

// Woken has one value to receive when one of the partitions has grown, or is
// gone, or somebody called Wake. Where that happened and nobody received, the
// value is there when the waiter waits again.
func (w *Waiter) Woken() <-chan struct{} { return w.woke }

// Stop ends the interest, if there is any.
func (w *Waiter) Stop() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.stop()
}

// stop is Stop for a caller who holds mu.
func (w *Waiter) stop() {
	if !w.waits {
		return
	}
	w.waits = false
	w.hub.waiters--
	w.hub.remove(w, w.id)
	for _, id := range w.more {
		w.hub.remove(w, id)
	}
}

// remove ends a waiter's interest in one partition. The caller holds mu.
func (h *Hub) remove(w *Waiter, id int64) {
	delete(h.waiting[id], w)
	if len(h.waiting[id]) == 0 {
		delete(h.waiting, id)
	}
}

// Wake wakes the waiter. It may be called at any time, also after Stop.
func (w *Waiter) Wake() {
	select {
	case w.woke <- struct{}{}:
	default:
	}
}

// Waiting returns how many waiters there are.
func (h *Hub) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiters
}

// WakeAll wakes everybody who waits.
func (h *Hub) WakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiters := range h.waiting {
		for w := range waiters {
			w.Wake()
		}
	}
}

// Wake wakes everybody who waits for one of the partitions or topics. Writers
// call it after their commit.
func (h *Hub) Wake(ids []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		for w := range h.waiting[id] {
			w.Wake()
		}
	}
}

// Run polls for what other proxies wrote, until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	loop(ctx, h.arrived, h.partitions, h.poll)
	return nil
}

// poll asks once, wakes whose partition has grown or is gone, and returns how
// long to pause.
func (h *Hub) poll(ctx context.Context, ids []int64) time.Duration {
	start := time.Now()
	ends, err := h.ends(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			h.log.Debug("poll for other proxies' records", "error", err)
		}
		return errorPause
	}
	h.mu.Lock()
	for _, id := range ids {
		end, exists := ends[id]
		for w, seen := range h.waiting[id] {
			if !exists || end > seen {
				w.Wake()
			}
		}
	}
	h.mu.Unlock()
	return h.pace.pause(pollEvery, time.Since(start))
}

func (h *Hub) partitions() []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]int64, 0, len(h.waiting))
	for id := range h.waiting {
		ids = append(ids, id)
	}
	return ids
}
