package shortcut

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// conn is a connection whose requests are served here. It belongs to serve, but
// for SetReadDeadline and Close, which the listener calls.
type conn struct {
	net.Conn
	listener *Listener
	buf      []byte    // what was read and not served; at most a request that is served here, or readBytes
	deadline time.Time // for the next request; not moved for each one
	served   bool      // it has had a request
	size     int       // of the one that is being served, which buf begins with
	blank    int       // how many bytes of empty lines may still precede the next request
	large    int64     // what listener.large counts of buf
	handedOn bool      // net/http has it

	common       http.Request       // what all its requests have in common
	leave        context.CancelFunc // ends their context
	answering    atomic.Bool        // the handler has one
	method, path string             // of the last request that was parsed
	query, host  string             // the same
	header       http.Header
	body         body
	url          url.URL
	request      http.Request
	answer       answer
}

const (
	firstBytes = 512      // the buffer of a connection, until it needs a larger one
	readBytes  = 4 << 10  // what is read at once, and the largest head that is served here
	maxBytes   = 64 << 10 // of a request that is served here
	maxLarge   = 32 << 20 // of all requests at a time that outgrow what each connection keeps
	// maxBlank is how much of empty lines net/http skips behind the body of a
	// POST: some old clients send one that no length counts.
	maxBlank = 4
	// restTime is how long the rest of a request may take to come before
	// net/http waits for it.
	restTime = 100 * time.Millisecond
	// deadlineEvery is how much sooner than it should an idle connection may end.
	deadlineEvery = 10 * time.Second
)

// newConn returns a connection to be served. What serve and next have on the
// stack, each client that waits holds: so they have little, and are near the
// handler.
func newConn(nc net.Conn, l *Listener) *conn {
	ctx, leave := context.WithCancel(l.requests)
	c := &conn{Conn: nc, listener: l, leave: leave, header: make(http.Header, 8)}
	c.common = *new(http.Request).WithContext(ctx)
	c.common.RemoteAddr = nc.RemoteAddr().String()
	c.common.Proto, c.common.ProtoMajor, c.common.ProtoMinor = "HTTP/1.1", 1, 1
	c.answer = answer{conn: c, header: make(http.Header, 8)}
	return c
}

func (c *conn) serve() {
	defer func() {
		// As net/http does; also when the handler has called runtime.Goexit.
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // the documented sentinel
			c.listener.cfg.ErrorLog.Printf("http: panic serving %v: %v\n%s", c.common.RemoteAddr, p, debug.Stack())
		}
		c.leave()
		if !c.handedOn {
			_ = c.Conn.Close()
		}
		c.release()
		c.listener.forget(c)
		c.listener.serving.Done()
	}()
	for c.next() {
	}
}

// next serves the next request, and reports whether to go on.
func (c *conn) next() bool {
	head, size, verdict := c.read()
	switch verdict {
	case closing:
		if c.served {
			c.linger()
		}
		return false
	case gone:
		return false
	case others:
		c.handedOn = c.listener.hand(c)
		return false
	}
	c.served, c.size = true, size
	c.prepare(head, size)
	c.answering.Store(true)
	c.listener.cfg.Handler.ServeHTTP(&c.answer, &c.request)
	c.answering.Store(false)
	if !c.answer.finish() {
		return false
	}
	if c.answer.last {
		c.linger()
		return false
	}
	c.buf, c.blank = c.buf[:copy(c.buf, c.buf[size:])], 0
	if size > head {
		c.blank = maxBlank
	}
	c.release()
	return true
}

// prepare makes the request that was parsed.
func (c *conn) prepare(head, size int) {
	c.url = url.URL{Path: c.path, RawQuery: c.query}
	r := &c.request
	*r = c.common // anew: a handler may have changed the last one
	r.Method, r.URL, r.RequestURI, r.Host, r.Header, r.Body = c.method, &c.url, c.path, c.host, c.header, http.NoBody
	if c.query != "" {
		r.RequestURI += "?" + c.query
	}
	if size > head {
		c.body.Reset(c.buf[head:size])
		r.Body, r.ContentLength = &c.body, int64(size-head)
	}
	c.answer.reset()
}

