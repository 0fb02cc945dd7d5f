package cluster

import (
	"maps"
	"slices"
	"testing"

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
