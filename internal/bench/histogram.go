package bench

import (
	"math/bits"
	"time"
)

const (
	subBuckets = 64 // of each power of two: durations are kept to 1.6 %
	buckets    = 35 * subBuckets
)

// A histogram counts durations, from 1 ns to 18 minutes, without allocating. The zero value is empty.
type histogram struct {
	counts [buckets]uint32
	total  int64
}

// add counts one duration; a negative one as 0.
func (h *histogram) add(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
}

// merge adds the counts of another one.
func (h *histogram) merge(other *histogram) {
	for i, n := range &other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// quantile returns the duration that the part q of all durations does not exceed; 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := int64(q*float64(h.total-1)), int64(0)
	for i, n := range &h.counts {
		if seen += int64(n); seen > rank {
			return middle(i)
		}
	}
	return 0
}

// bucket returns the index of a duration: nanoseconds below 128 have one each, and from there on each power
// of two has subBuckets.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-7, 0)
	return min(shift*subBuckets+int(v>>shift), buckets-1)
}

// middle returns the duration in the middle of a bucket.
func middle(i int) time.Duration {
	shift := max(i/subBuckets-1, 0)
	return time.Duration((i-shift*subBuckets)<<shift + 1<<shift/2)
}
