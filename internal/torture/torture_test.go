package torture_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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

func TestARunThatIsInterruptedLeavesNoProcessAndNoDisk(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &output{seen: func(text string) {
		if strings.Contains(text, "begins") { // of the traffic: everything runs
			cancel()
		}
	}}
	cfg := newConfig(t, out, "-seed", "1", "-duration", "1h")
	if err := torture.Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out.text.String())
	}
	mustBeGone(t, cfg.Temp)
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
