package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture"
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
	"github.com/eos-proxy/eos-proxy/internal/torture/mutants"
)

// result is what became of a mutant.
type result struct {
	anomalies  []judge.Name  // that caught it, the most frequent first; none: it was not caught
	operations int64         // in all runs, until it was caught or the time was over
	traffic    time.Duration // the same
	faults     int64         // the same
}

func (r *result) isCaught() bool { return len(r.anomalies) > 0 }

// clocks stands among the faults of a mutant for proxies whose clocks are an hour off. These need programs that the
// cluster builds itself.
const clocks = "clocks"

// hunt tortures a mutant in pieces, each a run of its own with the next seed, until the judge names an anomaly or the
// time is over.
func hunt(ctx context.Context, cfg config, tree *mutants.Tree, m *mutants.Mutant, out io.Writer) (r result, err error) {
	fmt.Fprintf(out, "%s: %s\n", m.Name, m.Breaks)
	return r, tree.With(ctx, m, func(dir string) error {
		runs := torture.Config{
			Seed: cfg.seed, Profile: "short", Duration: cfg.piece, Clients: cfg.clients, Proxies: 3, AtOnce: 2,
			Pause: time.Second, Worse: 4, Root: dir, Temp: cfg.temp, Keep: true, Disk: "none", Faults: slices.Clone(m.Faults),
		}
		if i := slices.Index(runs.Faults, clocks); i >= 0 {
			runs.Faults, runs.Clocks = slices.Delete(runs.Faults, i, i+1), true
		} else {
			runs.Program = filepath.Join(dir, "eos-proxy")
			if err := build(ctx, dir, runs.Program); err != nil {
				return err
			}
		}
		if len(runs.Faults) == 0 {
			runs.Faults = []string{"none"}
		}
		if err := runs.Complete(); err != nil {
			return err
		}
		for r.traffic < cfg.limit && !r.isCaught() {
			verdict, err := judged(ctx, runs, cfg.keep)
			if err != nil {
				return err
			}
			r.add(verdict, cfg.piece)
			fmt.Fprintf(out, "  %3.0f s: %d operations, %d faults, anomalies: %s\n",
				r.traffic.Seconds(), r.operations, r.faults, total(verdict.Totals))
			if r.isCaught() {
				fmt.Fprintf(out, "    %.300s\n", verdict.Found[0].What)
			}
			runs.Seed++
		}
		return nil
	})
}

// add counts a run in.
func (r *result) add(v *judge.Verdict, traffic time.Duration) {
	r.operations += v.Operations
	r.traffic += traffic
	for _, n := range v.Faults {
		r.faults += n
	}
	r.anomalies = slices.SortedFunc(maps.Keys(v.Totals), func(a, b judge.Name) int {
		return cmp.Or(cmp.Compare(v.Totals[b], v.Totals[a]), cmp.Compare(a, b))
	})
}

// endTime is how long a run may take beside its traffic: to start, to heal, and to read what is left.
const endTime = 2 * time.Minute

// judged does one run in a directory of its own, and judges its history.
func judged(ctx context.Context, cfg torture.Config, keep bool) (v *judge.Verdict, err error) {
	if cfg.Temp, err = os.MkdirTemp(cfg.Temp, "hunt-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(cfg.Temp, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user where we are root
		return nil, err
	}
	defer func() {
		if !keep || v == nil || v.OK() {
			err = errors.Join(err, os.RemoveAll(cfg.Temp))
		}
	}()
	var said bytes.Buffer
	cfg.Out = &said
	limited, cancel := context.WithTimeout(ctx, cfg.Duration+endTime)
	defer cancel()
	failed := torture.Run(limited, cfg)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	histories, err := filepath.Glob(filepath.Join(cfg.Temp, "*", "history.jsonl"))
	if err != nil || len(histories) != 1 {
		return nil, errors.Join(failed, fmt.Errorf("there is not one history below %s: %v", cfg.Temp, histories))
	}
	file, err := os.Open(histories[0])
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	if failed != nil && !errors.Is(failed, torture.ErrAnomaly) {
		return broken(file, failed)
	}
	return judge.Judge(file)
}

// broken judges a run that did not come to its end, with a service that answered before: what could not be read to its
// end is an anomaly, and so are the alarms until then.
func broken(file io.Reader, failed error) (*judge.Verdict, error) {
	v := &judge.Verdict{Totals: map[judge.Name]int64{judge.NotDrained: 1}, Faults: map[string]int64{}}
	v.Found = []judge.Found{{Name: judge.NotDrained, What: failed.Error()}}
	operations := map[int64]bool{}
	err := history.Lines(file, func(_ int64, _ []byte, l *history.Line) error {
		switch {
		case l.Attempt != nil:
			operations[l.Attempt.Operation] = true
		case l.Fault != nil:
			v.Faults[l.Fault.Kind] += int64(max(1, l.Fault.Count))
		case l.Alarm != nil:
			v.Totals[judge.Name(l.Alarm.Name)]++
		}
		return nil
	})
	if v.Operations = int64(len(operations)); v.Operations == 0 {
		return nil, errors.Join(failed, err) // it did not even start
	}
	return v, nil // of a history that breaks off, the last line may be half a one
}

// total tells anomalies and how often each was.
func total(totals map[judge.Name]int64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(totals)) {
		list = append(list, fmt.Sprintf("%s %d", name, totals[name]))
	}
	return cmp.Or(strings.Join(list, ", "), "none")
}

// build writes the program with crash points to a file: quickly, without the profile and what debuggers need. With
// -trimpath, packages that are not patched come from the build cache, wherever the directory is.
func build(ctx context.Context, dir, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-pgo=off", "-ldflags=-s -w", "-tags", "torture",
		"-o", program, "./cmd/eos-proxy")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	return nil
}
