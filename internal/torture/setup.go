package torture

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
)

// shares are those of COMMITs, and of other messages, that are cut.
type shares faults.Shares

// cuts are the shares of a database that is hard to reach, but not so hard that nothing gets done: what holds up a
// flush for seconds is rare.
var cuts = shares{
	faults.CutBefore: 80, faults.Abandon: 15, faults.Stall: 5, faults.CutAfter: 160, faults.Late: 40, faults.Mute: 1,
	faults.Delay: 30, faults.Freeze: 15, faults.BreakRequest: 1, faults.BreakAnswer: 1, faults.BreakReady: 2,
}

// times returns shares that are n times as high.
func (s shares) times(n int) faults.Shares {
	for f := range s {
		s[f] *= n
	}
	return faults.Shares(s)
}

// openDatabase puts a proxy that cuts between one of ours and PostgreSQL.
func (r *run) openDatabase(i int, url string) (string, error) {
	d, err := faults.Open(url, faults.Config{
		Seed: r.cfg.Seed + uint64(i), Least: time.Millisecond, Most: 1500 * time.Millisecond, Stays: 3 * time.Second,
		Signal: r.signal,
	})
	if err != nil {
		return "", err
	}
	r.database = append(r.database, d)
	return d.URL(), nil
}

// signal signals a process of PostgreSQL, and nobody else's.
func (r *run) signal(pid int, signal syscall.Signal) error {
	r.mu.Lock()
	is := r.backends
	r.mu.Unlock()
	if is == nil || !is(pid) {
		return errors.New("it is no process of PostgreSQL")
	}
	return syscall.Kill(pid, signal)
}

// version returns what the service is built from.
func version(cfg Config) string {
	if cfg.Program != "" {
		return cfg.Program
	}
	cmd := exec.Command("git", "describe", "--tags", "--always", "--dirty") //nolint:noctx // it asks a directory
	cmd.Dir = cfg.Root
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// report says what the run took, and how it is repeated.
func (r *run) report(judging time.Duration) {
	k := r.course
	r.say("judged in %s", judging.Round(10*time.Millisecond))
	if k.Samples > 0 {
		r.say("first third and last third of the run: memory of a proxy %s, data %s, write-ahead log %s",
			megabytes(k.Memory), megabytes(k.Data), megabytes(k.WAL))
	}
	for _, missing := range r.missing {
		r.say("NOT HERE: %s", missing)
	}
	r.say("again: eos-torture run %s", r.cfg.Arguments())
}

func megabytes(b [2]int64) string {
	return fmt.Sprintf("%.1f and %.1f MB", float64(b[0])/1e6, float64(b[1])/1e6)
}
