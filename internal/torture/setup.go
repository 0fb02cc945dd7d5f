package torture

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
	"github.com/eos-proxy/eos-proxy/internal/torture/network"
	"github.com/eos-proxy/eos-proxy/internal/torture/traffic"
)

// make starts everything, from the bottom up.
func (r *run) make(ctx context.Context) (err error) {
	r.say("building and starting %d proxies, seed %d", r.cfg.Proxies, r.cfg.Seed)
	r.cluster, err = cluster.Start(ctx, cluster.Config{
		Root: r.cfg.Root, Program: r.cfg.Program, Dir: r.dir, Proxies: r.cfg.Proxies, Race: r.cfg.Race, Clocks: r.cfg.Clocks,
		Disk: r.cfg.Disk, DataBytes: dataBytes, WALBytes: walBytes, Database: r.openDatabase, Alarm: r.alarm,
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.backends = r.cluster.Postgres.Backend
	r.mu.Unlock()
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
	if err := r.traffic.Prepare(ctx); err != nil {
		return err
	}
	r.nemesis, err = nemesis.New(nemesis.Config{
		Seed: r.cfg.Seed, Names: r.cfg.Faults, AtOnce: r.cfg.AtOnce, Pause: r.cfg.Pause,
		Cluster: r.cluster, Network: r.network, Database: r.database,
		Shares: network.Bad.Times(r.cfg.Worse), Cuts: cuts.times(r.cfg.Worse), Writer: r.writer, Now: r.traffic.Now,
	})
	if err != nil {
		return err
	}
	r.missing = slices.Concat(r.cluster.Missing, r.nemesis.Skipped())
	for _, missing := range r.missing {
		r.say("NOT HERE: %s", missing)
	}
	r.say("the traffic begins, and %d kinds of faults, for %s; the plan is in plan.txt",
		len(r.cfg.Faults)-len(r.nemesis.Skipped()), r.cfg.Duration)
	plan := strings.Join(r.nemesis.Plan(500), "\n") + "\n"
	return os.WriteFile(filepath.Join(r.dir, "plan.txt"), []byte(plan), 0o600)
}

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
