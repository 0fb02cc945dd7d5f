package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/embedded"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

// These tests run the real program as a process, and kill it.

// buildOnce builds the program for all of them.
var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "eos-proxy-test-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "eos-proxy")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := buildOnce(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// process is a running proxy.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	lines  *bufio.Scanner // of stdout
	stderr *lockedBuffer
	once   sync.Once
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newDir returns a data directory that PostgreSQL's user can reach, too.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "eos-proxy-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

// newProcess starts the proxy on a free port.
func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, stderr: &lockedBuffer{}}
	p.start(p.stderr, args...)
	return p
}

// start runs the proxy, whose log goes to stderr, and waits for its first line.
func (p *process) start(stderr io.Writer, args ...string) {
	t := p.t
	t.Helper()
	binary, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Stderr = stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGTERM) })
	p.lines = bufio.NewScanner(out)
	if p.lines.Scan() {
		p.url = strings.TrimPrefix(p.lines.Text(), "eos-proxy answers on ")
	}
}

// stop signals the process and waits for its end.
func (p *process) stop(sig syscall.Signal) (err error) {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(sig)
		err = p.cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("stderr of the proxy:\n%s", p.stderr)
		}
	})
	return err
}

// call sends a request and returns status and body; status 0 when there was no answer.
func (p *process) call(method, path, body string, header ...string) (int, string) {
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// must calls until the answer has the status, for up to 30 s.
func (p *process) must(status int, method, path, body string, header ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for {
		got, answer := p.call(method, path, body, header...)
		if got == status {
			return answer
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("%s %s: %d %s, want %d\n%s", method, path, got, answer, status, p.stderr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// produce appends one sequenced record.
func (p *process) produce(producer, sequence int) (int, string) {
	return p.call("POST", "/v1/topics/t/records", fmt.Sprintf(`{"records":[{"value":%d}]}`, sequence),
		"Producer-Id", strconv.Itoa(producer), "Producer-Epoch", "0", "Producer-Seq", strconv.Itoa(sequence))
}

// register makes the topic and a producer.
func (p *process) register() int {
	p.t.Helper()
	p.must(200, "GET", "/readyz", "")
	p.call("PUT", "/v1/topics/t", "")
	var reg struct {
		ProducerID int `json:"producer_id"`
	}
	if err := json.Unmarshal([]byte(p.must(201, "POST", "/v1/producers", "")), &reg); err != nil {
		p.t.Fatal(err)
	}
	return reg.ProducerID
}

// highWatermark returns where the only partition of topic t ends.
func (p *process) highWatermark() int {
	p.t.Helper()
	var page struct {
		HighWatermark int `json:"high_watermark"`
	}
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/v1/topics/t/partitions/0/records?max_records=1", "")), &page); err != nil {
		p.t.Fatal(err)
	}
	return page.HighWatermark
}

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "pg", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestKilledProxyLosesNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := newProcess(t, "--data-dir", dir)
	producer := p.register()
	sequence := 0
	for range 5 {
		killed := make(chan struct{})
		time.AfterFunc(150*time.Millisecond, func() { _ = p.stop(syscall.SIGKILL); close(killed) })
		for {
			status, body := p.produce(producer, sequence)
			if status == 0 {
				break
			}
			if status != 200 || !strings.Contains(body, fmt.Sprintf(`"base_offset":%d,`, sequence)) {
				t.Fatalf("sequence %d: %d %s", sequence, status, body)
			}
			sequence++
		}
		<-killed
		// Its PostgreSQL still runs; the next proxy takes the data over. The
		// request without answer is sent again.
		p = newProcess(t, "--data-dir", dir)
		p.must(200, "GET", "/readyz", "")
	}
	if status, body := p.produce(producer, sequence); status != 200 || !strings.Contains(body, fmt.Sprintf(`"base_offset":%d,`, sequence)) {
		t.Fatalf("after the last kill: %d %s", status, body)
	}
	if got := p.highWatermark(); got != sequence+1 {
		t.Errorf("%d records, %d were acknowledged", got, sequence+1)
	}
}

func TestKilledPostgreSQLComesBack(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := newProcess(t, "--data-dir", dir)
	producer := p.register()
	for sequence := range 200 {
		if sequence%50 == 25 {
			if err := syscall.Kill(postmaster(t, dir), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		for {
			status, body := p.produce(producer, sequence)
			if status == 503 {
				continue
			}
			if status != 200 || !strings.Contains(body, fmt.Sprintf(`"base_offset":%d,`, sequence)) {
				t.Fatalf("sequence %d: %d %s", sequence, status, body)
			}
			break
		}
	}
	if got := p.highWatermark(); got != 200 {
		t.Errorf("%d records, 200 were acknowledged", got)
	}
}

func TestSignalsLeaveNoProcess(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := newDir(t)
		p := newProcess(t, "--data-dir", dir)
		p.register()
		pid := postmaster(t, dir)
		waited := make(chan string)
		go func() {
			_, body := p.call("GET", "/v1/topics/t/partitions/0/records?wait_ms=60000", "")
			waited <- body
		}()
		for !strings.Contains(p.must(200, "GET", "/metrics", ""), "eos_waiting_fetches 1") {
		}
		if err := p.stop(sig); err != nil {
			t.Errorf("%v: the program ended with %v", sig, err)
		}
		if body := <-waited; !strings.Contains(body, `"records":[]`) {
			t.Errorf("%v: the waiting fetch got %s", sig, body)
		}
		if alive(pid) {
			t.Errorf("%v: PostgreSQL %d lives on", sig, pid)
		}
	}
}

func TestSecondProxyOnTheSameDirectory(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := newProcess(t, "--data-dir", dir)
	first.register()
	second := newProcess(t, "--data-dir", dir)
	if err := second.cmd.Wait(); err == nil || !strings.Contains(second.stderr.String(), "in use by another eos-proxy") {
		t.Errorf("ended with %v: %s", err, second.stderr)
	}
	if second.url != "" {
		t.Errorf("it answers on %s, it says, and has no data", second.url)
	}
	second.once.Do(func() {})
	first.must(200, "GET", "/readyz", "")
}

func TestDatabaseAwayAtStartAndLater(t *testing.T) {
	t.Parallel()
	gate := faults.New(t, pgtest.New(t))
	gate.Refuse(true)
	p := newProcess(t, "--database-url", gate.URL())
	p.must(503, "GET", "/readyz", "")
	p.must(200, "GET", "/healthz", "")
	gate.Refuse(false)
	producer := p.register()
	gate.Refuse(true)
	gate.CutAll()
	status, body := p.produce(producer, 0)
	if status != 503 || !strings.Contains(body, `"effect":`) {
		t.Errorf("produce with the database away: %d %s", status, body)
	}
	p.must(503, "GET", "/readyz", "")
	gate.Refuse(false)
	p.must(200, "GET", "/readyz", "")
	if status, body := p.produce(producer, 0); status != 200 {
		t.Errorf("produce with the database back: %d %s", status, body)
	}
}

func TestUnsafeDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server, err := embedded.Open(t.Context(), embedded.Config{Dir: dir, Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
		_ = server.Close()
	}()
	<-server.Started()
	p := newProcess(t, "--database-url", server.URL())
	if err := p.cmd.Wait(); err == nil || !strings.Contains(p.stderr.String(), "fsync") {
		t.Errorf("ended with %v: %s", err, p.stderr)
	}
	p.once.Do(func() {})
	allowed := newProcess(t, "--database-url", server.URL(), "--allow-unsafe-database")
	allowed.must(200, "GET", "/readyz", "")
}
