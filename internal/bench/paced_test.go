package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestPaceCountsFromWhenARequestWasDue: a service that stops for a while makes all requests slow that were due
// in that time, and they are sent all the same.
func TestPaceCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	const stop = 200 * time.Millisecond
	arrived := new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if arrived.Add(1) == 10 {
			<-time.After(stop)
		}
	}))
	t.Cleanup(server.Close)
	makers := []maker{plain("t", one)}
	s, err := paced(t.Context(), strings.TrimPrefix(server.URL, "http://"), makers, 200, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if s.units < 90 || arrived.Load() != s.units {
		t.Errorf("%d requests sent, %d arrived, want 100", s.units, arrived.Load())
	}
	// 40 are due while it stops, so that half of them wait for longer than half of it.
	if slow := s.latency.quantile(0.82); slow < stop/2 {
		t.Errorf("a fifth of all waited for %v or longer, want %v at least", slow, stop/2)
	}
}

// TestPaceThatIsNotKeptEndsAllTheSame: of 100 requests that are due, a service that takes 100 ms for each has
// answered a few when the time is over.
func TestPaceThatIsNotKeptEndsAllTheSame(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		<-time.After(100 * time.Millisecond)
	}))
	t.Cleanup(server.Close)
	makers := []maker{plain("t", one)}
	s, err := paced(t.Context(), strings.TrimPrefix(server.URL, "http://"), makers, 200, 500*time.Millisecond)
	if err != nil || s.units == 0 || s.units > 6 || s.rate() > 10 {
		t.Errorf("%d requests, %v; want 6 at the most", s.units, err)
	}
}
