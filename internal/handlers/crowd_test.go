package handlers_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const crowd = 10_000

// TestIdleConnections: ten thousand of them, or as many as this process may
// have, do no harm.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := crowd
	if limit.Max < 2*crowd+2000 { // both ends are ours, and other tests run
		n = max(1000, int(limit.Max)/2-1000)
	}
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	conns := make([]net.Conn, n)
	var group sync.WaitGroup
	for part := range 4 {
		group.Go(func() {
			for i := part; i < n; i += 4 {
				conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = conn
			}
		})
	}
	group.Wait()
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	p.client(t).mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", oneRecord)
	// The last one that came is a connection as any other.
	last := conns[n-1]
	if err := last.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Write([]byte("GET /v1/topics/t/partitions/0/records HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, len("HTTP/1.0 200"))
	if _, err := last.Read(head); err != nil || string(head) != "HTTP/1.0 200" {
		t.Errorf("%s, %v", head, err)
	}
	t.Logf("%d idle connections", n)
}

// untilNoneIsHeld waits until no connection to the database is in use. A waiter
// that holds one while it waits makes that never true. The last waiters may look
// once more after they have registered; so tests ask again when something has
// been written, and all of them have long been waiting.
func (p *proxy) untilNoneIsHeld(t *testing.T) {
	t.Helper()
	until(t, "the connections to be given back", func() bool { return p.store.Pool().AcquiredConns() == 0 })
}

// TestF4WaitingFetchesHoldNothing: ten thousand of them hold no connection to
// the database.
func TestF4WaitingFetchesHoldNothing(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":10}`)
	answers := make([]*httptest.ResponseRecorder, crowd)
	var group sync.WaitGroup
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		path := "/v1/topics/t/partitions/" + strconv.Itoa(i%10) + "/records?wait_ms=60000"
		if i%100 == 0 {
			path = "/v1/topics/t/records?wait_ms=60000"
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		group.Go(func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
					panic(p)
				}
			}()
			p.handler.ServeHTTP(answers[i], r)
		})
	}
	p.untilMetric(t, "eos_waiting_fetches", crowd)
	p.untilNoneIsHeld(t)
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/partitions/0/records", oneRecord)
	p.untilMetric(t, "eos_waiting_fetches", crowd-crowd/10)
	p.untilNoneIsHeld(t)
	p.handler.Drain()
	group.Wait()
	for i, a := range answers {
		if a.Code != http.StatusOK {
			t.Fatalf("fetch %d: %d %s", i, a.Code, a.Body)
		}
		if found := strings.Contains(a.Body.String(), `"value":1`); found != (i%10 == 0) {
			t.Fatalf("fetch %d: %s", i, a.Body)
		}
	}
}
