package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

// TestTheSumNeverChanges: tellers are killed, and so is one of two proxies; the auditors see nothing of it. The
// same auditors find out what tellers without transactions do.
func TestTheSumNeverChanges(t *testing.T) {
	t.Parallel()
	binary, database := build(t), pgtest.New(t)
	mortal := newProxy(t, binary, database, "127.0.0.1:0")
	other := newProxy(t, binary, database, "127.0.0.1:0")
	cfg := config{urls: []string{mortal.url, other.url}, transfers: 250, tellers: 4, auditors: 2}
	result := make(chan error, 1)
	var out strings.Builder
	go func() { result <- run(t.Context(), cfg, &out) }()
	kills, err := 0, errors.New("still running")
	for running := true; running; {
		select {
		case err = <-result:
			running = false
		case <-time.After(100 * time.Millisecond):
			if kills < 3 {
				kills++
				mortal.kill()
				mortal = newProxy(t, binary, database, strings.TrimPrefix(mortal.url, "http://"))
			}
		}
	}
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	if kills == 0 || strings.Contains(out.String(), "killed 0 times") {
		t.Errorf("%d proxies were killed, or no teller", kills)
	}

	out.Reset()
	cfg.torn, cfg.transfers = true, 40
	err = run(t.Context(), cfg, &out)
	t.Logf("\n%s", &out)
	if !errors.Is(err, errTorn) {
		t.Errorf("two requests without a transaction: %v, want that the sum changes", err)
	}
}

// build builds the proxy.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "eos-proxy")
	// As tests are built, and not for speed: there is less to build.
	if out, err := exec.Command("go", "build", "-pgo=off", "-o", binary, "../../cmd/eos-proxy").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// proxy is a proxy that runs.
type proxy struct {
	cmd *exec.Cmd
	url string
}

func newProxy(t *testing.T, binary, database, listen string) *proxy {
	t.Helper()
	p := &proxy{cmd: exec.Command(binary, "serve", "--listen", listen, "--database-url", database)}
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "EOS_") })
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the proxy does not start")
	}
	p.url = strings.TrimPrefix(lines.Text(), "eos-proxy answers on ")
	return p
}

// kill ends the proxy as kill -9 does.
func (p *proxy) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // its error is the signal
}
