// Package chaos holds exactly-once processing against whatever breaks: workers of examples/ad-billing, several
// proxies, one PostgreSQL and the network between them are killed, stopped and cut, while the workers bill ad views
// in transactions with their offsets. In the end each view must be billed once, in order, and at its price.
//
// The processes are the real ones, and they know nothing of it. A seed decides what is struck, and after how much of
// the work; when exactly, nobody can decide. The package keeps its data in a directory of its own, which it removes
// when all is well: with PostgreSQL's data in it, and a journal of all that was said and done.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/internal/program"
	"github.com/eos-proxy/eos-proxy/internal/torture/network"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// Config says what is done, and to whom. The numbers of faults are what must have been reached in the end.
type Config struct {
	Seed uint64
	Root string // directory of the module
	Temp string // where the directory for the data is made; every user must be able to enter it

	Views   int // how many
	Rate    int // of them a second, as the workers see them come
	Workers int // every other one has an instance id, so that whoever comes after it has its partitions at once
	Proxies int

	WorkerKills, ProxyKills, PostgresKills int
	Freezes                                int // of proxies, for a third of Frozen at least
	Zombies                                int // workers that are stopped for longer than their session
	Fenced                                 int // of them, that were refused when they went on
	Cuts                                   int // connections that broke around a request

	Frozen time.Duration // how long a proxy is frozen at most; not 0 if any is
	Worse  int           // how many times as often as shares says the network breaks
	Latest time.Duration // how late a request can be; more than a session, or it is late for little
}

// groupID is the default of examples/ad-billing.
const groupID = "ad-billing"

// compute is the time that a worker takes for a poll's records, during which most strikes shall hit it.
const compute = 50 * time.Millisecond

// torture is one run.
type torture struct {
	cfg     Config
	dir     string
	service *service
	crew    *crew
	network *network.Network
	urls    []string // of the ways through the network
	client  *client.Client
	log     *journal
}

// Run does it all and returns what was done, also beside an error. An error means that something was not exactly
// once, that it did not get that far, or that less happened than was asked for; then the directory with the data is
// kept, and the error names it.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	dir, err := os.MkdirTemp(cfg.Temp, "eos-torture-")
	if err != nil {
		return result, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("seed %d: %w\nthe data and the journal are in %s", cfg.Seed, err, dir)
		} else {
			err = os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user where we are root
		return result, err
	}
	log, err := newJournal(dir)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	t := &torture{
		cfg: cfg, dir: dir, log: log,
		service: &service{
			binary: filepath.Join(dir, "eos-proxy"), log: log,
			postgres: program.Postgres{Dir: filepath.Join(dir, "data"), Ready: true},
		},
		crew: &crew{binary: filepath.Join(dir, "ad-billing"), log: log},
	}
	if err := program.Build(ctx, cfg.Root, dir, "./cmd/eos-proxy", "./examples/ad-billing"); err != nil {
		return result, err
	}
	return t.run(ctx)
}

// run starts everything from the bottom up, and ends it from the top down.
func (t *torture) run(ctx context.Context) (result Result, err error) {
	began := time.Now()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	postgres, err := t.service.openPostgres(ctx)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, postgres.Close()) }()
	ground := newFloor(ctx, fail)
	defer ground.end()
	ground.loop(postgres.Run)

	first := newFloor(ctx, fail)
	defer first.end()
	for range t.cfg.Proxies {
		first.loop(t.service.addProxy().Run)
	}
	if err := t.openNetwork(); err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, t.network.Close()) }()

	second := newFloor(ctx, fail)
	defer second.end()
	t.crew.args = []string{"worker", "-url", strings.Join(t.urls, ","), "-batch", "40", "-compute", compute.String()}
	for i := range t.cfg.Workers {
		p := &post{name: fmt.Sprint("worker-", i)}
		if i%2 == 1 {
			p.instance = p.name
		}
		t.crew.posts = append(t.crew.posts, p)
		second.loop(func(ctx context.Context) error { return p.run(ctx, t.crew) })
	}

	c := &chaos{torture: t, random: t.newRandom("chaos")}
	err = t.work(ctx, c)
	if err == nil {
		err = t.judge(ctx)
	}
	second.end() // everybody without an error, which fail would be told
	first.end()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	result = t.result(c, time.Since(began))
	if err == nil {
		err = errors.Join(t.log.alarm(), result.shortOf(t.cfg))
	}
	return result, err
}

// work lets the views come while everything breaks. It returns when all are billed, everything that was to break has
// broken, and everything that was to come late has come.
func (t *torture) work(ctx context.Context, c *chaos) error {
	watching, stop := context.WithCancel(ctx)
	var around sync.WaitGroup
	defer around.Wait()
	defer stop()
	around.Go(func() { c.watch(watching) })
	posted := make(chan error, 1)
	around.Go(func() { posted <- t.adBilling(watching, "views", "-batch", "100", "-rate", fmt.Sprint(t.cfg.Rate)) })

	if err := c.run(ctx, plan(c.random, t.cfg)); err != nil {
		return err
	}
	if err := <-posted; err != nil {
		return err
	}
	if !wait.Until(ctx, func() bool { return int(c.progress.Load()) >= t.cfg.Views }) {
		return context.Cause(ctx)
	}
	t.network.Settle(ctx)
	return context.Cause(ctx)
}

// judge lets ad-billing compare both topics.
func (t *torture) judge(ctx context.Context) error { return t.adBilling(ctx, "check") }

// adBilling runs one of the example's commands to its end.
func (t *torture) adBilling(ctx context.Context, command string, args ...string) error {
	args = append([]string{command, "-url", strings.Join(t.urls, ","), "-n", fmt.Sprint(t.cfg.Views)}, args...)
	var said strings.Builder
	p, err := program.Start(ctx, t.crew.binary, args, func(_ *program.Process, line string) {
		t.log.line(command, line)
		fmt.Fprintln(&said, line)
	})
	if err != nil {
		return err
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("ad-billing %s: %w\n%s", command, err, said.String())
	}
	return nil
}

// shares are those of a network that is bad, but not so bad that nothing gets done.
var shares = network.Shares{
	network.CutBefore: 60, network.CutRequest: 60, network.CutWaiting: 30, network.CutAnswer: 60, network.CutBody: 30,
	network.Soon: 25, network.Again: 25, network.Late: 50,
}

// openNetwork puts a network in front of the proxies. Requests that only read are spared, as nothing depends on them.
func (t *torture) openNetwork() (err error) {
	cfg := network.Config{
		Seed: t.cfg.Seed, Shares: shares.Times(t.cfg.Worse), Latest: t.cfg.Latest,
		Spare: func(_ network.Fault, r *http.Request) bool { return r.Method == http.MethodGet },
		Note:  func(fault string) { t.log.line("network", fault) },
	}
	for _, p := range t.service.proxies {
		cfg.Upstreams = append(cfg.Upstreams, p.Address)
	}
	if t.network, err = network.New(cfg); err != nil {
		return err
	}
	t.urls = t.network.URLs()
	t.client = &client.Client{HTTP: &http.Client{Timeout: 10 * time.Second}, URLs: t.urls}
	return nil
}

// newRandom returns the random numbers of one part of a run.
func (t *torture) newRandom(part string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, part)
	return rand.New(rand.NewPCG(t.cfg.Seed, h.Sum64())) //nolint:gosec // not for secrets
}
