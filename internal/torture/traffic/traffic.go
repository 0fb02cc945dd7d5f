// Package traffic makes a history: clients of many kinds that produce, process and read over plain HTTP, each from its
// own seed, and write down each request that they sent and what became of it. It knows the contract of the API, and
// nothing of the faults that are done meanwhile or of what is right: that is for internal/torture/judge.
//
// A client is one loop in a file of its own. It sends a request through a hand, which is what a history calls a
// process: it has one request in flight. What a client wants done is an operation: the same bytes, sent again until
// the outcome is known, to whichever proxy.
//
// A seed decides how many clients of which kind there are, and the dice that each of them throws. It does not decide
// how their requests meet, nor what they are answered; so neither which numbers their values and names get, which they
// take in the order in which they come, nor how often each throws its dice, and what for.
package traffic

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// Config is what traffic is made of.
type Config struct {
	Seed     uint64
	Proxies  []string        // base URLs of the ways to the proxies, which may be cut; an index is Attempt.Proxy
	Direct   func() []string // base URLs of the proxies that live now, without what cuts: for Prepare and Drain
	Database string          // connection URL, for the comparison by SQL
	Writer   *history.Writer
	Began    time.Time     // the zero of the history's clock; default: when New is called
	Version  string        // of the service, for the Run line
	Clients  int           // about how many; default 48, which is the least that has all kinds
	Prefix   string        // of topics, groups and ids, so that runs on one database do not meet
	Timeout  time.Duration // of a request; default 5 s
	Grace    time.Duration // that clients have after the end of Run's context; default 30 s
	Rate     float64       // most attempts a second over all; 0: no bound
	Only     []string      // the clients that run, by their Kinds; none: all
}

// Traffic is one run. Its methods but Prepare, Run and Drain may be called by anybody at any time.
type Traffic struct {
	cfg    Config
	topics map[string]*topic
	began  time.Time
	over   chan struct{} // closed when clients begin nothing new
	still  chan struct{} // closed when all but workers have ended, and how far the input reaches is known

	lastValue, operations, tried, attempts, names atomic.Int64
	lastOK                                        atomic.Int64 // nanoseconds since began
	okBy                                          sync.Map     // when what succeeded was sent; by proxy (int, wrote), and kind
	pacer                                         pacer

	mu     sync.Mutex
	txns   map[string]struct{} // ids of all transactions; guarded by mu
	groups map[string]struct{} // that anybody committed in; guarded by mu
}

// Kinds returns the names of the kinds of clients, for Config.Only.
func Kinds() []string {
	var names []string
	for _, k := range New(Config{}).kinds() {
		names = append(names, k.name)
	}
	return names
}

// New returns traffic that has not begun.
func New(cfg Config) *Traffic {
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 30 * time.Second
	}
	if cfg.Began.IsZero() {
		cfg.Began = time.Now()
	}
	t := &Traffic{
		cfg: cfg, topics: map[string]*topic{}, began: cfg.Began,
		over: make(chan struct{}), still: make(chan struct{}),
		txns: map[string]struct{}{}, groups: map[string]struct{}{},
	}
	if cfg.Rate > 0 {
		t.pacer.gap = time.Duration(float64(time.Second) / cfg.Rate)
	}
	for _, d := range t.declared() {
		t.topics[d.Topic] = &topic{
			Topic: d, ends: make([]atomic.Int64, d.Partitions), done: make([]atomic.Int64, d.Partitions),
		}
	}
	return t
}

// Now returns the time of the history's clock, in nanoseconds: what Attempt.Invoked and Fault.Began are made of.
func (t *Traffic) Now() int64 { return time.Since(t.began).Nanoseconds() }

// Attempts returns how many requests have ended.
func (t *Traffic) Attempts() int64 { return t.attempts.Load() }

// Operations returns how many operations there are of which an attempt has ended.
func (t *Traffic) Operations() int64 { return t.tried.Load() }

// Records returns how many records clients have made.
func (t *Traffic) Records() int64 { return t.lastValue.Load() }

// LastOK returns when a client's request that writes has last succeeded; the beginning of the run if none has. A read
// may succeed while nothing else does.
func (t *Traffic) LastOK() time.Time { return t.began.Add(time.Duration(t.lastOK.Load())) }

