package shortcut

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// newWatched starts a shortcut on the loopback interface, as only a socket
// tells that its client has left, and returns its address.
func newWatched(t *testing.T, h http.Handler) (*Listener, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	always := func(string) bool { return true }
	l := New(listener, Config{
		Handler: h, Takes: always,
		HeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
	})
	go l.Run()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = l.Shutdown(ended)
	})
	return l, listener.Addr().String()
}

// mustWait sends a text, whose first request is received when a handler has it.
func mustWait(t *testing.T, addr string, h *held, raw string) (net.Conn, context.Context) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	select {
	case request := <-h.begun:
		return conn, request
	case <-time.After(patience):
		t.Fatal("the request does not come")
		return nil, nil
	}
}

// TestClientThatLeavesEndsItsRequest, however it leaves, and no other.
func TestClientThatLeavesEndsItsRequest(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*net.TCPConn) error{
		"closed": func(c *net.TCPConn) error { return c.Close() },
		"sends no more": func(c *net.TCPConn) error {
			return c.CloseWrite() // as net/http has it
		},
		"reset": func(c *net.TCPConn) error {
			if err := c.SetLinger(0); err != nil {
				return err
			}
			return c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHeld()
			_, addr := newWatched(t, h)
			stays, staying := mustWait(t, addr, h, fetch("/a/records", ""))
			_, pipelined := mustWait(t, addr, h, fetch("/a/records", "")+fetch("/b/records", ""))
			leaves, leaving := mustWait(t, addr, h, fetch("/a/records", ""))
			if err := leave(leaves.(*net.TCPConn)); err != nil { //nolint:forcetypeassert // net.Dial of tcp
				t.Fatal(err)
			}
			select {
			case <-leaving.Done():
			case <-time.After(patience):
				t.Fatal("the request of a client that has left goes on")
			}
			if staying.Err() != nil || pipelined.Err() != nil {
				t.Errorf("requests of clients that are there have ended: %v, %v", staying.Err(), pipelined.Err())
			}
			h.end <- struct{}{}
			h.end <- struct{}{}
			if res, err := http.ReadResponse(bufio.NewReader(stays), nil); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("who stayed got %v, %v", res, err)
			}
		})
	}
}

// TestNobodyIsLookedAtBetweenRequests: who pauses, or has half a request sent,
// is no matter of the watch.
func TestNobodyIsLookedAtBetweenRequests(t *testing.T) {
	t.Parallel()
	h := newHeld()
	l, addr := newWatched(t, h)
	conn, _ := mustWait(t, addr, h, fetch("/a/records", ""))
	if n := len(l.answering()); n != 1 {
		t.Errorf("%d connections have a request, want 1", n)
	}
	h.end <- struct{}{}
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(l.answering()); n != 0 {
		t.Errorf("%d connections have a request, want none", n)
	}
}
