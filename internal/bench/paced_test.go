package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newPace returns a pace of 100 requests in 500 ms, and a clock that only waiting moves.
func newPace() (pace, clock, *time.Time) {
	now := time.Unix(1_700_000_000, 0)
	p := pace{due: now, interval: 5 * time.Millisecond, until: now.Add(500 * time.Millisecond), end: now.Add(550 * time.Millisecond)}
	return p, clock{
		now:   func() time.Time { return now },
		sleep: func(d time.Duration) { now = now.Add(max(0, d)) },
	}, &now
}

// TestPaceCountsFromWhenARequestWasDue: a service that stops for a while makes all requests slow that were due
// in that time, and they are sent all the same.
func TestPaceCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	p, clock, now := newPace()
	var s sample
	err := p.keep(clock, &s, func(n int64) error {
		if n == 10 {
			*now = now.Add(200 * time.Millisecond)
		}
		return nil
	})
	if err != nil || s.units != 100 {
		t.Fatalf("%d requests sent, %v, want 100", s.units, err)
	}
	// The one that it stops at waits 200 ms, those that were due meanwhile 195, 190 … 5, all others not at all.
	for q, want := range map[float64]time.Duration{0.5: 0, 0.82: 110 * time.Millisecond, 1: 200 * time.Millisecond} {
		if got := s.latency.quantile(q); got < want*98/100 || got > want*102/100+time.Microsecond {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// TestPaceThatIsNotKeptEndsAllTheSame: of 100 requests that are due, a service that takes 100 ms for each has
// answered six when a tenth more than the time is over.
func TestPaceThatIsNotKeptEndsAllTheSame(t *testing.T) {
	t.Parallel()
	p, clock, now := newPace()
	var s sample
	err := p.keep(clock, &s, func(int64) error {
		*now = now.Add(100 * time.Millisecond)
		return nil
	})
	if err != nil || s.units != 6 {
		t.Errorf("%d requests, %v, want 6", s.units, err)
	}
}

// TestPacedTakesTurns: each connection sends its share of what is due, and no more, and what is counted has arrived.
func TestPacedTakesTurns(t *testing.T) {
	t.Parallel()
	var first, other atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "other") {
			other.Add(1)
		} else {
			first.Add(1)
		}
	}))
	t.Cleanup(server.Close)
	makers := []maker{plain("t", one), plain("other", one)}
	s, err := paced(t.Context(), strings.TrimPrefix(server.URL, "http://"), makers, 50, 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	// Twenty are due. A machine that is busy elsewhere may leave some out, and make none more.
	if a, b := first.Load(), other.Load(); a > 10 || b > 10 || a+b != s.units || s.units == 0 {
		t.Errorf("%d and %d requests arrived, %d were counted, want 10 and 10 at the most", a, b, s.units)
	}
}
