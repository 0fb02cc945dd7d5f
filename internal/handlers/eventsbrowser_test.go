package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestEventSourceInABrowser: a page in Chromium follows a partition and a topic
// through connections that are cut again and again, mostly within an event, and
// come back to one proxy or the other: it sees each record once. When the topic
// is deleted it is told so, and gives up at the 404 that follows.
func TestEventSourceInABrowser(t *testing.T) {
	t.Parallel()
	if os.Getenv("EOS_BROWSER_CHROMIUM") == "" {
		t.Skip("run make browser")
	}
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	const n = 40
	mustProduce(t, c, "/v1/topics/t/records", 0, n/2)
	site, calm := newCutSite(t, p.handler, other.handler)
	query := url.Values{"want": {strconv.Itoa(n)}, "follow": {"/v1/topics/t/partitions/0/stream", "/v1/topics/t/stream"}}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	run := exec.CommandContext(ctx, "node", "testdata/browser/run.mjs", site+"/?"+query.Encode())
	run.Stderr = os.Stderr
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var group sync.WaitGroup
	group.Go(func() { // the rest comes while it follows
		pause := time.NewTicker(100 * time.Millisecond)
		defer pause.Stop()
		for i := n / 2; i < n; i++ {
			<-pause.C
			mustProduce(t, c, "/v1/topics/t/records", i, i+1)
		}
	})
	seen := lines.Scan() && lines.Text() == "seen"
	group.Wait()
	calm.Store(true)
	until(t, "both to be connected", func() bool { return p.metrics(t)["eos_event_streams"]+other.metrics(t)["eos_event_streams"] == 2 })
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	var states []struct {
		Path           string
		Records        []int
		IDs            []string
		Opened, Broken int
		Problem        string
	}
	if !seen || !lines.Scan() || json.Unmarshal(lines.Bytes(), &states) != nil || len(states) != 2 {
		t.Errorf("the page says %q", lines.Text())
	}
	if err := run.Wait(); err != nil {
		t.Fatal(err)
	}
	want := make([]int, n)
	for i := range want {
		want[i] = i
	}
	for _, s := range states {
		if !slices.Equal(s.Records, want) || s.Problem != "UNKNOWN_TOPIC_OR_PARTITION" || s.Opened < 3 {
			t.Errorf("%+v", s)
		}
		t.Logf("%s: %d connections", s.Path, s.Opened)
	}
}

// newCutSite serves the page, and the API of the proxies in turn, over
// connections that break after some bytes of an event stream, until calm. It
// returns its URL.
func newCutSite(t *testing.T, proxies ...http.Handler) (site string, calm *atomic.Bool) {
	t.Helper()
	var turn atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		proxies[int(turn.Add(1))%len(proxies)].ServeHTTP(w, r)
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "testdata/browser/page.html") })
	server := httptest.NewUnstartedServer(mux)
	listener := &cutListener{Listener: server.Listener, random: rand.New(rand.NewPCG(3, 5))}
	server.Listener = listener
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL, &listener.calm
}

// cutListener gives each connection some bytes of an event stream to send.
type cutListener struct {
	net.Listener
	mu     sync.Mutex
	random *rand.Rand // guarded by mu
	calm   atomic.Bool
}

func (l *cutListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return &cutConn{Conn: conn, calm: &l.calm, left: 500 + l.random.IntN(1000)}, nil
}

// cutConn breaks when it has sent what it may.
type cutConn struct {
	net.Conn
	calm    *atomic.Bool
	left    int
	streams bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	c.streams = c.streams || bytes.Contains(b, []byte("text/event-stream"))
	if !c.streams || c.calm.Load() {
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:min(len(b), c.left)])
	if c.left -= n; err == nil && n < len(b) {
		err = net.ErrClosed
		c.Close()
	}
	return n, err
}
