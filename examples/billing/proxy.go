package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// proxy is an eos-proxy with a database of its own. It is its supervisor, which starts it again when it
// dies, and its murderer.
type proxy struct {
	binary string
	dir    string // holds the data and the log

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd  // nil while none runs
	killed bool       // whether cmd was killed by kill
	url    string     // where cmd answers; empty until it has said so

	postgres int // the PostgreSQL that was killed last
}

// build compiles the proxy of the module in root.
func build(ctx context.Context, root, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/eos-proxy")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// run keeps the proxy running until ctx ends, then stops it, and its database with it. It returns an error
// if the proxy ends by itself.
func (p *proxy) run(ctx context.Context) error {
	log, err := os.Create(filepath.Join(p.dir, "proxy.log"))
	if err != nil {
		return err
	}
	defer log.Close()      //nolint:errcheck // what it says matters only while the proxy runs
	defer p.stopPostgres() // left behind by a proxy that was killed last
	for ctx.Err() == nil {
		if err := p.runOnce(ctx, log); err != nil {
			return err
		}
	}
	return nil
}

func (p *proxy) runOnce(ctx context.Context, log *os.File) error {
	cmd := exec.CommandContext(ctx, p.binary, "serve",
		"--listen", "127.0.0.1:0", "--data-dir", filepath.Join(p.dir, "data"), "--log-format", "text")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "EOS_") })
	cmd.Stdout, cmd.Stderr = &lines{tell: p.says}, log
	// Ctrl-C is for us; the proxy is told when its time has come.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second

	p.mu.Lock()
	err := cmd.Start()
	if err == nil {
		p.cmd = cmd
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	err = cmd.Wait()

	p.mu.Lock()
	defer p.mu.Unlock()
	excused := p.killed
	p.cmd, p.killed, p.url = nil, false, ""
	if excused || ctx.Err() != nil {
		return nil
	}
	text, _ := os.ReadFile(log.Name())
	return fmt.Errorf("the proxy ended by itself (%w): …%s", err, text[max(0, len(text)-1500):])
}

// says hears what the proxy tells the person who started it.
func (p *proxy) says(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if url, ok := strings.CutPrefix(line, "eos-proxy answers on "); ok && !p.killed {
		p.url = url
	}
}

// address returns where the proxy answers now; empty while it does not.
func (p *proxy) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url
}

// kill ends the proxy as kill -9 does. It reports false when there is none at the moment.
func (p *proxy) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.killed || p.cmd.Process.Signal(syscall.SIGKILL) != nil {
		return false
	}
	p.killed, p.url = true, ""
	return true
}

// killPostgres does the same to the database, but none of its children: they find out. It reports false
// when there is none at the moment.
func (p *proxy) killPostgres() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pid := p.postmaster()
	if pid == 0 || pid == p.postgres || syscall.Kill(pid, syscall.SIGKILL) != nil {
		return false
	}
	p.postgres = pid
	return true
}

// postmaster returns the process id of the database server; 0 when there is none.
func (p *proxy) postmaster() int {
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "pg", "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// stopPostgres ends the database server if it outlived the proxy, and waits until it is gone.
func (p *proxy) stopPostgres() {
	signal := syscall.SIGQUIT
	for range 500 {
		pid := p.postmaster()
		if pid == 0 || pid == p.postgres || errors.Is(syscall.Kill(pid, signal), syscall.ESRCH) {
			return
		}
		signal = 0 // from now on only asks whether it is there
		time.Sleep(20 * time.Millisecond)
	}
}

// lines is a writer that tells each line written to it.
type lines struct {
	tell func(line string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		l.tell(string(line))
		l.rest = rest
	}
}
