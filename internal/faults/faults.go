// Package faults is a TCP proxy of our own between a store under test and
// PostgreSQL. It understands enough of the wire protocol to know a COMMIT when
// it passes, alone or in the middle of a pipeline, and breaks the connection at
// the moment that a test names: before the COMMIT reaches the server, after it
// took effect but before its answer is told, or much later. It knows nothing of
// the store and its tables.
package faults

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Fault is what happens to one COMMIT.
type Fault int

// The faults. Whatever came before the COMMIT has reached the server.
const (
	None      Fault = iota
	CutBefore       // the server never sees the COMMIT; both ends are cut
	Abandon         // the server never sees the COMMIT; the client is cut, the server's end stays open, idle in transaction
	Stall           // as Abandon, but the server waits for the rest of a pipeline, where no timeout of its ends the wait
	CutAfter        // the COMMIT took effect; both ends are cut instead of its answer
	Late            // the client is cut; the COMMIT reaches the server LateBy afterwards
	Mute            // the COMMIT is forwarded; no answer ever comes, and nothing is cut
	Delay           // the COMMIT is forwarded LateBy afterwards; then all goes on
)

// LateBy is how late Late and Delay are.
const LateBy = 20 * time.Millisecond

// Proxy passes connections on to PostgreSQL. Its methods may be called at any
// time by anybody.
type Proxy struct {
	network, address string // of the server
	url              string
	listener         net.Listener
	ctx              context.Context // ends with the proxy
	commits, cancels atomic.Int64
	running          sync.WaitGroup

	mu     sync.Mutex
	armed  []Fault       // guarded by mu; for the next COMMITs, in order
	choose func() Fault  // guarded by mu; for those after them; nil: None
	links  map[*link]int // guarded by mu
	refuse bool          // guarded by mu; new connections are cut at once
}

// New returns a proxy in front of the server of a connection URL. It ends with
// the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	cfg, err := pgconn.ParseConfig(target)
	if err != nil {
		t.Fatalf("faults: %v", err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("faults: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &Proxy{listener: listener, ctx: ctx, links: map[*link]int{}}
	p.network, p.address = pgconn.NetworkAddress(cfg.Host, cfg.Port)
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: listener.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	p.url = u.String()
	p.running.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		p.CutAll()
		p.running.Wait()
	})
	return p
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

// Commits returns how many COMMITs clients have sent.
func (p *Proxy) Commits() int64 { return p.commits.Load() }

// Cancels returns how many cancel requests clients have sent.
func (p *Proxy) Cancels() int64 { return p.cancels.Load() }

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

func (p *Proxy) next() Fault {
	p.commits.Add(1)
	p.mu.Lock()
	choose := p.choose
	if len(p.armed) > 0 {
		f := p.armed[0]
		p.armed = p.armed[1:]
		choose = func() Fault { return f }
	}
	p.mu.Unlock()
	if choose == nil {
		return None
	}
	return choose()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(p.ctx, p.network, p.address)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := newLink(p, client, server)
		p.mu.Lock()
		refuse := p.refuse || p.ctx.Err() != nil
		p.links[l] = 0
		p.mu.Unlock()
		if refuse {
			l.cut()
		}
		p.running.Go(func() {
			l.run()
			p.mu.Lock()
			delete(p.links, l)
			p.mu.Unlock()
		})
	}
}

// wait waits for LateBy, or for the end of the proxy.
func (p *Proxy) wait() {
	timer := time.NewTimer(LateBy)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// String returns the name of the fault.
func (f Fault) String() string {
	names := [...]string{"None", "CutBefore", "Abandon", "Stall", "CutAfter", "Late", "Mute", "Delay"}
	if f < 0 || int(f) >= len(names) {
		return "Fault(" + strconv.Itoa(int(f)) + ")"
	}
	return names[f]
}
