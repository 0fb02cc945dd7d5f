package appender

import (
	"fmt"
	"slices"
	"testing"
	"time"

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
