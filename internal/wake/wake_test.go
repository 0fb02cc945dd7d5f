package wake

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ends is the high watermarks of a database, which other proxies write to.
type ends struct {
	mu    sync.Mutex
	at    map[int64]int64 // guarded by mu
	asked [][]int64       // guarded by mu; the partitions of each poll
	times []time.Time     // guarded by mu; when it was
	fails error           // guarded by mu
	takes time.Duration   // guarded by mu; how long a poll takes
}

func newEnds(at map[int64]int64) *ends { return &ends{at: at} }

func (e *ends) read(ctx context.Context, ids []int64) (map[int64]int64, error) {
	e.mu.Lock()
	e.asked, e.times = append(e.asked, slices.Sorted(slices.Values(ids))), append(e.times, time.Now())
	takes := e.takes
	e.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fails != nil {
		return nil, e.fails
	}
	found := map[int64]int64{}
	for _, id := range ids {
		if end, ok := e.at[id]; ok {
			found[id] = end
		}
	}
	return found, nil
}

func (e *ends) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func (e *ends) end(id int64) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at[id]
}

func (e *ends) polls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked)
}

func newHub(e *ends) *Hub { return New(e.read, slog.New(slog.DiscardHandler)) }

// newRunningHub runs a hub in a bubble of synctest until the test ends.
func newRunningHub(t *testing.T, e *ends) *Hub {
	t.Helper()
	h := newHub(e)
	mustRun(t, h)
	return h
}

func mustRun(t *testing.T, h *Hub) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func isWoken(w *Waiter) bool {
	select {
	case <-w.Woken():
		return true
	default:
		return false
	}
}

func TestWakeReachesWhoWaitsForThePartition(t *testing.T) {
	t.Parallel()
	h := newHub(newEnds(nil))
	one, both, other := h.Wait(map[int64]int64{1: 0}), h.Wait(map[int64]int64{1: 0, 2: 0}), h.Wait(map[int64]int64{3: 0})
	h.Wake([]int64{1, 9})
	for name, c := range map[string]struct {
		w    *Waiter
		want bool
	}{"one": {one, true}, "both": {both, true}, "other": {other, false}} {
		if isWoken(c.w) != c.want {
			t.Errorf("%s: woken %v", name, !c.want)
		}
	}
	h.Wake([]int64{1, 2, 3}) // again: nobody is woken twice
	h.Wake(nil)
	if !isWoken(other) {
		t.Error("other is not woken")
	}
}

func TestStopLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	h := newHub(newEnds(nil))
	var waiters []*Waiter
	for i := range int64(100) {
		waiters = append(waiters, h.Wait(map[int64]int64{i % 7: 0, i: 5, 1000 + i: 0}))
	}
	h.Wake([]int64{3})
	if got := h.Waiting(); got != 100 {
		t.Errorf("%d wait", got)
	}
	rand.Shuffle(len(waiters), func(i, j int) { waiters[i], waiters[j] = waiters[j], waiters[i] })
	for _, w := range waiters {
		w.Stop()
	}
	if h.Waiting() != 0 || len(h.waiting) != 0 {
		t.Errorf("%d wait, %d partitions", h.Waiting(), len(h.waiting))
	}
}

func TestAStoppedWaiterIsNotWoken(t *testing.T) {
	t.Parallel()
	h := newHub(newEnds(nil))
	gone, stays := h.Wait(map[int64]int64{1: 0}), h.Wait(map[int64]int64{1: 0})
	gone.Stop()
	h.Wake([]int64{1})
	if isWoken(gone) || !isWoken(stays) {
		t.Errorf("gone: %v, stays: %v", isWoken(gone), isWoken(stays))
	}
}

// TestWaitingAgain: a waiter that waits again waits for the last only, and one
// that was stopped twice leaves no other out of the count.
func TestWaitingAgain(t *testing.T) {
	t.Parallel()
	h := newHub(newEnds(nil))
	other := h.Wait(map[int64]int64{1: 0})
	w := h.Waiter()
	w.Stop()
	w.Wait(map[int64]int64{1: 0, 2: 0})
	w.WaitOne(3, 0)
	if got := h.Waiting(); got != 2 {
		t.Errorf("%d wait, want 2", got)
	}
	h.Wake([]int64{1, 2})
	if isWoken(w) || !isWoken(other) {
		t.Error("woken for what it had waited for before, or the other one was not")
	}
	h.Wake([]int64{3})
	if !isWoken(w) {
		t.Error("not woken for what it waits for")
	}
	w.Stop()
	w.Stop()
	if got := h.Waiting(); got != 1 {
		t.Errorf("%d wait, want the other one", got)
	}
	other.Stop()
	if len(h.waiting) != 0 {
		t.Errorf("%d partitions are left", len(h.waiting))
	}
}

// TestNothingIsMissedBetweenReadAndWait has readers that follow partitions as
// a fetch does, while writers of this proxy, or of others, append. The clock of
// the bubble moves only when nobody can go on: a miss shows at once.
func TestNothingIsMissedBetweenReadAndWait(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]bool{"own writes": false, "foreign writes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				synctest.Test(t, func(t *testing.T) { mustMissNothing(t, foreign) })
			}
		})
	}
}

func mustMissNothing(t *testing.T, foreign bool) {
	t.Helper()
	const appends = 100
	e := newEnds(map[int64]int64{0: 0, 1: 0, 2: 0})
	h := newHub(e)
	if foreign {
		mustRun(t, h)
	}
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() { follow(t, h, e, []int64{0, 1, 2}, appends) })
	}
	for id := range int64(len(e.at)) {
		work.Go(func() { follow(t, h, e, []int64{id}, appends) })
		work.Go(func() {
			for n := range appends {
				e.set(func() { e.at[id]++ })
				if !foreign {
					h.Wake([]int64{id})
				}
				if n%10 == 0 {
					<-time.After(time.Duration(rand.IntN(int(pollEvery))))
				}
			}
		})
	}
	work.Wait()
	if h.Waiting() != 0 || len(h.waiting) != 0 {
		t.Errorf("%d wait, %d partitions", h.Waiting(), len(h.waiting))
	}
}

// follow reads until all partitions have reached an end.
func follow(t *testing.T, h *Hub, e *ends, ids []int64, until int64) {
	t.Helper()
	seen := map[int64]int64{}
	read := func() (grown, done bool) {
		done = true
		for _, id := range ids {
			end := e.end(id)
			grown = grown || end > seen[id]
			seen[id] = end
			done = done && end == until
		}
		return grown, done
	}
	for {
		_, done := read()
		if done {
			return
		}
		w := h.Wait(maps.Clone(seen))
		if grown, _ := read(); !grown {
			select {
			case <-w.Woken():
			case <-time.After(time.Hour):
				t.Errorf("partitions %v: missed what came after %v", ids, seen)
				w.Stop()
				return
			}
		}
		w.Stop()
	}
}
