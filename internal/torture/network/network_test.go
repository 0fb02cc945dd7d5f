package network

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// newNetwork returns a network before as many proxies as asked for, which all answer alike.
func newNetwork(t *testing.T, cfg Config, proxies int, answer http.HandlerFunc) *Network {
	t.Helper()
	for range proxies {
		proxy := httptest.NewServer(answer)
		t.Cleanup(proxy.Close)
		cfg.Upstreams = append(cfg.Upstreams, func() string { return proxy.Listener.Addr().String() })
	}
	if cfg.Latest == 0 {
		cfg.Latest = 20 * time.Millisecond
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// only returns shares with which every request meets the fault.
func only(f Fault) (s Shares) {
	s[f] = 10_000
	return s
}

// newClient returns a client that opens a connection for each request, so that it repeats none.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func TestEveryFaultIsSeenFromBothEnds(t *testing.T) {
	t.Parallel()
	const size = 10_000
	sizes := map[string]func() io.Reader{
		"sized": func() io.Reader { return strings.NewReader(strings.Repeat("x", size)) },
		"chunked": func() io.Reader {
			return io.MultiReader(strings.NewReader(strings.Repeat("x", size/2)), strings.NewReader(strings.Repeat("x", size/2)))
		},
		"empty": func() io.Reader { return http.NoBody },
	}
	for f, want := range map[Fault]struct {
		told    bool
		arrives int64 // whole, in the end
	}{
		Through: {true, 1}, CutBefore: {false, 0}, CutRequest: {false, 0}, CutWaiting: {false, 1}, CutAnswer: {false, 1},
		CutHeader: {false, 1}, CutBody: {false, 1}, Stall: {true, 1}, Delay: {true, 1},
		Parallel: {true, 2}, Soon: {true, 2}, Again: {true, 2}, Late: {false, 1},
	} {
		for name, body := range sizes {
			t.Run(f.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				var arrived, repeated atomic.Int64
				cfg := Config{Seed: 7, Shares: only(f), Stall: 20 * time.Millisecond}
				cfg.Repeated = func(string, *http.Request) { repeated.Add(1) }
				n := newNetwork(t, cfg, 2, func(w http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					if err != nil {
						return
					}
					if want := size; len(got) == want || name == "empty" {
						arrived.Add(1)
					}
					switch name {
					case "sized":
						w.Header().Set("Content-Length", "10000")
						_, _ = io.WriteString(w, strings.Repeat("y", size))
					case "chunked":
						for range 10 {
							_, _ = io.WriteString(w, strings.Repeat("y", size/10))
							_ = http.NewResponseController(w).Flush()
						}
					}
				})
				for range 10 {
					before := arrived.Load()
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.URLs()[0]+"/v1/topics/t", body())
					if err != nil {
						t.Fatal(err)
					}
					resp, err := newClient(t).Do(req)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					if told := err == nil; told != want.told {
						t.Errorf("the answer: %v, want it told: %v", err, want.told)
					}
					if !n.Settle(t.Context()) {
						t.Fatal("it does not settle")
					}
					n.Calm(false)
					mustBecome(t, func() bool { return arrived.Load()-before >= want.arrives })
					if got := arrived.Load() - before; got != want.arrives {
						t.Errorf("arrived %d times, want %d", got, want.arrives)
					}
				}
				if got := repeated.Load(); got != 10*max(0, want.arrives-1) {
					t.Errorf("%d requests were said to arrive once more, %d did", got, 10*(want.arrives-1))
				}
				if got := n.Counts()[f.String()]; f != Through && got != 10 {
					t.Errorf("counted %d, want 10: %v", got, n.Counts())
				}
			})
		}
	}
}

// mustBecome waits for what the other end of a connection does.
func mustBecome(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not happen")
		}
	}
}

// A client sees a FIN as the end of the answer, and a RST as what it is.
func TestCutsAreFinsAndResets(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Config{Seed: 1, Shares: only(CutBefore)}, 1, func(http.ResponseWriter, *http.Request) {})
	fins, resets := 0, 0
	for range 30 {
		_, err := newClient(t).Post(n.URLs()[0], "text/plain", strings.NewReader("x"))
		switch {
		case errors.Is(err, syscall.ECONNRESET):
			resets++
		case errors.Is(err, io.EOF):
			fins++
		default:
			t.Errorf("the answer: %v", err)
		}
	}
	if fins == 0 || resets == 0 {
		t.Errorf("%d FINs, %d RSTs", fins, resets)
	}
}

// Nothing of a stream waits for what comes after it, up or down.
func TestStreamsPassAsTheyCome(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Config{}, 1, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.EnableFullDuplex(), rc.Flush()); err != nil {
			t.Error(err)
		}
		line := make([]byte, 100)
		for {
			k, err := r.Body.Read(line)
			_, _ = w.Write(line[:k])
			if rc.Flush() != nil || err != nil {
				return
			}
		}
	})
	up, write := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URLs()[0]+"/v1/topics/t/records/stream", up)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		_, _ = io.WriteString(write, line)
		got := make([]byte, len(line))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != line {
			t.Fatalf("%q came back as %q (%v)", line, got, err)
		}
	}
	write.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end: %q, %v", rest, err)
	}
}

// Who waits for an answer sees that its client has gone.
func TestAHangUpReachesTheProxy(t *testing.T) {
	t.Parallel()
	there, gone := make(chan struct{}), make(chan struct{})
	n := newNetwork(t, Config{}, 1, func(_ http.ResponseWriter, r *http.Request) {
		close(there)
		<-r.Context().Done()
		close(gone)
	})
	ctx, hangUp := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URLs()[0]+"/v1/topics/t/stream", http.NoBody)
		if err == nil {
			_, err = newClient(t).Do(req)
		}
		failed <- err
	}()
	<-there
	hangUp()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the client: %v", err)
	}
	<-gone
}

// What is sent into a black hole arrives when the way is free again, and the other ways stay free.
func TestNothingPassesABlockedWay(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int64
	n := newNetwork(t, Config{}, 2, func(http.ResponseWriter, *http.Request) { arrived.Add(1) })
	n.Block(0, true)
	done := make(chan error, 1)
	go func() {
		resp, err := newClient(t).Get(n.URLs()[0])
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	for range 10 {
		resp, err := newClient(t).Get(n.URLs()[1])
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	select {
	case err := <-done:
		t.Fatalf("it passed (%v)", err)
	default:
	}
	n.Block(0, false)
	if err := <-done; err != nil || arrived.Load() != 11 {
		t.Errorf("then: %v, %d arrived", err, arrived.Load())
	}
}
