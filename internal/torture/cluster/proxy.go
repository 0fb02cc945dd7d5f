package cluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/program"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

const (
	endTime    = 45 * time.Second // that a proxy may take to end when it is told to: its grace time, and what comes after
	serverTime = 25 * time.Second // that PostgreSQL may: its last checkpoint
	hurryTime  = 5 * time.Second  // the same of each, after Hurry
)

// A Proxy is an eos-proxy that is started again whenever it dies. Its methods may be called by anybody at any time.
type Proxy struct {
	Name  string
	Clock time.Duration // by how much its wall clock is off
	Race  bool          // whether it was built with the race detector

	hurry    <-chan struct{}
	binary   string
	args     []string
	log      *log
	floor    Figures // of it when it was new and idle; set before the traffic begins
	canCrash bool    // it has crash points

	mu      sync.Mutex
	process *program.Process // nil while none runs; guarded by mu
	address string           // where it answers; empty while it does not; guarded by mu
	frozen  bool             // it stands still; guarded by mu
	killed  bool             // the process was killed here; guarded by mu
	told    bool             // the process was told to end; guarded by mu
	arm     string           // crash point of the next process; guarded by mu
	next    func() string    // chooses one where arm is empty; nil: none; guarded by mu
	armed   string           // crash point of this process; guarded by mu
	crashed string           // the point that this process has told to have met; guarded by mu
	down    time.Duration    // how long nobody is there before the next process; guarded by mu
	starts  int              // guarded by mu
	crashes map[string]int   // by point; guarded by mu
}

// run keeps the proxy running until ctx ends, and then waits for its end.
func (p *Proxy) run(ctx context.Context) error {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "text"}, p.args...)
	for ctx.Err() == nil {
		if !p.pause(ctx) {
			return nil
		}
		env := []string{"GORACE=halt_on_error=0"}
		if p.Clock != 0 {
			env = append(env, fmt.Sprintf("%s=%d", clockEnv, int64(p.Clock.Seconds())))
		}
		p.mu.Lock()
		p.armed, p.arm = p.arm, ""
		if p.armed == "" && p.next != nil {
			p.armed = p.next()
		}
		if p.armed != "" {
			env = append(env, crash.Env+"="+p.armed)
		}
		p.killed, p.told, p.frozen, p.crashed = false, false, false, ""
		p.starts++
		p.mu.Unlock()
		started, err := program.Start(ctx, p.binary, args, p.heard, env...)
		if err != nil {
			return err
		}
		p.set(started, "")
		p.await(ctx, started)
		p.ended(ctx, started)
	}
	return nil
}

// pause waits for as long as nobody is to be there.
func (p *Proxy) pause(ctx context.Context) bool {
	p.mu.Lock()
	down := p.down
	p.down = 0
	p.mu.Unlock()
	return wait.For(ctx, down)
}

// await waits for the end of a process. One that was told to end, by us or by the end of ctx, and does not, shows its
// goroutines and is killed.
func (p *Proxy) await(ctx context.Context, process *program.Process) {
	select {
	case <-process.Ended():
		return
	case <-ctx.Done():
	}
	process.Resume()
	select {
	case <-p.hurry:
		if !within(process, hurryTime) {
			p.log.line(p.Name, "the run is given up, and the process is killed")
			p.Kill(0)
			<-process.Ended()
		}
		return
	default:
	}
	if !within(process, endTime) {
		p.log.alarm("crash", p.Name+" does not end though it was told to "+endTime.String()+" ago")
		process.Signal(syscall.SIGQUIT)
		if !within(process, 5*time.Second) {
			process.Kill()
			<-process.Ended()
		}
	}
}

