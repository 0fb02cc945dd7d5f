package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// The tills, and how often each of them dies in a run, about.
const (
	tills       = 8
	deathsATill = 6
)

// runTime bounds one run: a service that does not come back is a result too.
const runTime = 5 * time.Minute

// mode is one of the three promises.
type mode struct {
	name, topic string
	work        func(*till, context.Context) error
	mortal      bool // whether tills die
}

// exactlyOnce is the topic of the mode that must get it right.
const exactlyOnce = "exactly-once"

var modes = []mode{
	{"at most once", "at-most-once", (*till).atMostOnce, false},
	{"at least once", "at-least-once", (*till).atLeastOnce, false},
	{"exactly once", exactlyOnce, (*till).exactlyOnce, true},
}

// result is what came of a run.
type result struct {
	mode
	verdict
	kills, postgresKills, cuts, deaths int64
	took                               time.Duration
}

// run is one run: the tills at work on one topic, and what happens to them.
type run struct {
	mode
	cfg      config
	client   *client.Client // through the bad network
	progress *progress
	books    [][]purchase

	tillRandom []*rand.Rand // one each, used by man
}

// bill sends the purchases to a topic of their own, under chaos, and judges what the topic holds then.
func bill(ctx context.Context, cfg config, m mode, p *proxy, purchases []purchase, out io.Writer) (*result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runTime, errors.New("the run did not end in time"))
	defer cancel()
	began := time.Now()
	net := &cutter{upstream: p.url, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: tills}}, random: newRandom(cfg.seed, m, "network")}
	url, stop, err := net.listen(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * tills}
	defer transport.CloseIdleConnections()
	r := &run{
		mode: m, cfg: cfg,
		client:   &client.Client{HTTP: &http.Client{Transport: transport, Timeout: 20 * time.Second}, URLs: []string{url}},
		progress: newProgress(tills),
		books:    books(purchases, tills),
	}
	for i := range r.books {
		r.tillRandom = append(r.tillRandom, newRandom(cfg.seed, m, fmt.Sprint("till ", i)))
	}
	if err := createTopic(ctx, r.client, m.topic); err != nil {
		return nil, because(ctx, err)
	}

	chaos := &chaos{proxy: p, progress: r.progress, random: newRandom(cfg.seed, m, "kills")}
	var around sync.WaitGroup
	busy, rest := context.WithCancel(ctx)
	around.Go(func() { chaos.run(busy, plan(chaos.random, len(purchases), cfg.kills, cfg.postgresKills)) })
	around.Go(func() {
		display(busy, out, func() string {
			return fmt.Sprintf("%-13s %5d/%d · killed: proxy %d/%d, PostgreSQL %d/%d, tills %d · %d cut",
				m.name, r.progress.sent(), len(purchases), chaos.kills.Load(), cfg.kills,
				chaos.postgresKills.Load(), cfg.postgresKills, r.progress.deaths.Load(), net.cuts.Load())
		})
	})
	err = r.work(ctx)
	rest()
	around.Wait()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, because(ctx, err))
	}

	net.settle(ctx)
	read, err := consume(ctx, r.client, m.topic)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, because(ctx, err))
	}
	return &result{
		mode: m, verdict: judge(purchases, read), took: time.Since(began),
		kills: chaos.kills.Load(), postgresKills: chaos.postgresKills.Load(),
		cuts: net.cuts.Load(), deaths: r.progress.deaths.Load(),
	}, nil
}

// work keeps all tills at work and returns when their books are sent, or the first error.
func (r *run) work(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	for i := range r.books {
		all.Go(func() {
			// Those that were given up end with the till.
			ctx, end := context.WithCancel(ctx)
			defer end()
			for done := false; !done; {
				var err error
				if done, err = r.man(ctx, i, &all, fail); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// man puts somebody to work at a till and reports whether the book is sent. In a mode that is mortal whoever
// works there is given up now and then, in the middle of a request; the next one knows no more than he knew
// at his start. Half of those given up are not dead: they go on until the proxy tells them.
func (r *run) man(ctx context.Context, i int, all *sync.WaitGroup, fail func(error)) (done bool, err error) {
	random := r.tillRandom[i]
	left := 1 + random.IntN(1+2*len(r.books[i])/r.cfg.batch/deathsATill) // requests
	tired := make(chan struct{})
	t := &till{client: r.client, name: fmt.Sprintf("till-%d", i+1), topic: r.topic, book: r.books[i], batch: r.cfg.batch}
	t.reached = func(place int, acknowledged bool) {
		r.progress.reach(i, place, acknowledged)
		if left--; left == 0 && r.mortal {
			close(tired)
		}
	}
	life, die := context.WithCancel(ctx)
	ended := make(chan error, 1)
	all.Go(func() {
		defer die()
		ended <- r.mode.work(t, life)
	})
	select {
	case err := <-ended:
		if errors.Is(err, errReplaced) {
			return false, nil // by one that died before it heard of its registration
		}
		return err == nil, err
	case <-tired:
	}
	if err := client.Sleep(ctx, time.Duration(random.Int64N(int64(10*time.Millisecond)))); err != nil {
		return false, err
	}
	r.progress.deaths.Add(1)
	if random.IntN(2) == 0 {
		die()
	}
	all.Go(func() {
		if err := <-ended; err != nil && !errors.Is(err, errReplaced) && !errors.Is(err, context.Canceled) {
			fail(err)
		}
	})
	return false, nil
}

// because returns why ctx ended if err says no more than that it did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}

// newRandom returns the random numbers of one part of a run.
func newRandom(seed uint64, m mode, part string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, m.name+" "+part)
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // not for secrets
}
