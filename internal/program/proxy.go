package program

import (
	"context"
	"strings"
	"sync"
	"time"
)

// A Proxy is an eos-proxy, which is started again when it dies, and its murderer.
type Proxy struct {
	Binary string
	Args   []string          // of serve
	OnLine func(line string) // hears each line that it prints

	mu      sync.Mutex
	process *Process // nil while none runs; guarded by mu
	address string   // where it answers; empty while it does not; guarded by mu
	frozen  bool     // stopped, to go on later; guarded by mu
}

// Run keeps the proxy running until ctx ends, and then waits for its end. It returns an error if the proxy ends
// otherwise.
func (p *Proxy) Run(ctx context.Context) error {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "text"}, p.Args...)
	for ctx.Err() == nil {
		started, err := Start(ctx, p.Binary, args, func(from *Process, line string) {
			p.OnLine(line)
			if address, ok := strings.CutPrefix(line, "eos-proxy answers on http://"); ok {
				p.set(from, address)
			}
		})
		if err != nil {
			return err
		}
		p.set(started, "")
		<-started.Ended()
		p.mu.Lock()
		p.process, p.address = nil, ""
		p.mu.Unlock()
		if err := started.Excuse(ctx); err != nil {
			return err
		}
	}
	return nil
}

// set notes the process, and its address, which may be heard of first.
func (p *Proxy) set(running *Process, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != running {
		p.process, p.address = running, address
	} else if address != "" && !running.isKilled() {
		p.address = address
	}
}

// Address returns where the proxy answers now, host and port; empty while it does not.
func (p *Proxy) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// Kill kills the proxy as kill -9 does, and reports false if there is none at the moment.
func (p *Proxy) Kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil || !p.process.Kill() {
		return false
	}
	p.address = ""
	return true
}

// Freeze stops the proxy, and lets it go on later, with all that it was about to do. It reports false if there is none
// that answers, or if it is frozen.
func (p *Proxy) Freeze(later time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.address == "" || p.frozen || !p.process.Stop() {
		return false
	}
	p.frozen = true
	frozen := p.process
	time.AfterFunc(later, func() {
		frozen.Resume()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.frozen = false
	})
	return true
}
