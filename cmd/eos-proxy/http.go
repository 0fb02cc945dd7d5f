package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
)

// headerSlack is what net/http reads beyond its MaxHeaderBytes.
const headerSlack = 4096

// newServer returns the HTTP server: HTTP/1.1, and HTTP/2 for a client that begins with it (RFC 9113, section
// 3.3), which needs no TLS. Requests have no time limit of their own here: a fetch may wait for a
// minute and an upload may last for hours.
func newServer(cfg Config, handler http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           crash.Handler(handler),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    cfg.MaxHeaderBytes - headerSlack,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// baseURL returns the address that a person on this machine can use to reach a listener.
func baseURL(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "http://" + addr.String()
	}
	if tcp.IP.IsUnspecified() {
		return "http://localhost:" + strconv.Itoa(tcp.Port)
	}
	return "http://" + tcp.String()
}

// front stands before the real handler until the database is there. Its zero value answers that the
// program lives and is not ready.
type front struct {
	proxy   atomic.Pointer[proxyPart] // set once, by show
	ready   atomic.Bool               // set once, by open
	leaving atomic.Bool               // set once, by leave
	running sync.WaitGroup            // requests in the real handler
}

// show lets the handler of p answer what needs no database.
func (f *front) show(p proxyPart) { f.proxy.Store(&p) }

// open lets it answer every further request.
func (f *front) open() { f.ready.Store(true) }

// leave lets it answer /readyz with a refusal: no further client shall be sent here.
func (f *front) leave() { f.leaving.Store(true) }

// needsNoDatabase reports whether a path is answered from what the program holds itself.
func needsNoDatabase(path string) bool {
	switch path {
	case "/metrics", "/openapi.json", "/openapi.yaml", "/docs":
		return true
	}
	return strings.HasPrefix(path, "/docs/")
}

// wait returns when no request is left in the real handler. No request may come any more.
func (f *front) wait() { f.running.Wait() }

// drain tells the real handler, if there is one, that the program begins to stop.
func (f *front) drain() {
	if p := f.proxy.Load(); p != nil && p.drain != nil {
		p.drain()
	}
}

// ServeHTTP answers from the real handler, or that there is none yet, or soon no more. Nothing was stored then, whatever the
// request wanted.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	why := "the program is starting and waits for its database"
	if r.URL.Path == "/readyz" && f.leaving.Load() {
		why = "the program is stopping"
	} else if p := f.proxy.Load(); p != nil && (f.ready.Load() || needsNoDatabase(r.URL.Path)) {
		f.running.Add(1)
		defer f.running.Done()
		p.handler.ServeHTTP(w, r)
		return
	}
	id := rand.Text()
	w.Header().Set("Request-Id", id)
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"ok"}`+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprintf(w, notReady, why, id)
}

// notReady is the problem of a request that came too early or too late, but for why and its id.
const notReady = `{"type":"/problems/broker-not-available","title":"The database cannot be reached","status":503,` +
	`"code":"BROKER_NOT_AVAILABLE","detail":"%s",` +
	`"retryable":true,"effect":"none","request_id":"%s"}` + "\n"
