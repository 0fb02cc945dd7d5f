package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is one that was started here, and may be killed or stopped for a while.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed at its end
	err   error         // of its end; to be read after that

	mu     sync.Mutex
	killed bool   // by kill; guarded by mu
	last   string // line that it printed; guarded by mu
}

// spawn starts a program and tells each line that it prints, on stdout or stderr. The program is told to end when
// ctx ends.
func spawn(ctx context.Context, binary string, args []string, tell func(p *process, line string)) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, binary, args...), ended: make(chan struct{})}
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "EOS_") })
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
			tell(p, lines.Text())
		}
		_, _ = io.Copy(io.Discard, out) // behind a line that is too long
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// kill ends the process as kill -9 does, and reports whether it was there.
func (p *process) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed || p.cmd.Process.Signal(syscall.SIGKILL) != nil {
		return false
	}
	p.killed = true
	return true
}

// stop lets the process stand still; it reports whether it was there.
func (p *process) stop() bool { return p.cmd.Process.Signal(syscall.SIGSTOP) == nil }

// resume lets it go on.
func (p *process) resume() bool { return p.cmd.Process.Signal(syscall.SIGCONT) == nil }

// excuse returns nil if the process, which has ended, had reason to: it was killed, or told to end and did so without
// an error.
func (p *process) excuse(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed || ctx.Err() != nil && p.cmd.ProcessState.Success() {
		return nil
	}
	return fmt.Errorf("%s ended by itself (%w), and said: %s", p.cmd.Path, p.err, p.last)
}

// sleep waits for d, or for the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits until done returns true; it returns false if ctx ends first.
func await(ctx context.Context, done func() bool) bool {
	for !done() {
		if sleep(ctx, 5*time.Millisecond) != nil {
			return false
		}
	}
	return ctx.Err() == nil
}
