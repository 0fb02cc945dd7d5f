package handlers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/shortcut"
)

// hangs is how long a server may take to be done with what it was sent.
const hangs = 10 * time.Second

// newDryServer serves a dry handler as the program does: the shortcut before
// net/http, on a TCP port, whose address it returns.
func newDryServer(tb testing.TB) (addr string, k *keeper) {
	tb.Helper()
	h, k := newDry(tb, Config{
		MaxBodyBytes: 64 << 10, MaxRecords: 100, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64, BodyIdle: hangs / 4,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: h, Protocols: protocols, ReadHeaderTimeout: hangs / 2, IdleTimeout: hangs / 2,
		MaxHeaderBytes: 12 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}
	short := shortcut.New(l, shortcut.Config{
		Handler: h, Takes: IsRecordsPath, HeaderTimeout: server.ReadHeaderTimeout, IdleTimeout: server.IdleTimeout,
		ErrorLog: server.ErrorLog,
	})
	go short.Run()
	go server.Serve(short)
	tb.Cleanup(func() {
		if err := short.Shutdown(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
		_ = server.Close() // it has no listener any more
	})
	return l.Addr().String(), k
}

// requests are what is sent to a server, whole; most are right.
var requests = []string{
	"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	"HEAD /openapi.yaml HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
	"POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 25\r\n" +
		"\r\n{\"records\":[{\"value\":1}]}",
	"POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nProducer-Id: 1\r\n" +
		"Producer-Epoch: 0\r\nProducer-Seq: 0\r\n" +
		"Content-Length: 12\r\n\r\n{\"value\":1}\n",
	"POST /v1/topics/t/partitions/3/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
		"Transfer-Encoding: chunked\r\n\r\n" +
		"a\r\n{\"records\"\r\nf\r\n:[{\"value\":1}]}\r\n0\r\n\r\n",
	"POST /v1/topics/t/raw HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nRecord-Key: k\r\nContent-Length: 3\r\n\r\nabc",
	"POST /v1/topics/t/records/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n" +
		"Producer-Id: 1\r\nProducer-Epoch: 0\r\n" +
		"Transfer-Encoding: chunked\r\n\r\nc\r\n{\"value\":1}\n\r\n0\r\n\r\n",
	"GET /v1/topics/t/partitions/0/records?offset=0&wait_ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /v1/topics/t/stream?at=latest HTTP/1.1\r\nHost: x\r\nLast-Event-ID: AQEAAA\r\n\r\n",
	"PUT /v1/transactions/a%2Fb HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n" +
		"\r\n{\"commit\":true}",
	"POST /v1/groups/g/members/m/poll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
		"Content-Length: 18\r\n\r\n{\"member_epoch\":1}",
	"DELETE /v1/topics/t HTTP/1.0\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	"BREW /v1/topics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" +
		"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	"POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 25\r\n" +
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
		"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
	"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}

// FuzzServer sends any bytes, in pieces, on a connection of its own, and then
// nothing more. What comes back is a list of well-formed answers, but for the
// last one when it is cut; the server is done with it soon, and goes on serving.
func FuzzServer(f *testing.F) {
	for i, r := range requests {
		f.Add([]byte(r), []byte{byte(i)})
		f.Add([]byte(r[:len(r)-3]+requests[0]), []byte{})
		f.Add([]byte(r+requests[2]+requests[0]), []byte{200, 7})
	}
	f.Add([]byte(requests[2]+requests[3]+requests[2]+strings.Replace(requests[2], "25", "24", 1)), []byte{})
	f.Add([]byte(strings.Replace(requests[2], "Host: x", "Host: x\r\nX: "+strings.Repeat("x", 20<<10), 1)), []byte{})
	f.Add([]byte("GET /v1/topics/"+strings.Repeat("t", 20<<10)), []byte{})
	addr, _ := newDryServer(f)
	mustServe(f, addr)
	goroutines, connections := 0, 0
	f.Fuzz(func(t *testing.T, raw, cuts []byte) {
		if connections++; connections == 1 {
			goroutines = runtime.NumGoroutine()
		}
		mustBeAnswers(t, converse(t, addr, raw, cuts))
		mustServe(t, addr)
		if connections%50 == 0 { // net/http lingers for half a second on a connection that it has refused
			mustLeave(t, goroutines)
		}
	})
}

// converse sends bytes in pieces of these sizes, and returns what comes back
// until the server hangs up.
func converse(t *testing.T, addr string, raw, cuts []byte) []byte {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	conn, ok := nc.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is no TCP connection", nc)
	}
	if err := conn.SetDeadline(time.Now().Add(hangs)); err != nil {
		t.Fatal(err)
	}
	go func() { // answers may come before all is sent
		for rest, i := raw, 0; len(rest) > 0; i++ {
			n := len(rest)
			if i < len(cuts) {
				n = min(n, 1+int(cuts[i]))
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				return // refused before it was read
			}
			rest = rest[n:]
		}
		_ = conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("the server hangs on %.2000q, after %.2000q", raw, got)
	}
	return got
}

// mustBeAnswers fails unless text is answers one behind the other, or frames of
// HTTP/2.
func mustBeAnswers(t *testing.T, text []byte) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(text))
	for {
		switch begin, err := in.Peek(9); {
		case len(begin) == 0:
			return
		case err == nil && begin[3] == 4: // SETTINGS come first (RFC 9113, section 3.4)
			return
		}
		// An answer to HEAD has no body: the next one follows at once.
		a, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("no answer: %v, in %.2000q", err, text)
		}
		if a.StatusCode == http.StatusContinue {
			continue
		}
		if next, _ := in.Peek(5); string(next) == "HTTP/" && a.ContentLength > 0 {
			continue
		}
		body, err := io.ReadAll(a.Body)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("a broken answer: %v, in %.2000q", err, text)
		}
		mustBeInForm(t, a, body, err != nil)
	}
}

// mustBeInForm fails unless an answer has what each has. One that was cut ended
// with its connection.
func mustBeInForm(t *testing.T, a *http.Response, body []byte, isCut bool) {
	t.Helper()
	isRefusal := a.StatusCode >= http.StatusBadRequest
	switch media := a.Header.Get("Content-Type"); {
	case !isRefusal && a.Header.Get("Request-Id") == "" && a.StatusCode != http.StatusOK: // to OPTIONS * net/http says 200
		t.Fatalf("%s without a Request-Id", a.Status)
	case a.StatusCode == http.StatusInternalServerError:
		t.Fatalf("%s: %s", a.Status, body)
	case media == "application/problem+json" && !isCut && len(body) > 0 && a.Header.Get("Content-Encoding") == "":
		var p api.Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Status != int64(a.StatusCode) {
			t.Fatalf("%s: %q: %v", a.Status, body, err)
		}
	}
}

// mustServe fails unless a new connection is served.
func mustServe(tb testing.TB, addr string) {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, hangs)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(hangs)); err != nil {
		tb.Fatal(err)
	}
	fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	a, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || a.StatusCode != http.StatusOK {
		tb.Fatalf("the next connection: %v, %v", a, err)
	}
	_ = a.Body.Close()
}
