// Package shortcut serves the one request that decides how fast the proxy is, a
// small POST on a connection that is kept alive, without net/http, which costs
// as much for each request as everything else together. A connection that
// brings anything else is handed to net/http with every byte that was read,
// and stays there: so nothing that is unusual is parsed twice, in two ways.
//
// It calls the same http.Handler as net/http does. It knows nothing of what
// the handler does.
package shortcut

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Listener accepts connections for net/http, and serves what it can itself. It
// is a net.Listener that returns the connections that are handed on.
type Listener struct {
	net.Listener
	cfg     Config
	handed  chan net.Conn
	closed  chan struct{} // closed by Close
	failure error         // why no more connections come; written before accepting is closed
	accepts chan struct{} // closed when Run has ended

	mu      sync.Mutex
	closing bool               // guarded by mu
	conns   map[*conn]struct{} // guarded by mu
	serving sync.WaitGroup     // conns
}

// Config holds what a Listener needs to know.
type Config struct {
	Handler http.Handler
	// Takes reports whether a POST to a path is served here. It is asked only
	// for paths of letters, digits and the characters "/._-".
	Takes         func(path string) bool
	HeaderTimeout time.Duration // how long a new connection may take for its first request
	IdleTimeout   time.Duration // how long it may pause between two
}

// New returns a Listener on top of another one. Run must run for as long as it
// is used.
func New(l net.Listener, cfg Config) *Listener {
	return &Listener{
		Listener: l, cfg: cfg, handed: make(chan net.Conn), closed: make(chan struct{}),
		accepts: make(chan struct{}), conns: map[*conn]struct{}{},
	}
}

// Run accepts connections until the listener is closed.
func (l *Listener) Run() {
	defer close(l.accepts)
	for pause := time.Duration(0); ; {
		c, err := l.Listener.Accept()
		if err != nil {
			// As net/http does when the process has no file descriptor left.
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() { //nolint:staticcheck // there is nothing else to tell
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				time.Sleep(pause)
				continue
			}
			l.failure = err
			return
		}
		pause = 0
		l.serve(c)
	}
}

func (l *Listener) serve(nc net.Conn) {
	c := &conn{Conn: nc, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		_ = nc.Close()
		return
	}
	l.conns[c] = struct{}{}
	l.serving.Add(1)
	go c.serve()
}

// Accept returns the next connection that net/http has to serve.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.handed:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.accepts:
		return nil, l.failure
	}
}

// hand gives a connection to net/http, with the bytes that were read of it.
func (l *Listener) hand(c *conn, read []byte) {
	select {
	case l.handed <- &handed{Conn: c.Conn, read: read}:
	case <-l.closed:
		_ = c.Conn.Close()
	}
}

// Close stops accepting, and ends the connections that wait for a request.
// Those that are being answered end with their answers; see Wait.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return nil
	}
	l.closing = true
	close(l.closed)
	for c := range l.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it notices now, or before its next request
	}
	return l.Listener.Close()
}

// Wait returns when no connection is left, or breaks those that are and
// returns the error of ctx when it ends before. Close comes first.
func (l *Listener) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		l.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	l.mu.Unlock()
	<-done
	return ctx.Err()
}

// isClosing reports whether no further request is served.
func (l *Listener) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

func (l *Listener) left(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.serving.Done()
}

// handed is a connection of which some bytes were read already.
type handed struct {
	net.Conn
	read []byte
}

// Read returns these bytes first.
func (h *handed) Read(p []byte) (int, error) {
	if len(h.read) == 0 {
		return h.Conn.Read(p)
	}
	n := copy(p, h.read)
	if h.read = h.read[n:]; len(h.read) == 0 {
		h.read = nil
	}
	return n, nil
}
