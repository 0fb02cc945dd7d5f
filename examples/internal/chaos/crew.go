package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/eos-proxy/eos-proxy/internal/program"
)

// A crew is the workers. They are processes of examples/ad-billing, of which a new one is started when one dies, and
// they know nothing of what is done to them here.
type crew struct {
	binary string
	args   []string
	posts  []*post
	log    *journal

	again    atomic.Int64 // requests that were sent again
	refusals atomic.Int64 // that made a worker drop what it had polled
	stale    atomic.Int64 // those of them that refused a commit
}

// A post is the place of one worker.
type post struct {
	name     string
	instance string // of its worker, over restarts; empty: a new member each time

	mu     sync.Mutex
	worker *worker // who is there; nil for nobody; guarded by mu
}

// A worker is one process.
type worker struct {
	*program.Process
	relieved chan struct{} // closed when somebody else is to take its post while it is there

	mu     sync.Mutex
	member string      // its id in the group; empty until it has joined; guarded by mu
	frozen bool        // a zombie in the making: nobody else touches it; guarded by mu
	next   chan string // what it does next goes here, if there is room; nil if nobody asks; guarded by mu
}

// What a worker does, as its lines tell.
const (
	billed   = "billed"
	refused  = "starts over"
	outdated = "polls again"
)

// run keeps somebody at the post until ctx ends, and then waits for the end of all who were there.
func (p *post) run(ctx context.Context, c *crew) error {
	args := c.args
	if p.instance != "" {
		args = append(args[:len(args):len(args)], "-instance", p.instance)
	}
	var all []*worker
	for ctx.Err() == nil {
		w := &worker{relieved: make(chan struct{})}
		process, err := program.Start(ctx, c.binary, args, func(_ *program.Process, line string) {
			c.log.line(p.name, line)
			c.heard(w, line)
		})
		if err != nil {
			return err
		}
		w.Process = process
		p.mu.Lock()
		p.worker = w
		p.mu.Unlock()
		all = append(all, w)
		select {
		case <-w.Ended():
			if err := w.Excuse(ctx); err != nil && (len(all) == 1 || !w.replaced()) {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		case <-w.relieved: // whoever relieved it looks after it
		}
	}
	for _, w := range all {
		<-w.Ended()
	}
	return nil
}

// replaced reports whether the worker has ended because another process has joined with its instance. That may be
// one that came before it: a zombie whose session was over before its successor had joined, joins again like anybody
// whose session was over. Whoever joined last has the instance.
func (w *worker) replaced() bool {
	return strings.Contains(w.Last(), "FENCED_INSTANCE_ID")
}

// heard takes a line of a worker in.
func (c *crew) heard(w *worker, line string) {
	member, text, _ := strings.Cut(line, " ")
	event := ""
	for _, e := range []string{billed, refused, outdated} {
		if strings.HasPrefix(text, e) {
			event = e
		}
	}
	switch {
	case strings.HasPrefix(text, "sends "):
		c.again.Add(1)
	case event == refused || event == outdated:
		c.refusals.Add(1)
		if strings.Contains(text, "commit: ") {
			c.stale.Add(1)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasPrefix(text, "has") {
		w.member = member
	}
	if w.next != nil && event != "" {
		select {
		case w.next <- text:
		default:
		}
	}
}

// pick returns somebody at a post who has joined and is no zombie; nil if there is nobody at this one.
func (c *crew) pick(random *rand.Rand) (*post, *worker) {
	p := c.posts[random.IntN(len(c.posts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.worker == nil || !p.worker.free() {
		return p, nil
	}
	return p, p.worker
}

// free reports whether the worker has joined, and is left alone.
func (w *worker) free() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.member != "" && !w.frozen
}

// kill kills one of the workers; it reports false if there was none where it looked.
func (c *crew) kill(random *rand.Rand) bool {
	p, w := c.pick(random)
	if w == nil || !w.Kill() {
		return false
	}
	c.log.line("chaos", "killed "+p.name)
	return true
}
