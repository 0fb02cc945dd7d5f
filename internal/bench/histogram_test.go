package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreNearTheExactOnes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var whole, half histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			whole.add(d)
		} else {
			half.add(d)
		}
	}
	whole.merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.99, 0.999, 1} {
		exact := all[int(q*float64(len(all)-1))]
		if got := whole.quantile(q); (got - exact).Abs() > exact/100+1 {
			t.Errorf("quantile %g: %v, exact %v", q, got, exact)
		}
	}
}

func TestBucketsFollowEachOther(t *testing.T) {
	t.Parallel()
	last := -1
	for d := time.Duration(0); d < 10*time.Minute; d += max(1, d/500) {
		i := bucket(d)
		if i != last && i != last+1 {
			t.Fatalf("%v is in bucket %d, what is next below in %d", d, i, last)
		}
		if bucket(middle(i)) != i {
			t.Fatalf("the middle %v of bucket %d is in bucket %d", middle(i), i, bucket(middle(i)))
		}
		last = i
	}
	for _, d := range []time.Duration{-time.Second, 1 << 62} {
		if i := bucket(d); i != 0 && i != buckets-1 {
			t.Errorf("%v is in bucket %d", d, i)
		}
	}
	var empty histogram
	if got := empty.quantile(0.5); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
}
