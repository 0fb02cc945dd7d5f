package shortcut

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes are a net.Listener whose connections are in memory: what a client
// writes is read in the same pieces, and the clock can be a bubble's.
type pipes struct {
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
	mu      sync.Mutex
	dialled int // guarded by mu
}

func newPipes() *pipes { return &pipes{waiting: make(chan net.Conn), closed: make(chan struct{})} }

// client is the address of one connection.
type client string

func (client) Network() string  { return "pipe" }
func (c client) String() string { return string(c) }

// end is the server's end of a pipe.
type end struct {
	net.Conn
	remote client
}

func (e end) RemoteAddr() net.Addr { return e.remote }

func (p *pipes) dial() (net.Conn, client, error) {
	p.mu.Lock()
	p.dialled++
	remote := client(fmt.Sprintf("client-%d", p.dialled))
	p.mu.Unlock()
	near, far := net.Pipe()
	select {
	case p.waiting <- end{far, remote}:
		return near, remote, nil
	case <-p.closed:
		return nil, "", net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.waiting:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return client("listener") }

// rig is a server with the shortcut, or one without, and notes what its handler
// sees.
type rig struct {
	*pipes
	server *http.Server
	short  *Listener    // nil without
	do     http.Handler // answers what has been noted

	mu       sync.Mutex
	seen     map[client][]string // guarded by mu
	shortcut int                 // guarded by mu; how many requests net/http did not serve
	log      bytes.Buffer        // guarded by mu
}

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 5 * time.Minute
	bodyTimeout   = time.Minute
)

// newRig starts a server on pipes; with the shortcut for paths that end with /records.
func newRig(withShortcut bool, do http.Handler) *rig {
	r := &rig{pipes: newPipes(), do: do, seen: map[client][]string{}}
	r.server = newServer(r, r)
	if !withShortcut {
		go r.server.Serve(r.pipes)
		return r
	}
	r.short = newShortcut(r.pipes, r.server)
	go r.short.Run()
	go r.server.Serve(r.short)
	return r
}

func newServer(h http.Handler, errors io.Writer) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: protocols, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 4 << 10, ErrorLog: log.New(errors, "", 0),
	}
}

func newShortcut(l net.Listener, server *http.Server) *Listener {
	takes := func(path string) bool { return strings.HasSuffix(path, "/records") }
	return New(l, Config{
		Handler: server.Handler, Takes: takes,
		HeaderTimeout: server.ReadHeaderTimeout, IdleTimeout: server.IdleTimeout, ErrorLog: server.ErrorLog,
	})
}

// Write is the error log. That a handler has sent two statuses is said by
// net/http alone.
func (r *rig) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("superfluous")) {
		return len(b), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	line, _, _ := bytes.Cut(b, []byte("\n")) // the stack of a panic differs
	r.log.Write(line)
	r.log.WriteByte('\n')
	return len(b), nil
}

// isShort reports whether net/http has nothing to do with an answer.
func isShort(w http.ResponseWriter) bool { _, ok := w.(*answer); return ok }

func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // as handlers do
	body, err := []byte("unread"), error(nil)
	if req.Header.Get("Do") != "not read" {
		body, err = io.ReadAll(req.Body)
	}
	saw := fmt.Sprintf("%s %q %#v %s %d.%d host %q header %q encoding %q length %d close %v trailer %q pattern %q body %d %x %v",
		req.Method, req.RequestURI, *req.URL, req.Proto, req.ProtoMajor, req.ProtoMinor, req.Host, req.Header,
		req.TransferEncoding, req.ContentLength, req.Close, req.Trailer, req.Pattern, len(body), sha256.Sum256(body), err)
	r.mu.Lock()
	r.seen[client(req.RemoteAddr)] = append(r.seen[client(req.RemoteAddr)], saw)
	if isShort(w) {
		r.shortcut++
	}
	r.mu.Unlock()
	r.do.ServeHTTP(w, req)
}

// close breaks what is left.
func (r *rig) close() {
	_ = r.server.Close()
	if r.short != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.short.Shutdown(ended)
	}
}

// step is bytes that a client sends at once, after a pause.
type step struct {
	pause time.Duration
	send  []byte
}

// outcome is what came of an exchange.
type outcome struct {
	Answers  []string
	State    string   // of the connection, a second after the last byte was sent
	Seen     []string // by the handler
	Log      string
	shortcut int // requests that net/http did not serve
}

// exchange sends the steps on one connection to a server of its own, in a
// bubble of its own, and reads what it answers within a second; or hangs up when
// what it has sent is answered, when cut is true.
func exchange(t *testing.T, do http.Handler, withShortcut, cut bool, steps []step) (o outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(withShortcut, do)
		conn, remote, err := r.dial()
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		read := make(chan error, 1)
		go func() { _, err := got.ReadFrom(conn); read <- err }()
		for _, s := range steps {
			if s.pause > 0 {
				<-time.After(s.pause)
			}
			conn.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := conn.Write(s.send); err != nil {
				break // the server has hung up, or is about to
			}
		}
		if cut {
			synctest.Wait() // what can be answered is
			conn.Close()
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		o.State = "closed"
		if err := <-read; errors.Is(err, os.ErrDeadlineExceeded) {
			o.State = "open"
		}
		conn.Close()
		synctest.Wait()
		r.close()
		<-time.After(time.Second) // net/http lingers on what it has refused
		o.Answers = answers(got.Bytes())
		o.Seen, o.Log, o.shortcut = r.seen[remote], r.log.String(), r.shortcut
	})
	return o
}

// framesOfHTTP2 stand for what comes over HTTP/2, which is net/http's in any case.
const framesOfHTTP2 = "frames of HTTP/2"

// answers returns the answers that were read, without what may differ: date,
// and how the end of the body is told.
func answers(raw []byte) (list []string) {
	for b := bufio.NewReader(bytes.NewReader(raw)); ; {
		switch first, err := b.Peek(1); {
		case err != nil:
			return list
		case first[0] == 0: // in an order that differs from time to time
			return append(list, framesOfHTTP2)
		}
		res, err := http.ReadResponse(b, nil)
		if err != nil {
			return append(list, "broken: "+err.Error())
		}
		body, err := io.ReadAll(res.Body)
		maps.DeleteFunc(res.Header, func(name string, _ []string) bool { return name == "Date" || name == "Content-Length" })
		names := slices.Sorted(maps.Keys(res.Header))
		text := fmt.Sprintf("%s %s close %v", res.Proto, res.Status, res.Close)
		for _, name := range names {
			text += fmt.Sprintf(" %s %q", name, res.Header[name])
		}
		list = append(list, fmt.Sprintf("%s body %q %v", text, body, err))
	}
}
