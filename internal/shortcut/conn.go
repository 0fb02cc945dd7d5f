package shortcut

import (
	"bytes"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// conn is a connection whose requests are served here. It belongs to serve, but
// for SetReadDeadline and Close, which the listener calls.
type conn struct {
	net.Conn
	listener *Listener
	buf      []byte    // what was read and not served
	deadline time.Time // for the next request; not moved for each one
	begun    bool      // it has had a request

	remote     string
	path, host string // of the last request that was parsed
	header     http.Header
	body       body
	url        url.URL
	request    http.Request
	answer     answer
}

const (
	readBytes = 4 << 10  // what is read at once
	maxBytes  = 64 << 10 // of a request that is served here
	// restTime is how long the rest of a request may take to come before
	// net/http waits for it.
	restTime = 100 * time.Millisecond
	// deadlineEvery is how much sooner than it should an idle connection may end.
	deadlineEvery = 10 * time.Second
)

func (c *conn) serve() {
	defer c.listener.left(c)
	defer func() {
		// The handler has logged what it panicked with, if it is not meant to
		// break the connection anyway.
		if p := recover(); p != nil {
			_ = c.Conn.Close()
		}
	}()
	c.header, c.remote = make(http.Header, 16), c.RemoteAddr().String()
	c.answer.header = make(http.Header, 8)
	c.buf = make([]byte, 0, readBytes)
	for c.next() {
	}
}

// next serves the next request, and reports whether to go on.
func (c *conn) next() bool {
	head, size, verdict := c.read()
	switch verdict {
	case gone:
		_ = c.Conn.Close()
		return false
	case others:
		_ = c.Conn.SetReadDeadline(time.Time{})
		c.listener.hand(c, slices.Clone(c.buf))
		return false
	}
	c.begun = true
	c.body.Reset(c.buf[head:size])
	c.url = url.URL{Path: c.path}
	c.request = http.Request{ // anew: a handler may have changed the last one
		Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &c.url, RequestURI: c.path, Host: c.host, Header: c.header,
		Body: &c.body, ContentLength: int64(size - head), RemoteAddr: c.remote,
	}
	c.answer.reset()
	c.listener.cfg.Handler.ServeHTTP(&c.answer, &c.request)
	closing := c.listener.isClosing()
	_ = c.Conn.SetWriteDeadline(c.answer.writeBy)
	if err := c.answer.send(c.Conn, closing); err != nil || closing {
		_ = c.Conn.Close()
		return false
	}
	c.buf = c.buf[:copy(c.buf, c.buf[size:])]
	if cap(c.buf) > 2*readBytes && len(c.buf) == 0 {
		c.buf = make([]byte, 0, readBytes)
	}
	return true
}

// verdict says what to do with what was read.
type verdict int

const (
	served verdict = iota // it is a request for here
	more                  // it may become one
	others                // it is for net/http
	gone                  // the connection has ended, or paused for too long
)

// read reads until there is a whole request for here, and returns where its
// head and its body end; or finds out that there is none.
func (c *conn) read() (head, size int, v verdict) {
	for rest := false; ; {
		if len(c.buf) > 0 {
			if head, size, v = c.parse(c.buf); v != more {
				return head, size, v
			}
			if !rest {
				rest = true
				_ = c.Conn.SetReadDeadline(time.Now().Add(restTime))
				c.deadline = time.Time{}
			}
		} else if !c.wait() {
			return 0, 0, gone
		}
		c.buf = slices.Grow(c.buf, max(readBytes-len(c.buf), readBytes/4))
		n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		switch {
		case n > 0:
		case err != nil && rest:
			return 0, 0, others // net/http waits for the rest, or answers what has broken off
		case err != nil:
			return 0, 0, gone
		}
	}
}

// wait sets the deadline for the first byte of a request, and reports whether
// one may still come.
func (c *conn) wait() bool {
	now := time.Now()
	timeout := c.listener.cfg.IdleTimeout
	if !c.begun {
		timeout = c.listener.cfg.HeaderTimeout
	}
	if want := now.Add(timeout); want.Sub(c.deadline) > deadlineEvery {
		_ = c.Conn.SetReadDeadline(want)
		c.deadline = want
	}
	return !c.listener.isClosing() // it may have set another one before
}

// body is the body of a request, which is in memory.
type body struct{ bytes.Reader }

// Close does nothing.
func (*body) Close() error { return nil }
