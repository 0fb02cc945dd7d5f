// Package torture holds a whole service against everything that can go wrong around it: clients make a history over
// HTTP (traffic), networks that cut lie between them and the proxies (network), and between these and PostgreSQL
// (internal/faults), all processes, disks and clocks are hit (cluster, nemesis), and in the end the history is judged
// (judge). Here the parts are put together, in this order:
//
//	start → traffic and faults → heal → progress? → no traffic → floors? → what is left → the verdict
//	setup.go  torture.go         heal.go                                                  torture.go, enough.go
//
// What a run keeps is below a directory of its own, which is removed when all is well: history.jsonl, the log of each
// process and of what was done (run.log), the figures, and what was planned.
package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/torture/cluster"
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
	"github.com/eos-proxy/eos-proxy/internal/torture/network"
	"github.com/eos-proxy/eos-proxy/internal/torture/traffic"
)

// Config says what is run, for how long, and what is done to it.
type Config struct {
	Seed       uint64
	Profile    string        // what Complete took from
	Duration   time.Duration // of the traffic with faults
	Operations int64         // after which it ends before; 0: no bound
	Clients    int           // about how many; 0: traffic's default
	Only       []string      // kinds of clients, as of traffic.Kinds; none: all
	Rate       float64       // attempts a second at most; 0: no bound
	Proxies    int
	Faults     []string      // names of the nemesis
	AtOnce     int           // faults at once; 1: in turn
	Pause      time.Duration // between faults, about
	Worse      int           // how many times as often networks cut as they do by default

	Root    string // directory of the module
	Program string // an eos-proxy that was built already; empty: built from Root
	Temp    string // where the directory of the run is made; every user must be able to enter it
	Keep    bool   // the directory, also when all is well
	Race    bool   // one proxy has the race detector
	Clocks  bool   // two proxies have clocks that are off
	Disk    string // as of cluster

	Out io.Writer // for a person
}

// Sizes of the disks: that of the data is sparse, and must hold what a long run writes.
const (
	dataBytes = 8 << 30
	walBytes  = 640 << 20
)

// run is one run.
type run struct {
	cfg      Config
	dir      string
	began    time.Time
	file     *os.File
	writer   *history.Writer
	cluster  *cluster.Cluster
	database []*faults.Proxy
	network  *network.Network
	traffic  *traffic.Traffic
	nemesis  *nemesis.Nemesis
	lasted   time.Duration // of the faults
	hit      int64         // operations until they were over

	missing []string       // what cannot be had here, and why
	course  cluster.Course // of what the run takes

	mu       sync.Mutex
	alarms   int            // guarded by mu
	backends func(int) bool // whether a process is PostgreSQL's, which we may signal; guarded by mu
	hurry    func()         // gives everything up; guarded by mu
}

// ErrAnomaly says that the run came to its end, and something was wrong.
var ErrAnomaly = errors.New("not exactly once")

// Run does it all, and tells Config.Out. It returns ErrAnomaly if the history has an anomaly, ErrTooLittle if it has
// none, but little else, and another error if it did not get that far; in each case the directory is kept, and named.
func Run(ctx context.Context, cfg Config) (err error) {
	r := &run{cfg: cfg, began: time.Now()}
	if r.dir, err = os.MkdirTemp(cfg.Temp, "eos-torture-"); err != nil {
		return err
	}
	defer func() {
		if err != nil || cfg.Keep {
			r.printf("the history and the logs are in %s", r.dir)
			return
		}
		err = os.RemoveAll(r.dir)
	}()
	if err := os.Chmod(r.dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user where we are root
		return err
	}
	if r.file, err = os.Create(filepath.Join(r.dir, "history.jsonl")); err != nil {
		return err
	}
	defer r.file.Close() //nolint:errcheck // it was flushed, and is read again
	r.writer = history.NewWriter(r.file)
	defer context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.hurry != nil {
			r.hurry()
		}
	})()
	if err := r.start(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx), r.stop())
	}
	if err = r.torture(ctx); err == nil {
		err = r.drain(ctx)
	}
	if stopped := r.stop(); err == nil {
		err = stopped
	}
	if err := errors.Join(err, r.writer.Flush()); err != nil {
		return err
	}
	return r.judge()
}

// torture makes traffic and does the faults, and heals. When it returns, nobody sends anything any more.
func (r *run) torture(ctx context.Context) (err error) {
	sending, stop := context.WithCancel(ctx)
	var senders sync.WaitGroup
	senders.Go(func() { err = errors.Join(err, r.traffic.Run(ctx, sending)) })
	r.injectFaults(ctx)
	if ctx.Err() == nil {
		r.printf("%d operations; healing", r.traffic.Operations())
		r.heal(ctx)
	}
	stop()
	senders.Wait()
	return errors.Join(err, context.Cause(ctx))
}

// injectFaults does the faults until the time is over, or there were enough operations.
func (r *run) injectFaults(ctx context.Context) {
	hitting, calm := context.WithTimeout(ctx, r.cfg.Duration)
	defer calm()
	began := time.Now()
	defer func() { r.lasted, r.hit = time.Since(began), r.traffic.Operations() }()
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { r.watchOperations(hitting, calm) })
	r.nemesis.Run(hitting)
	<-hitting.Done()
}

// watchOperations prints how far the run is, now and then, until ctx ends; enough ends it when there were enough.
func (r *run) watchOperations(ctx context.Context, enough context.CancelFunc) {
	const saidEvery = 10 // seconds
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for second := 1; ; second++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if second%saidEvery == 0 {
			r.printProgress()
		}
		if most := r.cfg.Operations; most > 0 && r.traffic.Operations() >= most {
			enough()
		}
	}
}

// printProgress says how far the run is.
func (r *run) printProgress() {
	count := int64(0)
	for _, n := range r.nemesis.Counts() {
		count += n
	}
	r.mu.Lock()
	alarms := r.alarms
	r.mu.Unlock()
	r.printf("%d operations in %d attempts, %d faults, %d alarms; last success %s ago", r.traffic.Operations(),
		r.traffic.Attempts(), count, alarms, time.Since(r.traffic.LastOK()).Round(time.Millisecond))
}

// stop ends everything, from the top down. It may be called at any point.
func (r *run) stop() (err error) {
	if r.network != nil {
		_ = r.network.Close() // it may be closed
	}
	if r.cluster != nil {
		r.course = r.cluster.Course()
		err = r.cluster.Stop()
	}
	for _, d := range r.database {
		err = errors.Join(err, d.Close())
	}
	return err
}

// judge judges the history.
func (r *run) judge() error {
	began := time.Now()
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	verdict, err := judge.Judge(r.file)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(r.cfg.Out)
	if err := errors.Join(verdict.Write(out), out.Flush()); err != nil {
		return err
	}
	r.report(verdict, time.Since(began))
	if !verdict.OK() {
		return ErrAnomaly
	}
	d := demands(r.cfg, r.nemesis.Chosen(), r.lasted)
	return tooLittle(d.missing(verdict))
}

// alarm writes an alarm into the history.
func (r *run) alarm(name, detail string) {
	r.writer.Write(history.Line{Alarm: &history.Alarm{Name: name, Detail: detail, At: time.Since(r.began).Nanoseconds()}})
	r.printf("ALARM %s: %s", name, detail)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alarms++
}

// printf tells a person, behind the seconds since the run began.
func (r *run) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.cfg.Out, "%7.1f  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}
