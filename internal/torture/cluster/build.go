package cluster

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// programs are the builds of eos-proxy that a cluster runs.
type programs struct {
	plain   string
	race    string // with the race detector; empty: there is none
	clock   string // whose clock clockEnv moves; empty: there is none
	crashes bool   // whether they have crash points
}

// clockEnv is the environment variable by which the wall clock of such a program is moved, in seconds.
const clockEnv = "TORTURE_CLOCK"

// build builds the programs that cfg asks for from the module in its root, or takes one that was built elsewhere.
func build(ctx context.Context, cfg Config) (programs, error) {
	if cfg.Program != "" {
		info, err := buildinfo.ReadFile(cfg.Program)
		if err != nil {
			return programs{}, fmt.Errorf("%s: %w", cfg.Program, err)
		}
		p := programs{plain: cfg.Program}
		p.crashes = slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
			return s.Key == "-tags" && slices.Contains(strings.Split(s.Value, ","), "torture")
		})
		return p, nil
	}
	p := programs{plain: filepath.Join(cfg.Dir, "eos-proxy"), crashes: true}
	if err := goBuild(ctx, cfg.Root, p.plain, "CGO_ENABLED=0"); err != nil {
		return p, err
	}
	if cfg.Race && hasCompiler(ctx) {
		p.race = p.plain + "-race"
		if err := goBuild(ctx, cfg.Root, p.race, "CGO_ENABLED=1", "-race"); err != nil {
			return p, err
		}
	}
	if cfg.Clocks {
		p.clock = p.plain + "-clock"
		overlay, err := clockOverlay(ctx, cfg.Dir)
		if err != nil {
			return p, err
		}
		return p, goBuild(ctx, cfg.Root, p.clock, "CGO_ENABLED=0", "-overlay", overlay)
	}
	return p, nil
}

// goBuild builds eos-proxy. By a profile it would be faster by little, and be built in twice the time.
func goBuild(ctx context.Context, root, to, env string, flags ...string) error {
	args := append([]string{"build", "-pgo=off", "-tags", "torture", "-o", to}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/eos-proxy")...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out))
	}
	return nil
}

// hasCompiler reports whether there is a C compiler, which the race detector needs.
func hasCompiler(ctx context.Context) bool {
	out, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return false
	}
	_, err = exec.LookPath(strings.TrimSpace(string(out)))
	return err == nil
}

// The wall clock of a whole program is moved where Go's library reads it: nothing that the program does, whether we
// thought of it or not, sees another. The monotonic clock stays as it is.
const (
	clockReads = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	clockMoved = clockReads + "\tsec += tortureClock\n"
	clockFrom  = `package time

import "syscall"

var tortureClock = func() int64 {
	text, _ := syscall.Getenv("` + clockEnv + `")
	sign, seconds := int64(1), int64(0)
	for i, c := range []byte(text) {
		switch {
		case i == 0 && c == '-':
			sign = -1
		case c >= '0' && c <= '9':
			seconds = 10*seconds + int64(c-'0')
		default:
			panic("` + clockEnv + ` is no number of seconds")
		}
	}
	return sign * seconds
}()
`
)

// clockOverlay writes what go build -overlay takes for a library whose clock is moved by clockEnv.
func clockOverlay(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		return "", err
	}
	if bytes.Count(source, []byte(clockReads)) != 1 {
		return "", fmt.Errorf("time.Now of %s reads the clock in another way than this program knows", runtime.Version())
	}
	moved := filepath.Join(dir, "time.go.txt")
	more := filepath.Join(dir, "torture_clock.go.txt")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(library, "time.go"):          moved,
		filepath.Join(library, "torture_clock.go"): more,
	}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, errors.Join(
		os.WriteFile(moved, bytes.Replace(source, []byte(clockReads), []byte(clockMoved), 1), 0o600),
		os.WriteFile(more, []byte(clockFrom), 0o600),
		os.WriteFile(file, overlay, 0o600),
	)
}

// clocks are by how much the clocks of proxies are off; those of further proxies are right.
var clocks = []time.Duration{0, time.Hour, -time.Hour}
