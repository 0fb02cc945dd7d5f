package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// service is a service of one partition a topic, which may lie: it acknowledges every record, but how many
// copies of the n-th it keeps, and at which offset it shows the n-th, is for its functions to say.
type service struct {
	mu      sync.Mutex
	arrived int64            // guarded by mu
	stored  map[string]int64 // by topic, guarded by mu

	copies func(n int64) int64
	shown  func(offset int64) int64
	start  func() int64 // of the log, which may move
}

func newService(t *testing.T) (*service, *bench) {
	s := &service{
		stored: make(map[string]int64),
		copies: func(int64) int64 { return 1 },
		shown:  func(offset int64) int64 { return offset },
		start:  func() int64 { return 0 },
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/topics/{topic}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	mux.HandleFunc("POST /v1/producers", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"producer_id":1001}`) })
	mux.HandleFunc("POST /v1/topics/{topic}/records", s.append)
	mux.HandleFunc("GET /v1/topics/{topic}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprintf(w, `{"topic":%q,"partitions":[{"partition":0,"log_start_offset":%d,"high_watermark":%d}]}`,
			r.PathValue("topic"), s.start(), s.stored[r.PathValue("topic")])
	})
	mux.HandleFunc("GET /v1/topics/{topic}/partitions/0/records", s.fetch)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, &bench{
		cfg:       Config{Seconds: 0.05},
		proxy:     &process{addr: strings.TrimPrefix(server.URL, "http://")},
		producers: make(map[string][]int64),
	}
}

func (s *service) append(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived++
	s.stored[r.PathValue("topic")] += s.copies(s.arrived)
	fmt.Fprint(w, `{}`)
}

func (s *service) fetch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, _ := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	if from < s.start() {
		http.Error(w, "it has left", http.StatusGone)
		return
	}
	var records []string
	for offset := from; offset < min(s.stored[r.PathValue("topic")], from+100); offset++ {
		records = append(records, fmt.Sprintf(`{"offset":%d,"value":1}`, s.shown(offset)))
	}
	fmt.Fprintf(w, `{"records":[%s]}`, strings.Join(records, ","))
}

func TestLostOrDoubledRecordFailsTheRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		lie  func(s *service)
		want string // in the error; empty: none
	}{
		{"honest", func(*service) {}, ""},
		{"one lost", func(s *service) { s.copies = only(7, 0) }, "were acknowledged"},
		{"one doubled", func(s *service) { s.copies = only(7, 2) }, "were acknowledged"},
		{"one lost, another doubled in what is read", func(s *service) { s.shown = only(5, 4) }, "the record after offset 4 has offset 4"},
		{"one missing in what is read", func(s *service) { s.shown = only(5, 6) }, "the record after offset 4 has offset 6"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, b := newService(t)
			test.lie(s)
			for _, id := range []identity{none, sequences, keys} {
				s.arrived = 0
				got, err := single{2, id}.run(t.Context(), b)
				switch {
				case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
					t.Errorf("%v: %v, want an error with %q", id, err, test.want)
				case test.want == "" && (err != nil || got.units != s.arrived || got.units < 10):
					t.Errorf("%v: %v; %d requests arrived", id, err, s.arrived)
				}
			}
		})
	}
}

// only returns a function that gives at to n, and the offset or 1 copy to the others.
func only(n, at int64) func(int64) int64 {
	return func(i int64) int64 {
		switch {
		case i == n:
			return at
		case at == 0 || at == 2:
			return 1
		default:
			return i
		}
	}
}

func TestReaderCountsEachRecordOnce(t *testing.T) {
	t.Parallel()
	s, b := newService(t)
	s.stored["t"] = 250
	for _, test := range []struct {
		name  string
		shown func(int64) int64
		fails bool
	}{
		{"honest", func(offset int64) int64 { return offset }, false},
		{"one again", only(249, 248), true},
	} {
		s.mu.Lock()
		s.shown = test.shown
		s.mu.Unlock()
		if err := verify(t.Context(), b.proxy.addr, "t", 250); (err != nil) != test.fails {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestReaderOfARecordThatLeavesBeginsAgain: the start of the log moves between what the service says of it and
// the fetch, for some time; no record may be missing behind it.
func TestReaderOfARecordThatLeavesBeginsAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		shown func(int64) int64
		fails bool
	}{
		{"honest", func(offset int64) int64 { return offset }, false},
		{"one is missing behind the start", only(200, 201), true},
	} {
		s, b := newService(t)
		s.stored["t"], s.shown = 250, test.shown
		asked := int64(0)
		s.start = func() int64 { // called with mu held
			asked++
			return 10 * min(asked, 8)
		}
		if err := verifyKept(t.Context(), b.proxy.addr, "t", 250); (err != nil) != test.fails {
			t.Errorf("%s: %v", test.name, err)
		}
		if err := verifyKept(t.Context(), b.proxy.addr, "t", 251); err == nil {
			t.Errorf("%s: a lost record is not seen", test.name)
		}
	}
}

func TestRefusalEndsTheLoad(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	makers := []maker{plain("t", one), plain("t", one), plain("t", one)}
	_, err := drive(context.WithoutCancel(t.Context()), strings.TrimPrefix(server.URL, "http://"), makers, 1<<40)
	if err == nil || err.Error() != "status 503: too much\n" {
		t.Errorf("%v, want the first refusal alone", err)
	}
}
