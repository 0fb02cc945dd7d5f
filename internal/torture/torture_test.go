package torture_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/internal/torture"
)

// output is what a run tells, which may be looked at while it does.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	seen func(text string)
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen(string(b))
	return o.text.Write(b)
}

// newConfig is a run in a directory of the test's.
func newConfig(t *testing.T, out *output, args ...string) torture.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "eos-torture-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user where we are root
		t.Fatal(err)
	}
	cfg := torture.Config{Out: out}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	cfg.Flags(fs)
	small := []string{"-root", filepath.Join("..", ".."), "-dir", dir, "-race=false", "-clocks=false", "-proxies", "2"}
	if err := fs.Parse(append(small, args...)); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestARunFindsNothingAndLeavesNothing is `make torture`, as short as may be.
func TestARunFindsNothingAndLeavesNothing(t *testing.T) {
	t.Parallel()
	out := &output{seen: func(string) {}}
	cfg := newConfig(t, out, "-seed", "1", "-duration", "5s", "-pause", "500ms")
	if err := torture.Run(t.Context(), cfg); err != nil {
		t.Errorf("%v\n%s", err, out.text.String())
	}
	if !strings.Contains(out.text.String(), "no anomaly") {
		t.Errorf("it said:\n%s", out.text.String())
	}
	mustBeEmpty(t, cfg.Temp)
	mustBeGone(t, cfg.Temp)
}

// TestARunInWhichTooLittleHappenedFails has no faults, of which some were asked for, and the time for none.
func TestARunInWhichTooLittleHappenedFails(t *testing.T) {
	t.Parallel()
	out := &output{seen: func(string) {}}
	cfg := newConfig(t, out, "-seed", "1", "-duration", "1s", "-only", "keyed", "-faults", "kill-proxy", "-pause", "1h")
	err := torture.Run(t.Context(), cfg)
	if !errors.Is(err, torture.ErrTooLittle) || errors.Is(err, torture.ErrAnomaly) {
		t.Fatalf("%v\n%s", err, out.text.String())
	}
	if !strings.Contains(err.Error(), "no fault has hit anybody") {
		t.Error(err)
	}
}

func TestARunThatIsInterruptedLeavesNoProcessAndNoDisk(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var cfg torture.Config
	var interrupted time.Time
	out := &output{seen: func(text string) {
		if strings.Contains(text, "begins") { // of the traffic: everything runs
			mustStopBackends(t, cfg.Temp)
			interrupted = time.Now()
			cancel()
		}
	}}
	cfg = newConfig(t, out, "-seed", "1", "-profile", "short", "-duration", "1h")
	if err := torture.Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out.text.String())
	}
	if took := time.Since(interrupted); took > 20*time.Second {
		t.Errorf("it took %s to end", took)
	}
	mustBeGone(t, cfg.Temp)
}

func TestADurationDecidesTheProfile(t *testing.T) {
	t.Parallel()
	for duration, want := range map[string]string{"0s": "full", "40s": "short", "5m": "full", "30m": "soak"} {
		cfg := mustComplete(t, []string{"-duration", duration})
		if cfg.Profile != want || cfg.Pause == 0 || cfg.AtOnce == 0 || cfg.Duration == 0 {
			t.Errorf("%s: %+v, want profile %s, complete", duration, cfg, want)
		}
		if cfg := mustComplete(t, []string{"-duration", duration, "-pause", "7s"}); cfg.Pause != 7*time.Second {
			t.Errorf("%s: -pause 7s is %s", duration, cfg.Pause)
		}
	}
}

func TestArgumentsRepeatARun(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-seed", "5", "-profile", "soak", "-faults", "kill-proxy,stop-proxy", "-operations", "7", "-clients", "3"},
		{"-seed", "6", "-faults", "none", "-race=false", "-only", "keyed,plain", "-at-once", "1", "-rate", "1.5"},
		{"-seed", "7", "-faults", "all,-slow-disk", "-clocks=false", "-worse", "4", "-disk", "none", "-duration", "3s"},
	} {
		first := mustComplete(t, args)
		second := mustComplete(t, strings.Fields(first.Arguments()))
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%v: %s", args, diff)
		}
	}
}

func mustComplete(t *testing.T, args []string) (cfg torture.Config) {
	t.Helper()
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	cfg.Flags(fs)
	if err := errors.Join(fs.Parse(args), cfg.Complete()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// mustStopBackends stops the processes of PostgreSQL that serve clients, below a directory.
func mustStopBackends(t *testing.T, dir string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Error(err)
	}
	stopped := 0
	for _, cwd := range processes {
		at, err := os.Readlink(cwd)
		title, _ := os.ReadFile(filepath.Join(filepath.Dir(cwd), "cmdline"))
		if err != nil || !strings.HasPrefix(at, dir) || !bytes.Contains(title, []byte("idle")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(cwd)))
		if err == nil && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			stopped++
		}
	}
	if stopped == 0 && len(processes) > 0 {
		t.Error("there is no backend to be stopped")
	}
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%s: %v, %v", dir, entries, err)
	}
}

// mustBeGone fails if a process or a mount has to do with a directory.
func mustBeGone(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Skip("no /proc")
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("something is mounted in %s", dir)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range processes {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), dir) {
			t.Errorf("%s: %s", name, bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
		}
	}
}
