package network

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A service answers as the real one does where the network listens, and writes down what arrives.
type service struct {
	mu      sync.Mutex
	arrived []string // guarded by mu
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.arrived = append(s.arrived, r.Method+" "+r.URL.Path+" "+string(body))
	s.mu.Unlock()
	switch {
	case r.URL.Path == "/v1/producers":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"producer_id":1001,"producer_epoch":4,"transactional_id":"billing"}`)
	case strings.HasSuffix(r.URL.Path, "/commit"):
		_, _ = io.WriteString(w, `{"transaction_id":"a","state":"committed"}`)
	case strings.Contains(r.URL.Path, "/transactions/"):
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"transaction_id":"a","state":"ongoing"}`)
	case strings.HasSuffix(r.URL.Path, "/refused"):
		w.WriteHeader(http.StatusConflict)
	}
}

// has returns how often a request has arrived.
func (s *service) has(request string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.arrived {
		if r == request {
			n++
		}
	}
	return n
}

// A request of a test.
type request struct{ method, path, header, body string }

func (r request) String() string { return r.method + " " + r.path + " " + r.body }

// mustSend sends a request; its answer may be lost.
func mustSend(t *testing.T, url string, r request) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, url+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(r.header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := newClient(t).Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

func TestLateRequestsWaitForTheirEvent(t *testing.T) {
	t.Parallel()
	var (
		register = request{method: "POST", path: "/v1/producers", body: `{"transactional_id":"billing"}`}
		begin    = func(id string) request {
			const body = `{"producer_id":1001,"producer_epoch":4,"offsets":[{"group":"g"}]}`
			return request{method: "PUT", path: "/v1/transactions/" + id, body: body}
		}
		commit = func(id string) request {
			return request{method: "POST", path: "/v1/transactions/" + id + "/commit", body: `{}`}
		}
		join = func(group string) request {
			return request{method: "PUT", path: "/v1/groups/" + group + "/members/m", body: `{"topics":["t"]}`}
		}
		produce = request{method: "POST", path: "/v1/topics/t/records", header: "Producer-Id: 1001", body: `{"records":[]}`}
		staged  = request{method: "POST", path: "/v1/topics/t/records", header: "Transaction-Id: a", body: `{"records":[]}`}
		poll    = request{method: "POST", path: "/v1/groups/g/members/n/poll", body: `{}`}
	)
	for name, test := range map[string]struct {
		before, late, not, event request
		count                    string
	}{
		"produce past its fence":     {register, produce, commit("a"), register, "late past a fence"},
		"registration past a fence":  {begin("b"), register, begin("c"), register, "late past a fence"},
		"produce past a transaction": {begin("z"), produce, commit("a"), begin("a"), "late past a begin"},
		"staged past its end":        {begin("a"), staged, commit("b"), commit("a"), "late past an end"},
		"staged past the next one":   {begin("a"), staged, begin("a"), begin("b"), "late past a begin"},
		"commit past the next one":   {begin("a"), commit("a"), begin("a"), begin("b"), "late past a begin"},
		"begin past its own end":     {register, begin("a"), commit("b"), commit("a"), "late past an end"},
		"one with offsets":           {register, begin("a"), join("h"), join("g"), "late past a rebalance"},
		"poll past a rebalance":      {join("g"), poll, join("h"), join("g"), "late past a rebalance"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &service{}
			n := newNetwork(t, Config{Latest: time.Hour, Shares: only(Late)}, 2, s.ServeHTTP)
			// Which of the moments of a request is drawn is up to the seed: all that may be are drawn.
			for n.Counts()[test.count] == 0 {
				n.Calm(true)
				mustSend(t, n.URLs()[0], test.before)
				n.Calm(false)
				held := test.late
				mustSend(t, n.URLs()[0], held)
				n.Calm(true)
				if test.late != test.event {
					if got := s.has(held.String()); got != 0 {
						t.Fatalf("it came before anything else, %d times", got)
					}
				}
				mustSend(t, n.URLs()[1], test.not)
				if got := n.Counts()[test.count]; got != 0 {
					t.Fatalf("%s is taken for the event", test.not)
				}
				mustSend(t, n.URLs()[1], test.event)
				if !n.Settle(t.Context()) {
					t.Fatal("it does not settle")
				}
				s.mu.Lock()
				s.arrived = nil
				s.mu.Unlock()
			}
			counts := n.Counts()
			var late, answered int64
			for what, count := range counts {
				switch {
				case what == "late: 2xx":
					answered = count
				case strings.HasPrefix(what, "late"):
					late += count
				}
			}
			if late != answered {
				t.Errorf("%d were late, %d of them answered: %v", late, answered, counts)
			}
		})
	}
}