// ended raises an alarm unless the end of the process had a cause.
func (p *Proxy) ended(ctx context.Context, process *program.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process, p.address, p.frozen = nil, "", false
	err := process.Wait()
	var exit *exec.ExitError
	bySignal := syscall.Signal(0)
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			bySignal = status.Signal()
		}
	}
	told := p.told || ctx.Err() != nil
	givenUp := false
	select {
	case <-p.hurry:
		givenUp = true
	default:
	}
	switch {
	case bySignal == syscall.SIGKILL && p.crashed != "":
		p.crashes[p.crashed]++
	case bySignal == syscall.SIGKILL && p.killed:
	case told && (err == nil || process.Successful() || givenUp): // who is told again, as by a rolling restart, ends at once
	case told:
		p.log.alarm("crash", fmt.Sprintf("%s was told to end and did so with %v, and said: %s", p.Name, err, process.Last()))
	default:
		p.log.alarm("crash", fmt.Sprintf("%s ended by itself (%v), and said: %s", p.Name, err, process.Last()))
	}
}

// heard takes a line in that the process has printed.
func (p *Proxy) heard(from *program.Process, line string) {
	p.log.program(p.Name, line)
	if address, ok := strings.CutPrefix(line, "eos-proxy answers on http://"); ok {
		p.set(from, address)
	}
	if point, ok := strings.CutPrefix(line, "crash: "); ok {
		p.mu.Lock()
		p.crashed = point
		p.mu.Unlock()
	}
}

// set notes the process, and its address, which may be heard of first.
func (p *Proxy) set(running *program.Process, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != running {
		p.process, p.address = running, address
	} else if address != "" && !p.killed {
		p.address = address
	}
}

// Address returns where the proxy answers now, host and port; empty while it does not.
func (p *Proxy) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// PID returns the process id of the proxy; 0 while there is none.
func (p *Proxy) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	return p.process.PID()
}

// Kill kills the proxy as kill -9 does; the next one comes after down. It reports false if there is none at the moment.
func (p *Proxy) Kill(down time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil || p.killed {
		return false
	}
	p.killed = p.process.Kill() // noted under the lock: its end is looked at under it, too
	if p.killed {
		p.address, p.down = "", down
	}
	return p.killed
}

// Freeze lets the proxy stand still for d, or until ctx ends. It reports false if there is none that answers, or if it
// stands still already.
func (p *Proxy) Freeze(ctx context.Context, d time.Duration) bool {
	p.mu.Lock()
	frozen := p.process
	if p.address == "" || p.frozen || p.told || !frozen.Stop() {
		p.mu.Unlock()
		return false
	}
	p.frozen = true
	p.mu.Unlock()
	wait.For(ctx, d)
	frozen.Resume()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == frozen {
		p.frozen = false
	}
	return true
}

// Restart tells the proxy to end, as a supervisor does, and waits until it has. It reports false if there is none that
// answers.
func (p *Proxy) Restart(ctx context.Context) bool {
	p.mu.Lock()
	process := p.process
	if p.address == "" || p.frozen || p.told || !process.Signal(syscall.SIGTERM) {
		p.mu.Unlock()
		return false
	}
	p.told = true
	p.mu.Unlock()
	select {
	case <-process.Ended():
	case <-ctx.Done():
	case <-time.After(endTime):
		p.log.alarm("crash", p.Name+" does not end though it was told to "+endTime.String()+" ago")
		process.Signal(syscall.SIGQUIT)
	}
	return true
}

// CanCrash reports whether the program has crash points.
func (p *Proxy) CanCrash() bool { return p.canCrash }

// Arm lets the next process crash at a point, "after-commit:17", unless it ends before.
func (p *Proxy) Arm(point string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arm = point
}

// ArmEach has next choose a point for each further process for which Arm does not; an empty one, or nil, is none.
func (p *Proxy) ArmEach(next func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = next
}

// Armed reports whether the process, or the next one, may crash at a point.
func (p *Proxy) Armed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arm != "" || p.armed != ""
}

// Crashes returns how often a process has crashed at each point.
func (p *Proxy) Crashes() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]int, len(p.crashes))
	for point, n := range p.crashes {
		all[point] = n
	}
	return all
}

// Starts returns how many processes there were.
func (p *Proxy) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// within waits for the end of a process, for d at most.
func within(process *program.Process, d time.Duration) bool {
	select {
	case <-process.Ended():
		return true
	case <-time.After(d):
		return false
	}
}
