// Package network is what is between HTTP clients and the proxies of a service, and it is bad: connections break
// before a request, in the middle of it or of its answer, nothing passes for a while, requests arrive twice, or long
// after their connection broke, through another proxy, past what came in between. It passes on what it does not break,
// byte for byte and as it comes, so that long polls, event streams and streaming uploads stay what they are.
//
// It knows HTTP/1.1, and of the API only what makes a late request dangerous: that a registration fences, that a
// transaction ended, that another one began, that a group is rebalanced (events.go). A seed decides what becomes of
// each request, in the order in which they come.
package network

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// Config says what there is and what is done to it.
type Config struct {
	Seed      uint64
	Upstreams []func() string // host:port of each proxy; empty while there is none
	Shares    Shares
	Latest    time.Duration // how late a late request is, at most; 10 s by default
	Stall     time.Duration // how long a stall is, at most; 3 s by default

	// Spare reports whether a fault must not meet a request. Nil spares those without an identity from arriving twice,
	// as they would rightly be done twice, and those that only read from being late.
	Spare func(Fault, *http.Request) bool

	// Note hears of each fault and of its request, from many goroutines; nil: nobody does.
	Note func(fault string)

	// Repeated hears of each request that is about to arrive once more; nil: nobody does.
	Repeated func(fault string, req *http.Request)
}

// Network is the way to each of the proxies. Its methods may be called at any time by anybody.
type Network struct {
	cfg     Config
	ways    []*way
	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup
	events  events

	mu      sync.Mutex
	random  *rand.Rand       // guarded by mu
	shares  Shares           // guarded by mu
	calm    bool             // whether all gets through; guarded by mu
	pending int              // requests that are still to arrive; guarded by mu
	counts  map[string]int64 // guarded by mu
}

// New returns a network that listens on a free port for each proxy. The caller closes it.
func New(cfg Config) (*Network, error) {
	if cfg.Latest == 0 {
		cfg.Latest = 10 * time.Second
	}
	if cfg.Stall == 0 {
		cfg.Stall = 3 * time.Second
	}
	if cfg.Spare == nil {
		cfg.Spare = spared
	}
	n := &Network{
		cfg: cfg, shares: cfg.Shares, counts: map[string]int64{},
		events: newEvents(),
		random: rand.New(rand.NewPCG(cfg.Seed, 0x6e6574776f726b)), //nolint:gosec // not for secrets
	}
	n.ctx, n.end = context.WithCancel(context.Background())
	for i, upstream := range cfg.Upstreams {
		listener, err := new(net.ListenConfig).Listen(n.ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		w := &way{network: n, number: i, upstream: upstream, listener: listener}
		n.ways = append(n.ways, w)
		n.running.Go(w.accept)
	}
	return n, nil
}

// URLs returns where the way to each proxy begins, in their order.
func (n *Network) URLs() []string {
	var urls []string
	for _, w := range n.ways {
		urls = append(urls, "http://"+w.listener.Addr().String())
	}
	return urls
}

// SetShares changes how often what happens.
func (n *Network) SetShares(s Shares) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shares = s
}

// Calm says whether all requests get through from now on; what is to arrive late still does.
func (n *Network) Calm(calm bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calm = calm
}

// Block says whether nothing passes on the way to proxy i, in either direction. Connections stay, and new ones are
// made; what was sent meanwhile arrives when the way is free again. It is not counted here: whoever blocks knows.
func (n *Network) Block(i int, blocked bool) { n.ways[i].block(blocked) }

// Settle frees all ways, lets everything get through from now on, and lets arrive what was to be late; it returns when
// all of that has been answered, or false if ctx ends first.
func (n *Network) Settle(ctx context.Context) bool {
	for _, w := range n.ways {
		w.block(false)
	}
	n.Calm(true)
	for n.hasPending() {
		n.events.releaseAll() // again and again: some had not begun to wait
		if ctx.Err() != nil || !n.wait(pollTime) {
			return false
		}
	}
	return true
}

// Counts returns how many requests met which fault. "late" and "again" are counted when they arrive, by what they
// waited for: "late", "late past a fence", "late past an end", "late past a begin", "late past a rebalance". What
// became of those that nobody heard the answer of is counted by it: "late: 2xx", "twice: 4xx", "again: lost", …
func (n *Network) Counts() map[string]int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.counts)
}

// Close breaks all connections, forgets what has not arrived, and returns when nothing is left.
func (n *Network) Close() error {
	n.end()
	n.events.releaseAll()
	var errs []error
	for _, w := range n.ways {
		errs = append(errs, w.listener.Close())
	}
	n.running.Wait()
	return errors.Join(errs...)
}

// hasPending reports whether requests are still to arrive, or to be answered.
func (n *Network) hasPending() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pending > 0
}

// settled says that one of them was answered, or will never be.
func (n *Network) settled() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending--
}

// count counts one of something.
func (n *Network) count(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[what]++
}

// note counts a fault that a request has met, and tells of it.
func (n *Network) note(fault, request string) {
	n.count(fault)
	if n.cfg.Note != nil {
		n.cfg.Note(fault + ": " + request)
	}
}

// wait waits for d; it returns false if the network ends first.
func (n *Network) wait(d time.Duration) bool { return wait.For(n.ctx, d) }
