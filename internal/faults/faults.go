// Package faults is a TCP proxy of our own between a store and PostgreSQL. It
// understands enough of the wire protocol to know a COMMIT when it passes,
// alone or in the middle of a pipeline, and breaks the connection at the moment
// that a test names, or that a seed picks: before the COMMIT reaches the
// server, after it took effect but before its answer is told, or much later.
// It breaks connections elsewhere, too, slows them down, or lets nothing pass.
// It knows nothing of the store and its tables.
package faults

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
	"github.com/jackc/pgx/v5/pgconn"
)

// Config says what happens where neither Arm nor Choose does. Without it,
// nothing does.
type Config struct {
	Seed   uint64
	Shares Shares

	Least, Most time.Duration // how late Late and Delay are, how long Freeze and FreezeIn last; LateBy by default
	Stays       time.Duration // how long at most the server's end of Abandon and Stall stays open; 0: as long as it will

	// Signal signals a process of the server, for Freeze and FreezeIn. Without it,
	// or where it fails, Freeze is Late, and FreezeIn a CutAfter.
	Signal func(pid int, signal syscall.Signal) error

	// Note hears of each fault, from many goroutines; nil: nobody does.
	Note func(fault string)
}

// Proxy passes connections on to PostgreSQL. Its methods may be called at any
// time by anybody.
type Proxy struct {
	network, address string // of the server
	url              string
	cfg              Config
	listener         net.Listener
	ctx              context.Context // ends with the proxy
	end              context.CancelFunc
	commits, cancels atomic.Int64
	slow             atomic.Int64 // nanoseconds
	running          sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand       // guarded by mu
	armed  []Fault          // guarded by mu; for the next COMMITs, in order
	choose func() Fault     // guarded by mu; for those after them; nil: shares do
	shares Shares           // guarded by mu
	links  map[*link]bool   // guarded by mu
	refuse bool             // guarded by mu; new connections are cut at once
	free   chan struct{}    // guarded by mu; closed when something may pass again; nil: it may
	counts map[string]int64 // guarded by mu
}

// Open returns a proxy in front of the server of a connection URL, on a TCP
// port, whether the server has one or a socket file. The server need not be
// there. The caller closes the proxy.
func Open(target string, cfg Config) (*Proxy, error) {
	server, err := pgconn.ParseConfig(target)
	if err != nil {
		return nil, err
	}
	if cfg.Least == 0 && cfg.Most == 0 {
		cfg.Least = LateBy
	}
	p := &Proxy{
		cfg: cfg, shares: cfg.Shares, links: map[*link]bool{}, counts: map[string]int64{},
		random: rand.New(rand.NewPCG(cfg.Seed, 0x6661756c7473)), //nolint:gosec // not for secrets
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.network, p.address = pgconn.NetworkAddress(server.Host, server.Port)
	if p.listener, err = new(net.ListenConfig).Listen(p.ctx, "tcp", "127.0.0.1:0"); err != nil {
		p.end()
		return nil, err
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(server.User, server.Password),
		Host: p.listener.Addr().String(), Path: "/" + server.Database, RawQuery: "sslmode=disable",
	}
	p.url = u.String()
	p.running.Go(p.accept)
	return p, nil
}

// test is a testing.TB, which a program does not import.
type test interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// New returns a proxy in front of the server of a connection URL. It ends with
// the test.
func New(t test, target string) *Proxy {
	t.Helper()
	p, err := Open(target, Config{})
	if err != nil {
		t.Fatalf("faults: %v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// Close breaks all connections, lets what is stopped go on, and returns when
// nothing is left.
func (p *Proxy) Close() error {
	p.end()
	err := p.listener.Close()
	p.CutAll()
	p.running.Wait()
	return err
}

// URL returns the connection URL that leads through the proxy.
func (p *Proxy) URL() string { return p.url }

// Arm gives the next COMMITs these faults, one each.
func (p *Proxy) Arm(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = append(p.armed, faults...)
}

// Armed returns how many faults no COMMIT has met yet.
func (p *Proxy) Armed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.armed)
}

// Choose has fn choose the fault of every COMMIT that Arm left alone. The
// COMMIT waits for its return.
func (p *Proxy) Choose(fn func() Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choose = fn
}

// SetShares changes how often what happens; no shares, and nothing does.
func (p *Proxy) SetShares(s Shares) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares = s
}

// Commits returns how many COMMITs clients have sent.
func (p *Proxy) Commits() int64 { return p.commits.Load() }

// Cancels returns how many cancel requests clients have sent. They are
// swallowed.
func (p *Proxy) Cancels() int64 { return p.cancels.Load() }

// Counts returns how often each fault has happened, whoever chose it. A
// CutAfter is counted when the answer came that it cuts.
func (p *Proxy) Counts() map[string]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// CutAll breaks all connections that are open.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Refuse says whether new connections are cut at once.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Block says whether nothing passes, in either direction. Connections stay, new
// ones are made, and what was said meanwhile arrives afterwards, also that an
// end was closed.
func (p *Proxy) Block(blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case blocked && p.free == nil:
		p.free = make(chan struct{})
	case !blocked && p.free != nil:
		close(p.free)
		p.free = nil
	}
}

// Slow delays each message by d from now on, 0 none.
func (p *Proxy) Slow(d time.Duration) { p.slow.Store(int64(d)) }

// pass waits until something may pass, and for as long as Slow says.
func (p *Proxy) pass() {
	p.mu.Lock()
	free := p.free
	p.mu.Unlock()
	if free != nil {
		select {
		case <-free:
		case <-p.ctx.Done():
		}
	}
	p.wait(time.Duration(p.slow.Load()))
}

// wait waits for d, or for the end of the proxy.
func (p *Proxy) wait(d time.Duration) { wait.For(p.ctx, d) }

func (p *Proxy) accept() {
	for p.ctx.Err() == nil {
		client, err := p.listener.Accept()
		if err != nil {
			p.wait(LateBy) // out of descriptors, or at the end
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve serves one connection to its end. While the server is away, that comes
// at once.
func (p *Proxy) serve(client net.Conn) {
	p.pass()
	server, err := new(net.Dialer).DialContext(p.ctx, p.network, p.address)
	if err != nil {
		_ = client.Close()
		return
	}
	l := newLink(p, client, server)
	p.mu.Lock()
	refuse := p.refuse || p.ctx.Err() != nil
	p.links[l] = true
	p.mu.Unlock()
	if refuse {
		l.cut()
	}
	l.run()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// signal signals a process of the server, if that may be done.
func (p *Proxy) signal(pid int, signal syscall.Signal) error {
	if p.cfg.Signal == nil || pid <= 1 {
		return fmt.Errorf("process %d is not ours to signal", pid)
	}
	return p.cfg.Signal(pid, signal)
}
