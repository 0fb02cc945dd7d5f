package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/torture/cluster"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// alarms are those that were raised.
type alarms struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (a *alarms) raise(name, detail string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, name+": "+detail)
}

func (a *alarms) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.all, "\n")
}

// take returns them, and forgets them.
func (a *alarms) take() string {
	text := a.text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = nil
	return text
}

// rig is a cluster of one proxy, whose way to PostgreSQL can be cut.
type rig struct {
	*cluster.Cluster
	database *faults.Proxy
	producer string // an id
	alarms   alarms
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "eos-cluster-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user where we are root
		t.Fatal(err)
	}
	r := &rig{}
	r.Cluster, err = cluster.Start(t.Context(), cluster.Config{
		Root: filepath.Join("..", "..", ".."), Dir: dir, Proxies: 1, Disk: cluster.None, Alarm: r.alarms.raise,
		Database: func(_ int, url string) (string, error) {
			r.database, err = faults.Open(url, faults.Config{})
			return r.database.URL(), err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		_ = r.database.Close()
	})
	return r
}

// request sends a request to the proxy, and returns the answer; an error also for a status that is none of success.
func (r *rig) request(ctx context.Context, method, path, body string, header ...string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.Proxies[0].Address()+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // it is read, or the error is another
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// provoke does what makes the proxy come to a point.
func (r *rig) provoke(ctx context.Context, point crash.Point) error {
	produce := func() error {
		_, err := r.request(ctx, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":1}]}`)
		return err
	}
	var err error
	switch point {
	case crash.MidResponse:
		_, err = r.request(ctx, http.MethodGet, "/v1/topics", "")
	case crash.OneShot:
		_, err = r.request(ctx, http.MethodPut, "/v1/transactions/one-shot",
			`{"produce":[{"topic":"t","records":[{"value":1}]}],"commit":true}`)
	case crash.Settling:
		r.database.Arm(faults.CutAfter)
		err = produce()
	case crash.Upload:
		_, err = r.request(ctx, http.MethodPost, "/v1/topics/t/records/stream", `{"value":1}`+"\n",
			"Content-Type", "application/x-ndjson", "Producer-Id", r.producer, "Producer-Epoch", "0")
	case crash.TimeoutSweep:
		_, err = r.request(ctx, http.MethodPut, "/v1/transactions/sweep", `{"timeout_ms":1}`)
	case crash.Retention:
		_, err = r.request(ctx, http.MethodPost, "/v1/topics/short/records", `{"records":[{"value":1},{"value":2}]}`)
	case crash.GroupSweep, crash.GroupSwept:
		_, err = r.request(ctx, http.MethodPut, "/v1/groups/"+string(point)+"/members/m",
			`{"topics":["t"],"session_timeout_ms":6000}`)
	default:
		err = produce()
	}
	return err
}

// TestCluster has one cluster for all: to build it takes longest.
func TestCluster(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	t.Run("what stays is an alarm", r.testFloor)
	t.Run("a proxy dies at every crash point", r.testCrashPoints)
	t.Run("an end without a cause is an alarm", r.testEnds)
}

func (r *rig) testCrashPoints(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for topic, body := range map[string]string{"/v1/topics/t": "{}", "/v1/topics/short": `{"retention_ms":0}`} {
		if _, err := r.request(ctx, http.MethodPut, topic, body); err != nil {
			t.Fatal(err)
		}
	}
	text, err := r.request(ctx, http.MethodPost, "/v1/producers", "")
	_, rest, _ := strings.Cut(text, `"producer_id":`)
	r.producer, _, _ = strings.Cut(rest, ",")
	if err != nil || r.producer == "" {
		t.Fatal(err, text)
	}
	p := r.Proxies[0]
	for _, point := range crash.Points {
		crashed := func() bool { return p.Crashes()[string(point)] > 0 }
		p.Arm(string(point) + ":1")
		starts := p.Starts()
		// What it does at its start may be at the point already.
		if !p.Kill(0) || !wait.Until(ctx, func() bool { return p.Starts() > starts && p.Ready(ctx) || crashed() }) {
			t.Fatalf("%s: the proxy does not come back", point)
		}
		if !crashed() {
			err = r.provoke(ctx, point)
		}
		if !wait.Until(ctx, crashed) {
			t.Fatalf("%s: no crash, but %v", point, err)
		}
		if !wait.Until(ctx, func() bool { return p.Ready(ctx) }) {
			t.Fatalf("%s: the proxy does not come back", point)
		}
	}
	if text := r.alarms.take(); text != "" {
		t.Error(text)
	}
}

func (r *rig) testEnds(t *testing.T) {
	p := r.Proxies[0]
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGQUIT} {
		if !wait.Until(t.Context(), func() bool { return p.Ready(t.Context()) }) {
			t.Fatal("the proxy does not come back")
		}
		if err := syscall.Kill(p.PID(), signal); err != nil {
			t.Fatal(err)
		}
		const want = "crash: proxy-0 ended by itself"
		wait.Until(t.Context(), func() bool { return strings.Count(r.alarms.text(), want) == i+1 })
	}
	starts := p.Starts()
	if !wait.Until(t.Context(), func() bool { return p.Restart(t.Context()) }) ||
		!wait.Until(t.Context(), func() bool { return p.Starts() > starts && p.Ready(t.Context()) }) {
		t.Error("it could not be told to end")
	}
	if got := r.alarms.take(); strings.Count(got, "\n")+1 != 3 {
		t.Errorf("alarms, want 3:\n%s", got)
	}
}

func (r *rig) testFloor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r.AwaitFloor(ctx)
	if text := r.alarms.text(); text != "" || ctx.Err() != nil {
		t.Fatalf("a service to which nobody has come: %s", text)
	}
	conn, err := r.Postgres.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // it has done its work
	if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	short, done := context.WithTimeout(t.Context(), 3*time.Second)
	defer done()
	r.AwaitFloor(short)
	if got := r.alarms.take(); !strings.HasPrefix(got, "leak-transactions: 1 sessions") {
		t.Errorf("alarms: %q", got)
	}
}
