package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswersWithLengthAndInChunks(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/length":
			_, _ = w.Write([]byte("with a length"))
		case "/chunks":
			for range 3 {
				_, _ = w.Write([]byte(strings.Repeat("chunk ", 1000)))
				_ = http.NewResponseController(w).Flush()
			}
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	c, err := dial(t.Context(), strings.TrimPrefix(server.URL, "http://"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 { // the end of each answer was found, if the next one is understood
		for path, want := range map[string]string{"/length": "with a length", "/chunks": strings.Repeat("chunk ", 3000), "/none": ""} {
			body, err := c.do(appendRequest(nil, "GET", path, ""))
			if err != nil || string(body) != want {
				t.Errorf("%s: %d bytes, %v; want %d", path, len(body), err, len(want))
			}
		}
	}
}

func TestWhatHadNoEffectIsSentAgain(t *testing.T) {
	t.Parallel()
	requests := 0 // one at a time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.URL.Path == "/unknown" || requests < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(map[string]string{"/none": `{"effect":"none"}`, "/unknown": `{"effect":"unknown"}`}[r.URL.Path]))
		}
	}))
	t.Cleanup(server.Close)
	c, err := dial(t.Context(), strings.TrimPrefix(server.URL, "http://"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.do(appendRequest(nil, "GET", "/none", "")); err != nil || requests != 3 {
		t.Errorf("after %d requests: %v", requests, err)
	}
	if _, err := c.do(appendRequest(nil, "GET", "/unknown", "")); err == nil || requests != 4 {
		t.Errorf("unknown: %v after %d requests", err, requests)
	}
}

func TestRequestsAllocateNothing(t *testing.T) { // not parallel: AllocsPerRun counts those of others, too
	out := make([]byte, 0, 4096)
	for name, next := range map[string]maker{"sequenced": sequenced("t", 1001, one, 1), "keyed": keyed("t", 3, one), "plain": plain("t", one)} {
		n := int64(0)
		allocations := testing.AllocsPerRun(100, func() {
			out = next(out[:0], n)
			n++
		})
		if allocations != 0 {
			t.Errorf("%s: %g allocations a request", name, allocations)
		}
	}
	if got := string(sequenced("t", 1001, "{}", 10)(nil, 3)); !strings.Contains(got, "Producer-Seq: 30\r\n\r\n{}") {
		t.Errorf("the fourth request of ten records: %s", got)
	}
}
