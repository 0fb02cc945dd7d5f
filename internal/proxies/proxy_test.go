// Package proxies_test holds what several proxies over one PostgreSQL promise
// together. Its tests build the program and run it as processes, of which each
// client meets a different one with each request, as behind a load balancer
// that knows nothing of sessions.
package proxies_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that should take a moment; a machine
// that others use, and the race detector, make moments long.
const patience = 40 * time.Second

// buildOnce builds the program for all tests, with the race detector where the
// test has it.
var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "eos-proxies-test-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "eos-proxy")
	args := []string{"build", "-pgo=off", "-o", binary} // as the tests are built: less to build
	if underRace {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../../cmd/eos-proxy")...).CombinedOutput()
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

// proxy is a proxy that is started, stopped and started again at one address.
type proxy struct {
	t        *testing.T
	name     string
	database string // URL
	url      string // where it answers, from the first start on
	cmd      *exec.Cmd
	log      *os.File
}

// newProxy starts a proxy on a database.
func newProxy(t *testing.T, name, database string) *proxy {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, name: name, database: database, log: log}
	p.start()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // after stop there is none
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("the log of proxy %s:\n%s", p.name, p.logged())
		}
		_ = log.Close()
	})
	return p
}

// start starts the proxy and waits until it has its address. Until the
// database is ready it answers 503.
func (p *proxy) start() {
	p.t.Helper()
	binary, err := buildOnce()
	if err != nil {
		p.t.Fatal(err)
	}
	listen := "127.0.0.1:0"
	if p.url != "" {
		listen = strings.TrimPrefix(p.url, "http://")
	}
	p.cmd = exec.Command(binary, "serve", "--listen", listen, "--database-url", p.database, "--log-format", "text")
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "EOS_") })
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		p.t.Fatalf("proxy %s does not start: %s", p.name, p.logged())
	}
	if p.url == "" { // clients read it
		p.url = strings.TrimPrefix(lines.Text(), "eos-proxy answers on ")
	}
}

// awaitReady waits until the proxy has its database.
func (p *proxy) awaitReady() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/readyz", http.NoBody)
		if err != nil {
			p.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = resp.Body.Close() // the status is all
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			p.t.Fatalf("proxy %s is not ready: %s", p.name, p.logged())
		}
	}
}

// stop ends the proxy as an operator does. It must end by itself, without an
// error and within the time that it gives to requests.
func (p *proxy) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // Wait tells if there is none
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("proxy %s ended with %v:\n%s", p.name, err, p.logged())
	}
}

func (p *proxy) logged() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// mustBeCalm fails the test if the proxy has logged what nobody should have to read.
func (p *proxy) mustBeCalm() {
	p.t.Helper()
	for line := range strings.Lines(p.logged()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			p.t.Errorf("proxy %s logged %s", p.name, line)
		}
	}
}
