// Package program builds programs of the module, runs them as processes, and kills them: what the examples and
// internal/torture do to themselves. It knows the proxy and its PostgreSQL, and nothing of what they are used for.
package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build compiles programs of the module in root, named as in "./cmd/eos-proxy", into dir.
func Build(ctx context.Context, root, dir string, paths ...string) error {
	args := append([]string{"build", "-trimpath", "-o", dir + string(filepath.Separator)}, paths...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(paths, " "), err, out)
	}
	return nil
}

// A Process is one that was started here, and may be killed or stopped for a while.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed at its end
	err   error         // of its end; to be read after that

	mu     sync.Mutex
	killed bool   // by Kill; guarded by mu
	last   string // line that it printed; guarded by mu
}

// Start starts a program, without the settings of the environment but with those of env, and calls onLine with each
// line that it prints, on stdout or stderr. The program is told to end when ctx ends.
func Start(
	ctx context.Context, binary string, args []string, onLine func(p *Process, line string), env ...string,
) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, binary, args...), ended: make(chan struct{})}
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "EOS_") })
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us
	p.cmd.Cancel = func() error {
		// One that is stopped hears it when it goes on.
		return errors.Join(p.cmd.Process.Signal(syscall.SIGTERM), p.cmd.Process.Signal(syscall.SIGCONT))
	}
	p.cmd.WaitDelay = 30 * time.Second
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.mu.Lock()
			p.last = lines.Text()
			p.mu.Unlock()
			onLine(p, lines.Text())
		}
		_, _ = io.Copy(io.Discard, out) // behind a line that is too long
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// Ended returns a channel that is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the end, and returns how it was.
func (p *Process) Wait() error {
	<-p.ended
	return p.err
}

// Successful reports whether the process, which has ended, did so with status 0: Wait may tell of the signal that it
// was sent.
func (p *Process) Successful() bool { return p.cmd.ProcessState.Success() }

// Last returns the last line that the process has printed.
func (p *Process) Last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Kill ends the process as kill -9 does, and reports whether it was there.
func (p *Process) Kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed || p.cmd.Process.Signal(syscall.SIGKILL) != nil {
		return false
	}
	p.killed = true
	return true
}

func (p *Process) isKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// Signal sends the process a signal, and reports whether it was there.
func (p *Process) Signal(signal syscall.Signal) bool { return p.cmd.Process.Signal(signal) == nil }

// PID returns its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop lets the process stand still; it reports whether it was there.
func (p *Process) Stop() bool { return p.cmd.Process.Signal(syscall.SIGSTOP) == nil }

// Resume lets it go on.
func (p *Process) Resume() bool { return p.cmd.Process.Signal(syscall.SIGCONT) == nil }

// Excuse returns nil if the process, which has ended, had reason to: it was killed, or told to end and did so without
// an error.
func (p *Process) Excuse(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed || ctx.Err() != nil && p.cmd.ProcessState.Success() {
		return nil
	}
	return fmt.Errorf("%s ended by itself (%w), and said: %s", p.cmd.Path, p.err, p.last)
}
