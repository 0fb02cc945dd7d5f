// Package shortcut serves the requests that decide how fast the proxy is and how
// much memory it takes, a small POST and a GET that may wait, on connections
// that are kept alive, without net/http, which costs as much for each request
// as everything else together. A connection that brings anything else is handed
// to net/http with every byte that was read, and stays there: so nothing that is
// unusual is parsed twice, in two ways.
//
// It calls the same http.Handler as net/http does. It knows nothing of what
// the handler does.
package shortcut

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Listener accepts connections for net/http, and serves what it can itself. It
// is a net.Listener that returns the connections that are handed on.
type Listener struct {
	net.Listener
	cfg     Config
	handed  chan net.Conn
	closed  chan struct{} // closed by Close
	failure error         // why no more connections come; written before accepts is closed
	accepts chan struct{} // closed when Run has ended

	requests context.Context // ends when requests shall be given up
	giveUp   context.CancelFunc
	large    atomic.Int64 // bytes of the requests that are larger than usual; see conn.reserve
	closing  atomic.Bool  // set under mu

	mu      sync.Mutex
	conns   map[*conn]struct{} // guarded by mu
	serving sync.WaitGroup     // conns, and those that are being handed on
}

// Config holds what a Listener needs to know.
type Config struct {
	// Handler answers the requests. It must not keep the request nor what belongs
	// to it when it has returned: the next one comes in the same memory. The
	// context of a request ends with its connection, or when Shutdown gives up, and
	// within some seconds when the client leaves; see watch.
	Handler http.Handler
	// Takes reports whether a POST to a path is served here, and a GET, which may
	// have a query. It is asked only for paths of letters, digits and the
	// characters "/._-", and for queries of these, "=" and "&" but "/".
	Takes         func(path string) bool
	HeaderTimeout time.Duration // how long a new connection may take for its first request; positive
	IdleTimeout   time.Duration // how long it may pause between two; positive
	ErrorLog      *log.Logger   // gets what net/http's would get; not nil
}

// New returns a Listener on top of another one. Run must run for as long as it
// is used, and so must a server that takes what it hands on.
func New(l net.Listener, cfg Config) *Listener {
	requests, giveUp := context.WithCancel(context.Background())
	return &Listener{
		Listener: l, cfg: cfg, handed: make(chan net.Conn), closed: make(chan struct{}),
		accepts: make(chan struct{}), conns: map[*conn]struct{}{},
		requests: requests, giveUp: giveUp,
	}
}

// Run accepts connections until the listener is closed.
func (l *Listener) Run() {
	defer close(l.accepts)
	go l.watch()
	for pause := time.Duration(0); ; {
		c, err := l.Listener.Accept()
		if err != nil {
			// As net/http does when the process has no file descriptor left.
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() { //nolint:staticcheck // there is nothing else to tell
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				l.cfg.ErrorLog.Printf("http: Accept error: %v; retrying in %v", err, pause)
				select {
				case <-time.After(pause):
				case <-l.closed:
				}
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		_ = nc.Close()
		return
	}
	c := newConn(nc, l)
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

// hand gives a connection to net/http, with the bytes that were read of it, and
// reports whether it went there.
func (l *Listener) hand(c *conn) bool {
	l.forget(c) // Close must not touch what net/http serves
	_ = c.SetDeadline(time.Time{})
	select {
	case l.handed <- &handed{Conn: c.Conn, read: slices.Clone(c.buf)}:
		return true
	case <-l.closed:
		return false
	}
}

// Close stops accepting, and ends the connections that wait for a request. One
// that is in the middle of a request is served to its answer, if the request
// is there soon.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Swap(true) {
		return nil
	}
	close(l.closed)
	for c := range l.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it notices now, or before its next request
	}
	return l.Listener.Close()
}

// Shutdown closes the listener and returns when no connection is left here. If
// ctx ends before, it breaks those that are, ends the contexts of their
// requests, waits for their handlers, and returns the error of ctx. Those that
// were handed on are the matter of who got them.
func (l *Listener) Shutdown(ctx context.Context) error {
	err := l.Close()
	done := make(chan struct{})
	go func() {
		l.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	l.mu.Unlock()
	l.giveUp()
	<-done
	return ctx.Err()
}

// forget takes a connection off those that Close and Shutdown know.
func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
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

// CloseWrite ends what is sent, as net/http does before it hangs up on a client
// that may still be sending.
func (h *handed) CloseWrite() error {
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger lets Close reset the connection, for who breaks off an answer.
func (h *handed) SetLinger(sec int) error {
	if c, ok := h.Conn.(interface{ SetLinger(sec int) error }); ok {
		return c.SetLinger(sec)
	}
	return errors.ErrUnsupported
}
