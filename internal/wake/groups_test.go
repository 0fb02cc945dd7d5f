package wake

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rebalances is the groups of a database, which other proxies change.
type rebalances struct {
	mu        sync.Mutex
	epochs    map[string]int64 // guarded by mu
	disturbed []string         // members; guarded by mu
	asked     int              // how often about epochs; guarded by mu
	looked    [][]string       // the members that were asked about; guarded by mu
	fails     bool             // guarded by mu
}

func (r *rebalances) all() Rebalances {
	return Rebalances{
		Epochs: func(_ context.Context, groups []string) (map[string]int64, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asked++
			if r.fails {
				return nil, errors.New("away")
			}
			found := map[string]int64{}
			for _, g := range groups {
				if epoch, ok := r.epochs[g]; ok {
					found[g] = epoch
				}
			}
			return found, nil
		},
		Disturbed: func(_ context.Context, members []GroupMember) (list []int, _ error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			var ids []string
			for i, m := range members {
				if ids = append(ids, m.Member); slices.Contains(r.disturbed, m.Member) {
					list = append(list, i)
				}
			}
			slices.Sort(ids)
			r.looked = append(r.looked, ids)
			return list, nil
		},
	}
}

func (r *rebalances) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// runGroups runs a Groups until the test ends, in a bubble.
func runGroups(t *testing.T, r *rebalances) *Groups {
	t.Helper()
	g := NewGroups(r.all(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

// woken returns a function to be woken by, and one that tells how often it was.
func woken() (wake func(), times func() int) {
	var mu sync.Mutex
	n := 0
	return func() { mu.Lock(); n++; mu.Unlock() }, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// Whom another proxy's rebalance concerns is woken soon, nobody else is, and who
// was asked about once is not again.
func TestRebalanceElsewhereWakesWhomItConcerns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rebalances{epochs: map[string]int64{"g": 7, "h": 3}}
		g := runGroups(t, r)
		wake1, times1 := woken()
		wake2, times2 := woken()
		wakeH, timesH := woken()
		g.Wait(GroupMember{"g", "m1", 5}, 7, wake1)
		g.Wait(GroupMember{"g", "m2", 6}, 7, wake2)
		g.Wait(GroupMember{"h", "m1", 3}, 3, wakeH)
		<-time.After(time.Second)
		if len(r.looked) != 0 {
			t.Errorf("asked about %v, though nothing has changed", r.looked)
		}
		r.set(func() { r.epochs["g"], r.disturbed = 8, []string{"m1"} })
		<-time.After(2 * groupsEvery)
		if times1() != 1 || times2() != 0 || timesH() != 0 {
			t.Errorf("woken %d, %d and %d times, want 1, 0 and 0", times1(), times2(), timesH())
		}
		r.set(func() { r.disturbed = nil })
		<-time.After(time.Second)
		if len(r.looked) != 1 || !slices.Equal(r.looked[0], []string{"m1", "m2"}) {
			t.Errorf("asked about %v, want once about the group's", r.looked)
		}
		r.set(func() { delete(r.epochs, "h"); r.disturbed = []string{"m1"} })
		<-time.After(2 * groupsEvery)
		if timesH() == 0 {
			t.Error("nobody was woken in a group that was deleted")
		}
	})
}

// A poll that saw the group before it changed is woken, however late it waits.
func TestRebalanceBeforeTheWaitIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rebalances{epochs: map[string]int64{"g": 8}, disturbed: []string{"m1"}}
		g := runGroups(t, r)
		wake, times := woken()
		g.Wait(GroupMember{"g", "m1", 5}, 7, wake)
		<-time.After(groupsEvery)
		if times() != 1 {
			t.Errorf("woken %d times", times())
		}
	})
}

// While nobody waits nothing is asked; a database that is away is asked again.
func TestGroupsAskOnlyWhileSomebodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rebalances{epochs: map[string]int64{"g": 7}, fails: true}
		g := runGroups(t, r)
		<-time.After(time.Minute)
		if r.asked != 0 {
			t.Errorf("asked %d times for nobody", r.asked)
		}
		wake, times := woken()
		stop := g.Wait(GroupMember{"g", "m1", 5}, 6, wake)
		<-time.After(time.Second)
		r.set(func() { r.fails, r.disturbed = false, []string{"m1"} })
		<-time.After(2 * errorPause)
		if times() != 1 {
			t.Errorf("woken %d times after the database was away", times())
		}
		stop()
		<-time.After(groupsEvery)
		r.set(func() { r.asked = 0 })
		<-time.After(time.Minute)
		if r.asked != 0 {
			t.Errorf("asked %d times after the last one has gone", r.asked)
		}
	})
}

// A rebalance of this proxy wakes the members that it names at once.
func TestRebalanceHereWakesAtOnce(t *testing.T) {
	t.Parallel()
	g := NewGroups(Rebalances{}, slog.New(slog.DiscardHandler)) // nothing runs
	wake1, times1 := woken()
	wake2, times2 := woken()
	stop := g.Wait(GroupMember{"g", "m1", 5}, 7, wake1)
	g.Wait(GroupMember{"g", "m2", 5}, 7, wake2)
	g.Wake("g", []string{"m1", "m3"})
	g.Wake("h", []string{"m2"})
	stop()
	g.Wake("g", []string{"m1"})
	if times1() != 1 || times2() != 0 {
		t.Errorf("woken %d and %d times, want 1 and 0", times1(), times2())
	}
}
