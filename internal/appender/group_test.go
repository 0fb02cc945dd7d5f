package appender

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/google/go-cmp/cmp"
)

func TestAGroupIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		requests int
		size     int64
		want     []int // the sizes of the groups
	}{
		"by requests":                     {2*maxGroup + 5, 10, []int{maxGroup, maxGroup, 5}},
		"by bytes":                        {9, maxGroupBytes / 4, []int{4, 4, 1}},
		"never below one":                 {3, 2 * maxGroupBytes, []int{1, 1, 1}},
		"early ones count, and go before": {maxGroup + 1, 10, []int{maxGroup, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := New(newMemory(), Config{})
			var queued []*waiting
			for i := range c.requests {
				w := newWaiting(int64(i), 1, c.size)
				if i%2 == 0 && name == "early ones count, and go before" {
					a.ready = append(a.ready, w)
				} else {
					a.queue.add(w)
					queued = append(queued, w)
				}
			}
			readyFirst := slices.Concat(a.ready, queued)
			var sizes []int
			var taken []*waiting
			for g := a.take(time.Now()); len(g.waiting) > 0; g = a.take(time.Now()) {
				sizes, taken = append(sizes, len(g.waiting)), append(taken, g.waiting...)
			}
			if diff := cmp.Diff(c.want, sizes); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(taken, readyFirst) {
				t.Error("the order is another")
			}
		})
	}
}

// Who comes while a flush waits for the locks of others goes along, in order: of a lane, those before the first that
// does not fit, which the next flush has.
func TestWhoComesMeanwhileJoins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{})
		log.fits = func(op *store.Op) bool { return op.Append.Sequence != 3 }
		a := newRunning(t, log, Config{})
		var requests []*sent
		for i := range int64(6) {
			requests = append(requests, a.send(t.Context(), sequenced(i, 1)))
		}
		close(log.hold)
		for i, s := range requests {
			if got := mustSucceed(t, s); got.NextSequence != int64(i+1) {
				t.Errorf("request %d was told %+v", i, got)
			}
		}
		if diff := cmp.Diff([][]int64{{0, 1, 2}, {3, 4, 5}}, log.flushed()); diff != "" {
			t.Errorf("flushes (-want +got):\n%s", diff)
		}
		if a.queue.ops != 0 || a.queue.bytes != 0 || len(a.queue.lanes) != 0 {
			t.Errorf("the queue still has %+v", a.queue)
		}
	})
}

// Who joins is of a topic that the group has, and does not make it larger than a flush may be.
func TestWhoJoinsIsBounded(t *testing.T) {
	t.Parallel()
	q := newQueue()
	beside := newWaiting(0, 1, 1)
	beside.op.Append.Topic = &store.Topic{ID: 2}
	q.add(beside)
	for i := range maxGroup + 5 {
		q.add(newWaiting(int64(i), 1, 1))
	}
	g := &group{}
	g.add(newWaiting(0, 1, 1))
	q.join(g, func(*store.Op) bool { return true })
	if len(g.waiting) != maxGroup || q.ops != 7 {
		t.Errorf("the group has %d, and %d wait", len(g.waiting), q.ops)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, waiting := range []int64{0, 10_000} {
		b.Run(fmt.Sprintf("early=%d", waiting), func(b *testing.B) {
			a := New(newMemory(), Config{})
			now := time.Now()
			for i := range waiting {
				a.early.add(newWaiting(i+1, 1, 1), now.Add(time.Hour))
			}
			w := newWaiting(0, 1, 1)
			b.ReportAllocs()
			for b.Loop() {
				a.queue.add(w)
				if g := a.take(now); len(g.waiting) != 1 {
					b.Fatal(len(g.waiting))
				}
			}
		})
	}
}
