package wake

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPollFindsWhatOtherProxiesWrote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(map[int64]int64{1: 5, 2: 7})
		h := newRunningHub(t, e)
		first, second := h.Wait(map[int64]int64{1: 5}), h.Wait(map[int64]int64{2: 7})
		defer first.Stop()
		defer second.Stop()
		<-time.After(time.Second)
		if isWoken(first) || isWoken(second) {
			t.Fatal("woken, and nothing was written")
		}
		e.set(func() { e.at[1] = 6 })
		start := time.Now()
		<-first.Woken()
		if took := time.Since(start); took > pollEvery {
			t.Errorf("took %v", took)
		}
		if isWoken(second) {
			t.Error("woken by another partition")
		}
	})
}

func TestPollWakesWhoseEndWasOldAlready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newRunningHub(t, newEnds(map[int64]int64{1: 5}))
		w := h.Wait(map[int64]int64{1: 4})
		defer w.Stop()
		synctest.Wait()
		if !isWoken(w) {
			t.Error("not woken by the first poll")
		}
	})
}

func TestPollWakesWhosePartitionIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(map[int64]int64{1: 5, 2: 5})
		h := newRunningHub(t, e)
		gone, stays := h.Wait(map[int64]int64{1: 5}), h.Wait(map[int64]int64{2: 5})
		defer gone.Stop()
		defer stays.Stop()
		synctest.Wait()
		e.set(func() { delete(e.at, 1) })
		<-gone.Woken()
		if isWoken(stays) {
			t.Error("woken by the end of another partition")
		}
	})
}

func TestPollRunsOnlyWhileSomebodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(map[int64]int64{1: 0, 2: 0})
		h := newRunningHub(t, e)
		<-time.After(time.Hour)
		if got := e.polls(); got != 0 {
			t.Fatalf("%d polls for nobody", got)
		}
		one, two := h.Wait(map[int64]int64{1: 0}), h.Wait(map[int64]int64{1: 0, 2: 0})
		<-time.After(time.Second)
		before := e.polls()
		if want := int(time.Second / pollEvery); before < want-1 || before > want+1 {
			t.Errorf("%d polls in a second, want about %d", before, want)
		}
		if diff := cmp.Diff([]int64{1, 2}, e.asked[before-1]); diff != "" {
			t.Errorf("one poll asks for all partitions once:\n%s", diff)
		}
		one.Stop()
		two.Stop()
		<-time.After(time.Hour)
		if got := e.polls() - before; got > 1 {
			t.Errorf("%d polls after the last one had gone", got)
		}
		w := h.Wait(map[int64]int64{2: 0})
		synctest.Wait()
		if diff := cmp.Diff([]int64{2}, e.asked[e.polls()-1]); diff != "" {
			t.Errorf("the poll for the next one:\n%s", diff)
		}
		w.Stop()
	})
}

func TestSlowPollsMakePollsRarerWithinBounds(t *testing.T) {
	t.Parallel()
	for takes, pause := range map[time.Duration]time.Duration{
		time.Microsecond:      pollEvery,
		10 * time.Millisecond: 90 * time.Millisecond,
		5 * time.Second:       maxPause,
	} {
		t.Run(takes.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnds(map[int64]int64{1: 0})
				e.takes = takes
				h := newRunningHub(t, e)
				w := h.Wait(map[int64]int64{1: 0})
				defer w.Stop()
				<-time.After(10 * time.Minute)
				e.mu.Lock()
				defer e.mu.Unlock()
				n := len(e.times) - 1
				if got := e.times[n].Sub(e.times[n-1]) - takes; got < pause-time.Microsecond || got > pause {
					t.Errorf("pause of %v, want %v", got, pause)
				}
			})
		})
	}
}

// TestOneSlowPollBlindsNobody: a poll that the processor was taken from for 40 ms
// is no reason to look away for nine times as long.
func TestOneSlowPollBlindsNobody(t *testing.T) {
	t.Parallel()
	const slow = 40 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(map[int64]int64{1: 0})
		h := newRunningHub(t, e)
		w := h.Wait(map[int64]int64{1: 0})
		defer w.Stop()
		<-time.After(time.Second)
		e.set(func() { e.takes = slow })
		<-time.After(pollEvery)
		synctest.Wait() // one asks
		e.set(func() { e.takes = 0 })
		<-time.After(time.Second)
		e.mu.Lock()
		defer e.mu.Unlock()
		longest := time.Duration(0)
		for i, at := range e.times[1:] {
			longest = max(longest, at.Sub(e.times[i]))
		}
		if longest <= slow || longest > 3*slow {
			t.Errorf("from a poll to the next one %v at the most, want some more than %v", longest, slow)
		}
	})
}

func TestAFailedPollPausesAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(map[int64]int64{1: 0})
		e.fails = errors.New("the database is away")
		h := newRunningHub(t, e)
		w := h.Wait(map[int64]int64{1: 0})
		defer w.Stop()
		<-time.After(10*errorPause - 1)
		if got := e.polls(); got != 10 {
			t.Errorf("%d polls, want 10", got)
		}
		if isWoken(w) {
			t.Error("woken by an error")
		}
		e.set(func() { e.fails, e.at[1] = nil, 1 })
		<-w.Woken()
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*Hub, *ends){
		"nobody waits":       func(*Hub, *ends) {},
		"between two polls":  func(h *Hub, _ *ends) { h.Wait(map[int64]int64{1: 0}) },
		"in a poll":          func(h *Hub, e *ends) { e.takes = time.Hour; h.Wait(map[int64]int64{1: 0}) },
		"after a failed one": func(h *Hub, e *ends) { e.fails = errors.New("away"); h.Wait(map[int64]int64{1: 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnds(map[int64]int64{1: 0})
				h := newHub(e)
				prepare(h, e)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- h.Run(ctx) }()
				synctest.Wait()
				cancel()
				start := time.Now()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