// Without returns who has had no success with what was sent after a time: "proxy 1", of writes if there are any, and
// "commit", of those kinds that are asked for, if clients make them.
func (t *Traffic) Without(after time.Time, kinds ...history.Kind) []string {
	makes := Makes(t.cfg.Only)
	has := func(key any) bool {
		value, _ := t.okBy.Load(key)
		at, ok := value.(int64)
		return ok && at > after.Sub(t.began).Nanoseconds()
	}
	var without []string
	writes := slices.ContainsFunc(makes, func(k history.Kind) bool { return !onlyReads(k) })
	for i := range t.cfg.Proxies {
		if !has(wrote(i)) && (writes || !has(i)) {
			without = append(without, fmt.Sprint("proxy ", i))
		}
	}
	for _, k := range kinds {
		if slices.Contains(makes, k) && !has(k) {
			without = append(without, string(k))
		}
	}
	return without
}

// wrote is a proxy through which a write succeeded, in okBy.
type wrote int

// Prepare writes the first lines of the history and makes the topics. It tries again until ctx ends.
func (t *Traffic) Prepare(ctx context.Context) error {
	kinds := Kinds()
	for _, name := range t.cfg.Only {
		if !slices.Contains(kinds, name) {
			return fmt.Errorf("there are no clients called %q", name)
		}
	}
	t.cfg.Writer.Write(history.Line{Run: &history.Run{
		Seed: t.cfg.Seed, Version: t.cfg.Version, Began: t.began.UTC().Format(time.RFC3339),
	}})
	p := &plainClient{t: t}
	for _, d := range t.declared() {
		if err := p.must(ctx, http.MethodPut, "/v1/topics/"+d.Topic, t.settings(&d), nil); err != nil {
			return err
		}
		t.cfg.Writer.Write(history.Line{Topic: &d})
	}
	return nil
}

// Run makes traffic until sending ends, and then for at most Config.Grace until each client knows what became of its
// last operation, and the input is processed. The caller has healed everything by then. The end of ctx ends it at once.
// It returns when nobody sends anything any more, and is called once.
func (t *Traffic) Run(ctx, sending context.Context) error {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var others, workers sync.WaitGroup
	for _, l := range t.mix() {
		running := &others
		if l.works {
			running = &workers
		}
		running.Go(func() {
			defer l.hand.close()
			l.run(work, l.hand)
		})
	}
	ended := make(chan struct{})
	go func() {
		others.Wait()
		t.lookAtInput(work)
		close(t.still)
		workers.Wait()
		close(ended)
	}()
	<-sending.Done()
	close(t.over)
	late := time.AfterFunc(t.cfg.Grace, cancel)
	defer late.Stop()
	<-ended
	return t.cfg.Writer.Flush()
}

// isStill reports whether nobody writes any more but workers.
func (t *Traffic) isStill() bool {
	select {
	case <-t.still:
		return true
	default:
		return false
	}
}

// noteTransaction remembers an id, whose fate Drain asks for.
func (t *Traffic) noteTransaction(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.txns[id] = struct{}{}
}

// noteGroup remembers a group, whose committed offsets Drain asks for.
func (t *Traffic) noteGroup(group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups[group] = struct{}{}
}

// name returns a name that nothing else of the run has.
func (t *Traffic) name(kind string) string {
	return fmt.Sprintf("%s%s-%d", t.cfg.Prefix, kind, t.names.Add(1))
}

// pacer bounds how often anything is begun.
type pacer struct {
	gap  time.Duration // 0: not at all
	mu   sync.Mutex
	next time.Time // guarded by mu
}

// wait returns when it is the caller's turn, or ctx has ended.
func (p *pacer) wait(ctx context.Context) {
	if p.gap == 0 {
		return
	}
	p.mu.Lock()
	now := time.Now()
	turn := p.next
	if turn.Before(now) {
		turn = now
	}
	p.next = turn.Add(p.gap)
	p.mu.Unlock()
	rest(ctx, nil, turn.Sub(now))
}

// rest waits for a while, but not beyond the end of ctx, or of over.
func rest(ctx context.Context, over <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-over:
	}
}
