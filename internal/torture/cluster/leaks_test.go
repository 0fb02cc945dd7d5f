package cluster

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What grows in the second half of a run is a leak, but for data that grow with their records, and a write-ahead log
// that is not larger than it may be. What grows in the first third is none.
func TestWhatGrowsIsALeak(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	for _, test := range []struct {
		name string
		at   func(i int64) sample
		want []string
	}{
		{"healthy", func(i int64) sample {
			return sample{memory: []int64{0, min(i, 30) * mega}, data: 30*mega + i*mega, wal: 5 * i * mega, records: 1000 * i}
		}, nil},
		{"memory", func(i int64) sample {
			return sample{memory: []int64{50 * mega, 6 * i * mega}, data: i * mega, records: i}
		}, []string{"leak-memory"}},
		{"data and log", func(i int64) sample {
			return sample{memory: []int64{mega}, data: i * i * mega, wal: 20 * i * mega, records: i}
		}, []string{"leak-data", "leak-wal"}},
	} {
		var taken []sample
		for i := range int64(90) {
			taken = append(taken, test.at(i+1))
		}
		k := course(taken)
		if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(k.Leaks()))); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// What comes and goes has not come down, however it is at the last look.
func TestWhatComesAndGoesIsLeft(t *testing.T) {
	t.Parallel()
	some := map[string]string{"leak-transactions": "one"}
	for _, test := range []struct {
		name string
		left func(look int) map[string]string
		want map[string]string
	}{
		{"nothing", func(int) map[string]string { return nil }, nil},
		{"at first", func(look int) map[string]string {
			if look < 3 {
				return some
			}
			return nil
		}, nil},
		{"always", func(int) map[string]string { return some }, some},
		{"now and then", func(look int) map[string]string {
			if look%quiet == 0 {
				return some
			}
			return nil
		}, some},
	} {
		synctest.Test(t, func(t *testing.T) {
			// It ends between two looks, of which the first is still.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute-lookTime/2)
			defer cancel()
			looks := 0
			got := awaitQuiet(ctx, func() map[string]string { looks++; return test.left(looks - 1) })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s: %s", test.name, diff)
			}
		})
	}
}
