// Package bench measures the proxy over HTTP, as ratios to ceilings that are taken in the same run.
//
// Run starts everything itself, on fresh data: a PostgreSQL, a proxy as a process of its own, and the echo, a
// process that decodes the same requests and stores nothing. One lean client drives all of them, on the same
// cores, and its own share is reported. Each work is measured in turns with its ceiling, so that a slow minute
// of the machine meets both, and what it stored is read back before anything is reported: a record that is
// missing or there twice is an error, a figure below its target is not.
//
// Where to begin: Run says what a run does; a work (work.go) is one line of the table; inTurns (turns.go) measures
// it. Each family of works has a file that lists them at its end, of which produce.go is the simplest and the
// one that most others are compared with. What they need is in client.go (HTTP by hand), drive.go (requests
// until the time is over), verify.go (what was stored), cpu.go and histogram.go (what it cost), servers.go and
// postgres.go (who answers), report.go and table.go (what comes out).
//
// The package knows the proxy as a client does, by its HTTP interface, and as its database's owner does: it
// fills tables and reads how much WAL was written. It imports nothing of the proxy but the embedded PostgreSQL.
package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config says what to measure, for how long, and where the results go.
type Config struct {
	Program string        // the proxy's own executable
	URL     string        // of a running service; empty: start one
	Only    []string      // names of works or of their families; empty: all
	Rounds  int           // of each work
	Seconds float64       // of each measurement
	Hold    time.Duration // how long a transaction is open before the works named held measure, all beside the same one
	Big     bool          // measure with many batches in 10,000 topics behind, too, which takes minutes
	Behind  int64         // how many batches that is: 10 M for the target

	Retention time.Duration // of the paced loads whose records leave; 0: none
	Members   time.Duration // for which 1,000 members of groups poll; 0: none

	JSON    string // file for everything that was measured; empty: none
	GoBench string // file in Go's benchmark format, for benchstat; empty: none
	Profile string // file for a CPU profile of the proxy with one record a request; empty: none
}

// asked reports whether a flag of works that take minutes was given.
func (c Config) asked(flag string) bool {
	switch flag {
	case "--big":
		return c.Big
	case "--retention":
		return c.Retention > 0
	case "--members":
		return c.Members > 0
	default:
		return true
	}
}

// length returns how long one measurement takes.
func (c Config) length() time.Duration { return time.Duration(c.Seconds * float64(time.Second)) }

// bench is a run.
type bench struct {
	cfg       Config
	id        string // of the run, in the names of its topics
	dir       string // removed at the end
	postgres  *postgres
	proxy     *process
	other     *process // a second one on the same database; see beginOther
	echo      *process
	topics    []string           // created so far
	asides    int                // databases for single measurements, so far
	producers map[string][]int64 // by address of the service, see producer
	ceilings  map[string][]float64
	old       string // the topic that fetch reads; see needOld
	big       *big   // see beginBig
	held      *held  // see beginHeld; nil after the last work that needs it
	progress  io.Writer
}

// Run measures, and prints the table to stdout and what it does to stderr. It returns an error if a server
// does not start, if a request is refused, or if what is stored is not what was acknowledged; then nothing is
// reported.
func Run(ctx context.Context, cfg Config, stdout, stderr io.Writer) (err error) {
	chosen, err := choose(works(), cfg.Only)
	if err != nil {
		return err
	}
	b := &bench{
		cfg: cfg, progress: stderr, id: strings.ToLower(rand.Text()[:8]),
		producers: make(map[string][]int64), ceilings: make(map[string][]float64),
	}
	if err := b.start(ctx); err != nil {
		return errors.Join(err, b.stop(ctx))
	}
	defer func() { err = errors.Join(err, b.stop(ctx)) }()
	report, err := b.measure(ctx, chosen)
	if err != nil {
		return err
	}
	report.print(stdout)
	if err := errors.Join(report.writeJSON(cfg.JSON), report.writeGoBench(cfg.GoBench)); err != nil {
		return err
	}
	if cfg.Profile == "" {
		return nil
	}
	if err := b.profile(ctx); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// start starts what the run needs.
func (b *bench) start(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "eos-bench-"); err != nil {
		return err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // PostgreSQL may run as another user
		return err
	}
	if b.echo, err = startProcess(ctx, b.cfg.Program, "bench", "echo"); err != nil {
		return err
	}
	if b.cfg.URL != "" {
		b.proxy = &process{addr: strings.TrimSuffix(strings.TrimPrefix(b.cfg.URL, "http://"), "/")}
		return waitFor(ctx, b.proxy.addr)
	}
	fmt.Fprintln(b.progress, "starting PostgreSQL and the proxy on fresh data")
	if b.postgres, err = startPostgres(ctx, filepath.Join(b.dir, "data")); err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	b.proxy, err = b.startProxy(ctx, "eos")
	return err
}

// stop ends everything that start and the works started.
func (b *bench) stop(ctx context.Context) error {
	var errs []error
	if b.cfg.URL != "" {
		for _, topic := range b.topics { // the service goes on without us
			errs = append(errs, call(context.WithoutCancel(ctx), b.proxy.addr, "DELETE", "/v1/topics/"+topic, "", nil))
		}
	}
	errs = append(errs, endHeld(ctx, b))
	running := []*process{b.proxy, b.other, b.echo}
	if b.big != nil {
		running = append(running, b.big.proxy)
	}
	for _, p := range running {
		if p.pid() != 0 {
			errs = append(errs, p.stop())
		}
	}
	if b.postgres != nil {
		errs = append(errs, b.postgres.stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// metered runs a measurement on a proxy, or on several, and adds what it cost; the memory is that of the first.
func (b *bench) metered(
	ctx context.Context, proxy *process, measure func() (*sample, error), others ...*process,
) (s *sample, err error) {
	postmaster, walBefore, walAfter := 0, int64(0), int64(0)
	if b.postgres != nil {
		postmaster = b.postgres.pid
		if walBefore, err = b.postgres.wal(ctx); err != nil {
			return nil, err
		}
	}
	_ = forgetPeak(proxy.pid()) // where it cannot be, the memory is that of the whole life of the proxy, or unknown
	pids := []int{proxy.pid()}
	for _, p := range others {
		pids = append(pids, p.pid())
	}
	before := read(postmaster, pids...)
	if s, err = measure(); err != nil {
		return nil, err
	}
	s.cost = read(postmaster, pids...).since(before)
	_, s.cost.Memory, _ = resident(proxy.pid())
	if b.postgres != nil {
		if walAfter, err = b.postgres.wal(ctx); err != nil {
			return nil, err
		}
	}
	s.cost.WAL = walAfter - walBefore
	return s, nil
}

// profile runs a proxy of its own that writes a profile, under the load of 64 connections.
func (b *bench) profile(ctx context.Context) error {
	file, err := filepath.Abs(b.cfg.Profile)
	if err != nil {
		return err
	}
	if b.postgres == nil {
		return errors.New("it needs a proxy that the run itself starts")
	}
	proxy, err := b.startProxy(ctx, "eos", "--cpuprofile", file)
	if err != nil {
		return err
	}
	_, err = single{64, sequences}.on(ctx, b, proxy, b.cfg.length())
	return errors.Join(err, proxy.stop())
}