// What nobody heard the answer of is counted by it.
func TestAnswersOfLateRequestsAreCounted(t *testing.T) {
	t.Parallel()
	s := &service{}
	n := newNetwork(t, Config{Shares: only(Soon)}, 1, s.ServeHTTP)
	mustSend(t, n.URLs()[0], request{method: "GET", path: "/v1/topics"})
	mustSend(t, n.URLs()[0], request{method: "DELETE", path: "/v1/refused"})
	if !n.Settle(t.Context()) {
		t.Fatal("it does not settle")
	}
	if c := n.Counts(); c["twice: 2xx"] != 1 || c["twice: 4xx"] != 1 || c["twice"] != 2 {
		b, _ := json.Marshal(c)
		t.Errorf("counted %s", b)
	}
}

// A proxy that is away when a request is to arrive is waited for.
func TestLateRequestsWaitForAProxy(t *testing.T) {
	t.Parallel()
	s := &service{}
	proxy := httptest.NewServer(s)
	t.Cleanup(proxy.Close)
	var mu sync.Mutex
	address := proxy.Listener.Addr().String()
	set := func(a string) { mu.Lock(); address = a; mu.Unlock() }
	n := newNetwork(t, Config{Latest: time.Hour, Shares: only(Late), Upstreams: []func() string{func() string {
		mu.Lock()
		defer mu.Unlock()
		return address
	}}}, 0, nil)
	late := request{method: "DELETE", path: "/v1/topics/t"}
	mustSend(t, n.URLs()[0], late)
	set("")
	settled := make(chan bool)
	go func() { settled <- n.Settle(t.Context()) }()
	mustBecome(t, func() bool { return n.Counts()["late"] == 1 })
	if s.has(late.String()) != 0 {
		t.Error("it arrived where nobody is")
	}
	set(proxy.Listener.Addr().String())
	if !<-settled || s.has(late.String()) != 1 {
		t.Errorf("arrived %d times", s.has(late.String()))
	}
}

// Without an identity nothing tells a repeat from another request.
func TestOnlyWhatHasAnIdentityArrivesTwice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		request
		spared bool // from arriving twice
	}{
		{request{method: "POST", path: "/v1/topics/t/records"}, true},
		{request{method: "POST", path: "/v1/topics/t/raw", header: "Transaction-Id: a"}, true},
		{request{method: "POST", path: "/v1/topics/t/records", header: "Producer-Id: 1"}, false},
		{request{method: "POST", path: "/v1/topics/t/partitions/0/records", header: "Idempotency-Key: k"}, false},
		{request{method: "PUT", path: "/v1/groups/g/offsets"}, true},
		{request{method: "GET", path: "/v1/groups/g/offsets"}, false},
		{request{method: "POST", path: "/v1/producers"}, false},
	} {
		req := httptest.NewRequest(test.method, test.path, http.NoBody)
		if name, value, ok := strings.Cut(test.header, ": "); ok {
			req.Header.Set(name, value)
		}
		for f := range faultsCount {
			want := test.spared && f >= Parallel && (f != Late || test.method == http.MethodPut)
			if test.method == http.MethodGet {
				want = f == Again || f == Late
			}
			if got := spared(f, req); got != want {
				t.Errorf("%s of %s: spared: %v, want %v", f, test.request, got, want)
			}
		}
	}
}
