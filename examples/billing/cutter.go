package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// How many of a thousand requests lose their answer on the way back; how many lose their connection at once
// and yet arrive, up to lateBy later, when the client may have sent them again and gone on.
const (
	cutOf1000  = 30
	lateOf1000 = 15
	lateBy     = 400 * time.Millisecond
)

// cutter is the bad network between the tills and the proxy: an HTTP proxy that forwards requests and breaks
// connections before the answer.
type cutter struct {
	upstream func() string // where the proxy answers now; empty while it does not
	http     *http.Client

	mu     sync.Mutex
	random *rand.Rand // guarded by mu

	cuts     atomic.Int64 // answers that were made and did not arrive
	underway atomic.Int64 // requests, those included whose client has gone
}

// settle waits until no request is under way any more; it returns false if ctx ends first.
func (c *cutter) settle(ctx context.Context) bool {
	return wait.Until(ctx, func() bool { return c.underway.Load() == 0 })
}

// listen answers on a free port until the returned function is called.
func (c *cutter) listen(ctx context.Context) (url string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: c, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // returns when it is closed
	}()
	return "http://" + listener.Addr().String(), func() {
		_ = server.Close()
		<-done
		c.settle(context.WithoutCancel(ctx)) // requests end with their connections, late ones by themselves
		c.http.CloseIdleConnections()
	}, nil
}

// ServeHTTP forwards a request, and answers it or breaks the connection.
func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.underway.Add(1)
	defer c.underway.Add(-1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	c.mu.Lock()
	dice, wait := c.random.IntN(1000), time.Duration(c.random.Int64N(int64(lateBy)))
	c.mu.Unlock()

	if dice < lateOf1000 {
		ctx := context.WithoutCancel(r.Context())
		c.underway.Add(1)
		go func() {
			defer c.underway.Add(-1)
			if err := client.Sleep(ctx, wait); err != nil {
				return
			}
			if _, err := c.forward(ctx, r, body); err == nil {
				c.cuts.Add(1)
			}
		}()
		panic(http.ErrAbortHandler)
	}
	a, err := c.forward(r.Context(), r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if dice < lateOf1000+cutOf1000 {
		c.cuts.Add(1)
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// answer is what the proxy answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// forward sends the request to the proxy and returns its answer.
func (c *cutter) forward(ctx context.Context, r *http.Request, body []byte) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.Method, c.upstream()+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = r.Header.Clone()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the error is another
	a := &answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}