// verdict says what to do with what was read.
type verdict int

const (
	served  verdict = iota // it is a request for here
	more                   // it may become one
	others                 // it is for net/http
	gone                   // the connection has ended, or paused for too long
	closing                // the listener is closing, and no request has begun
)

// read reads until there is a whole request for here, and returns where its
// head and its body end; or finds out that there is none.
func (c *conn) read() (head, size int, v verdict) {
	var until time.Time // when the rest of the request must be there; zero before it has begun
	for {
		if c.skipBlank(); c.isBegun() {
			head, size, v = c.parse(c.buf)
			switch {
			case v == more && !c.reserve(size):
				v = others
			case v == others && c.served && bytes.HasPrefix(c.buf, []byte("PRI ")):
				v = gone // net/http would take HTTP/2, because it does not know that it is too late for that
			}
			if v != more {
				return head, size, v
			}
			if until.IsZero() {
				until, c.deadline = time.Now().Add(restTime), time.Time{}
				_ = c.Conn.SetReadDeadline(until)
			}
		} else if !c.wait() {
			return 0, 0, closing
		}
		// No further than this request goes, if that is known: what follows it
		// never outgrows readBytes.
		end := max(size, readBytes)
		if len(c.buf) == cap(c.buf) || cap(c.buf) < size {
			c.buf = slices.Grow(c.buf, max(size-len(c.buf), len(c.buf), firstBytes))
		}
		n, err := c.Conn.Read(c.buf[len(c.buf):min(cap(c.buf), end)])
		c.buf = c.buf[:len(c.buf)+n]
		switch {
		case n > 0 || err == nil:
		case until.IsZero() && c.listener.closing.Load():
			return 0, 0, closing
		case until.IsZero():
			return 0, 0, gone
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until):
			_ = c.Conn.SetReadDeadline(until) // it was Close: this request is still served
		default:
			return 0, 0, others // net/http waits for the rest, or answers what has broken off
		}
	}
}

// isBegun reports whether a request has begun: the second and later ones with
// four bytes, as in net/http.
func (c *conn) isBegun() bool { return len(c.buf) >= 4 || len(c.buf) > 0 && !c.served }

// skipBlank skips empty lines between two requests, as far as net/http does.
func (c *conn) skipBlank() {
	n := 0
	for n < len(c.buf) && n < c.blank && (c.buf[n] == '\r' || c.buf[n] == '\n') {
		n++
	}
	if c.blank -= n; n < len(c.buf) {
		c.blank = 0
	}
	if n > 0 {
		c.buf = c.buf[:copy(c.buf, c.buf[n:])]
	}
}

// wait sets the deadline for the beginning of a request, and reports whether
// one may still come.
func (c *conn) wait() bool {
	now := time.Now()
	timeout := c.listener.cfg.IdleTimeout
	if !c.served {
		timeout = c.listener.cfg.HeaderTimeout
	}
	if want := now.Add(timeout); want.Sub(c.deadline) > min(deadlineEvery, timeout/8) {
		_ = c.Conn.SetReadDeadline(want)
		c.deadline = want
	}
	return !c.listener.closing.Load() // it may have set another one before
}

// reserve counts a request that outgrows what the connection keeps, and reports
// whether there is memory for it.
func (c *conn) reserve(size int) bool {
	if size <= 2*readBytes || c.large > 0 {
		return true
	}
	if c.listener.large.Add(int64(size)) > maxLarge {
		c.listener.large.Add(-int64(size))
		return false
	}
	c.large = int64(size)
	return true
}

// release gives back what a large request took.
func (c *conn) release() {
	if cap(c.buf) > 2*readBytes {
		c.buf = slices.Clone(c.buf)
	}
	if c.large > 0 {
		c.listener.large.Add(-c.large)
		c.large = 0
	}
}

// body is the body of a request, which is in memory.
type body struct{ bytes.Reader }

// Close does nothing.
func (*body) Close() error { return nil }
