package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/torture/cluster"
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
	"github.com/eos-proxy/eos-proxy/internal/torture/network"
	"github.com/eos-proxy/eos-proxy/internal/torture/traffic"
)

// start starts everything, from the bottom up.
func (r *run) start(ctx context.Context) (err error) {
	r.printf("seed %d: %d proxies are built, which takes minutes the first time; then %s of faults, and about a minute to read "+
		"and judge what came of it", r.cfg.Seed, r.cfg.Proxies, r.cfg.Duration)
	r.cluster, err = cluster.Start(ctx, cluster.Config{
		Root: r.cfg.Root, Program: r.cfg.Program, Dir: r.dir, Proxies: r.cfg.Proxies, Race: r.cfg.Race, Clocks: r.cfg.Clocks,
		Disk: r.cfg.Disk, DataBytes: dataBytes, WALBytes: walBytes, Database: r.openDatabase, Alarm: r.alarm,
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.backends, r.hurry = r.cluster.Postgres.Backend, r.cluster.Hurry
	r.mu.Unlock()
	if ctx.Err() != nil { // nobody calls it any more
		r.cluster.Hurry()
	}
	var upstreams []func() string
	for _, p := range r.cluster.Proxies {
		upstreams = append(upstreams, p.Address)
	}
	r.network, err = network.New(network.Config{
		Seed: r.cfg.Seed, Upstreams: upstreams, Note: func(fault string) { r.cluster.Note("clients: %s", fault) },
		Repeated: r.repeated,
	})
	if err != nil {
		return err
	}
	r.network.Calm(true)
	r.traffic = traffic.New(traffic.Config{
		Seed: r.cfg.Seed, Proxies: r.network.URLs(), Direct: r.cluster.URLs, Database: r.cluster.Postgres.URL,
		Writer: r.writer, Began: r.began, Version: version(r.cfg), Clients: r.cfg.Clients, Prefix: "t-",
		Rate: r.cfg.Rate, Only: r.cfg.Only,
	})
	r.cluster.CountRecords(r.traffic.Records)
	if err := r.traffic.Prepare(ctx); err != nil {
		return err
	}
	r.nemesis, err = nemesis.New(nemesis.Config{
		Seed: r.cfg.Seed, Names: r.cfg.Faults, AtOnce: r.cfg.AtOnce, Pause: r.cfg.Pause,
		Cluster: r.cluster, Network: r.network, Database: r.database,
		Shares: network.Bad.Times(r.cfg.Worse), Cuts: cuts.Times(r.cfg.Worse), Writer: r.writer, Now: r.traffic.Now,
	})
	if err != nil {
		return err
	}
	r.missing = slices.Concat(r.cluster.Missing, r.nemesis.Skipped())
	for _, missing := range r.missing {
		r.printf("NOT HERE: %s", missing)
	}
	r.printf("the traffic begins, and %d kinds of faults, for %s; the plan is in plan.txt",
		len(r.cfg.Faults)-len(r.nemesis.Skipped()), r.cfg.Duration)
	plan := strings.Join(r.nemesis.Plan(500), "\n") + "\n"
	return os.WriteFile(filepath.Join(r.dir, "plan.txt"), []byte(plan), 0o600)
}

// cuts are the shares of a database that is hard to reach, but not so hard that nothing gets done: what holds up a
// flush for seconds is rare.
var cuts = faults.Shares{
	faults.CutBefore: 80, faults.Abandon: 15, faults.Stall: 5, faults.CutAfter: 160, faults.Late: 40, faults.Mute: 1,
	faults.Delay: 30, faults.Freeze: 8, faults.FreezeIn: 16,
	faults.BreakRequest: 1, faults.BreakAnswer: 1, faults.BreakReady: 2,
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

// repeated writes down that a request arrives once more, so that the judge knows of which operation.
func (r *run) repeated(fault string, req *http.Request) {
	_, number, _ := strings.Cut(req.UserAgent(), "/")
	operation, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		operation = 0 // of any
	}
	now := time.Since(r.began).Nanoseconds()
	r.writer.Write(history.Line{Fault: &history.Fault{
		Kind: nemesis.Clients + fault, Began: now, Ended: now, Repeats: true, Operation: operation,
	}})
}

// signal signals a process of PostgreSQL, and nobody else's.
func (r *run) signal(pid int, signal syscall.Signal) error {
	r.mu.Lock()
	is := r.backends
	r.mu.Unlock()
	// Who was stopped goes on in any case, also when the server is shutting down, and waits for it.
	if signal != syscall.SIGCONT && (is == nil || !is(pid)) {
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
func (r *run) report(v *judge.Verdict, judging time.Duration) {
	r.printf("judged in %s", judging.Round(10*time.Millisecond))
	if c := r.course; c.Samples > 0 {
		r.printf("in the thirds of the run: memory of a proxy %s, data (which stay) %s, write-ahead log %s; "+
			"records sent %d, %d, %d",
			megabytes(c.Memory), megabytes(c.Data), megabytes(c.WAL), c.Records[0], c.Records[1], c.Records[2])
	}
	r.printf("COMMITs cut: %d (%s)", cutOf(v), counts(cutCommits, func(f faults.Fault) (string, int64) {
		return f.String(), v.Faults[nemesis.Database+f.String()]
	}))
	lost := r.cluster.LostCommits()
	r.printf("COMMITs without an answer, as the proxies found out that lived on: %s",
		counts(slices.Sorted(maps.Keys(lost)), func(name string) (string, int64) { return name, int64(lost[name]) }))
	for _, missing := range r.missing {
		r.printf("NOT HERE: %s", missing)
	}
	if absent := never(r.cfg, r.nemesis.Chosen(), v); len(absent) > 0 {
		r.printf("did not come up in this run: %s", strings.Join(absent, ", "))
	}
	r.printf("again: go run ./cmd/eos-torture run %s", r.cfg.Arguments())
	result := "no anomaly"
	if !v.OK() {
		result = fmt.Sprintf("NOT EXACTLY ONCE: %d kinds of anomalies", len(v.Totals))
	}
	r.printf("%s in %d operations, %d of them while faults were done", result, v.Operations, min(r.hit, v.Operations))
}

// counts tells how many there are of each.
func counts[T any](of []T, each func(T) (string, int64)) string {
	var texts []string
	for _, o := range of {
		name, n := each(o)
		texts = append(texts, fmt.Sprintf("%s %d", name, n))
	}
	return strings.Join(texts, ", ")
}

func megabytes(b [3]int64) string {
	return fmt.Sprintf("%.1f, %.1f, %.1f MB", float64(b[0])/1e6, float64(b[1])/1e6, float64(b[2])/1e6)
}
