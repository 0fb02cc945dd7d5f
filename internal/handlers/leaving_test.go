package handlers_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/shortcut"
)

// shortcut serves the proxy's handler as serve.go does, and returns its
// address. What it hands on nobody takes.
func (p *proxy) shortcut(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	short := shortcut.New(listener, shortcut.Config{
		Handler: p.handler, Takes: handlers.IsRecordsPath,
		HeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
	})
	go short.Run()
	t.Cleanup(func() {
		p.handler.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := short.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return listener.Addr().String()
}

// TestF4ClientThatLeavesFreesItsPlace, behind net/http and behind the shortcut,
// and whatever it waits for.
func TestF4ClientThatLeavesFreesItsPlace(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	short := p.shortcut(t)
	for _, path := range []string{"/v1/topics/t/partitions/0/records?offset=0", "/v1/topics/t/partitions/0/records?at=latest", "/v1/topics/t/records?at=latest"} {
		for _, addr := range []string{strings.TrimPrefix(p.url, "http://"), short} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET "+path+"&wait_ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			p.untilMetric(t, "eos_waiting_fetches", 1)
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			p.untilMetric(t, "eos_waiting_fetches", 0)
		}
	}
}

// TestF3ManyAreWokenBehindTheShortcut: each gets the record, all of them on
// connections of their own, once and again.
func TestF3ManyAreWokenBehindTheShortcut(t *testing.T) {
	t.Parallel()
	const many = 300
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	behind := &proxy{url: "http://" + p.shortcut(t)}
	var waiting [many]<-chan *answer
	for round := range 3 {
		offset := string(rune('0' + round))
		for i := range waiting {
			waiting[i] = behind.start(t, http.MethodGet, "/v1/topics/t/partitions/0/records?wait_ms=60000&offset="+offset, "")
		}
		p.untilMetric(t, "eos_waiting_fetches", many)
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":`+offset+`}]}`)
		for _, done := range waiting {
			a := received(t, done)
			if page := mustPage(t, a); len(page.Records) != 1 || string(page.Records[0].Value) != offset {
				t.Fatalf("round %d: %d %s", round, a.status, a.body)
			}
		}
	}
}
