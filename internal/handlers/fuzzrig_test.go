package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/appender"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
	"github.com/klauspost/compress/zstd"
)

// keeper is a log that takes every append at once and keeps the last one. Other
// operations it cannot do.
type keeper struct {
	prompt
	mu   sync.Mutex
	last *store.Request // guarded by mu
}

var errDry = eos.Unavailable.Errorf("the log takes appends only")

func (k *keeper) Route(context.Context, store.Put) (*store.Put, error) { return nil, errDry }

func (k *keeper) Flush(ctx context.Context, ops []*store.Op, _ store.Join) []store.Outcome {
	outcomes := make([]store.Outcome, len(ops))
	for i, op := range ops {
		if op.Append == nil {
			outcomes[i].Err = errDry
			continue
		}
		outcomes[i] = k.prompt.Flush(ctx, ops[i:i+1], nil)[0]
		k.mu.Lock()
		k.last = op.Append
		k.mu.Unlock()
	}
	return outcomes
}

func (k *keeper) FlushPatiently(ctx context.Context, ops []*store.Op) []store.Outcome {
	return k.Flush(ctx, ops, nil)
}

// appended returns the last append, and forgets it; nil if there was none.
func (k *keeper) appended() *store.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.last
	k.last = nil
	return last
}

// newDry returns the whole handler over a keeper and a database that is away. So
// every request ends within a millisecond: refused for what it is, appended, or,
// when nothing was wrong with it, answered with BROKER_NOT_AVAILABLE.
func newDry(tb testing.TB, cfg Config) (*Handler, *keeper) {
	tb.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	away, err := store.Open(tb.Context(), "host=/nowhere user=nobody dbname=none", store.Config{Logger: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	k := &keeper{prompt: newPromptLog()}
	app := appender.New(k, appender.Config{SequenceWait: time.Millisecond})
	hub := wake.New(away.Sizes, quiet)
	h, err := New(cfg, away, app, hub, NewMetrics(away, hub), quiet)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- app.Run(ctx) }()
	go func() { ended <- app.RunAside(ctx) }()
	tb.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				tb.Errorf("a loop ended: %v", err)
			}
		}
		away.Close()
	})
	return h, k
}

// serveOnce answers a request, and fails unless the answer is well-formed.
func serveOnce(
	t *testing.T, h http.Handler, method, path string, header http.Header, body io.Reader,
) *httptest.ResponseRecorder {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Body == nil {
		r.Body = http.NoBody // as a server has it
	}
	if header != nil {
		r.Header = header
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code < http.StatusBadRequest || w.Header().Get("Content-Encoding") != "" {
		return w
	}
	if code := problemCode(t, w); code == "UNKNOWN_SERVER_ERROR" {
		t.Fatalf("%s %s: %s", method, path, w.Body)
	}
	return w
}

// problemCode returns the code of a refusal.
func problemCode(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var p api.Problem
	err := json.Unmarshal(w.Body.Bytes(), &p)
	is := "/problems/" + strings.ReplaceAll(strings.ToLower(p.Code), "_", "-")
	if err != nil || p.Status != int64(w.Code) || p.Type != is {
		t.Fatalf("%d %q is no problem: %v", w.Code, w.Body, err)
	}
	return p.Code
}

// allocated returns how many bytes of memory fn has asked for, with what others
// asked for meanwhile.
func allocated(fn func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	fn()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}

// mustLeave fails unless there are no more goroutines than before within some
// seconds.
func mustLeave(t *testing.T, before int) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(until) {
			stacks := make([]byte, 64<<10)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// unzstd unpacks what is no frame of a stream.
var unzstd = func() *zstd.Decoder {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return z
}()
