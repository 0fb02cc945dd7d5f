package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A process is a server that the run started: a proxy or the echo.
type process struct {
	addr  string // host:port
	cmd   *exec.Cmd
	ready time.Duration // from its start to its first good answer to /readyz
}

// startProcess starts a program whose first line on stdout ends in its URL, and waits until it is ready. It
// lives until stop, whatever becomes of ctx.
func startProcess(ctx context.Context, program string, args ...string) (*process, error) {
	began := time.Now()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	cmd.Stderr = os.Stderr
	// A process group of its own: an interrupt at the keyboard is for us, who then stop it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return nil, errors.Join(fmt.Errorf("%s %s ended before it answered", program, args[0]), p.stop())
	}
	go func() { // what it prints later must not fill the pipe; ends with the process
		for lines.Scan() {
			continue
		}
	}()
	_, p.addr, _ = strings.Cut(lines.Text(), "http://")
	if err := waitFor(ctx, p.addr); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.ready = time.Since(began)
	return p, nil
}

// stop asks the process to end, and waits for it.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	return p.cmd.Wait()
}

func (p *process) pid() int {
	if p == nil || p.cmd == nil {
		return 0 // somebody else started it
	}
	return p.cmd.Process.Pid
}

// readyInterval is how often a server is asked whether it is ready: the error of process.ready.
const readyInterval = 5 * time.Millisecond

func waitFor(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := call(ctx, addr, "GET", "/readyz", "", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", addr, err)
		case <-time.After(readyInterval):
		}
	}
}

// startProxy starts a proxy on one of the run's databases.
func (b *bench) startProxy(ctx context.Context, database string, args ...string) (*process, error) {
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--database-url", b.postgres.database(database)}, args...)
	return startProcess(ctx, b.cfg.Program, args...)
}

// newDatabase makes a database of its own for some works, and starts a proxy on it, which makes the tables.
func (b *bench) newDatabase(ctx context.Context, name string) (*process, error) {
	if _, err := b.postgres.conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, err
	}
	return b.startProxy(ctx, name)
}

// restart starts the proxy of the run again, so that its memory is that of a fresh one.
func (b *bench) restart(ctx context.Context) error {
	if err := b.proxy.stop(); err != nil {
		return err
	}
	proxy, err := b.startProxy(ctx, "eos")
	if err != nil {
		return err
	}
	b.proxy = proxy
	return nil
}
