package handlers

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// eventSource is where the records of an event stream come from. It holds the
// position: what next has handed out is behind it.
type eventSource interface {
	// next hands out the next records and reports whether there may be more.
	next(ctx context.Context, to *eventLines) (more bool, err error)
	// moved reports whether there may be records behind what next has found, as
	// far as this proxy wrote them.
	moved(ctx context.Context) (bool, error)
	// wait lets w wait for what follows the ends that next has seen.
	wait(w *wake.Waiter)
}

// eventStream is a log that is being followed. Thousands of them may wait: so
// it works in steps, on goroutines that end with them and take their stacks
// along (see fetch), and between two steps it holds no record, no buffer and no
// connection to the database, but its position and its place in the hub (rule
// F4). The goroutine of the request owns all fields; a step has them meanwhile.
type eventStream struct {
	server   *server
	observed *observed
	w        http.ResponseWriter      // that of observed, whose deadlines are others
	conn     *http.ResponseController // of w
	r        *http.Request
	from     eventSource
	lines    eventLines
	patience time.Duration // how long it waits for a record before it ends; -1: for ever

	begun  bool      // the answer
	sent   time.Time // when something last was
	record time.Time // when the last record was sent, or the stream began

	waiter  *wake.Waiter
	waiting bool // has a place in the hub

	mu     sync.Mutex // guards the order of deadlines
	done   chan struct{}
	failed any // what the step has panicked with
}

// run answers the request, until the stream ends.
func (e *eventStream) run() {
	e.server.metrics.streams.Inc()
	defer e.server.metrics.streams.Dec()
	e.waiter, e.done = e.server.hub.Waiter(), make(chan struct{}, 1)
	e.record = time.Now()
	defer e.deadline() // of the end of the answer
	if e.step(e.goOn); !e.waiting {
		return
	}
	timer := time.NewTimer(e.untilTick())
	defer timer.Stop()
	for e.waiting {
		select {
		case <-e.waiter.Woken():
			e.leave()
			e.step(e.goOn)
		case <-timer.C:
			e.step(e.tick)
		case <-e.r.Context().Done():
			e.leave()
			panic(http.ErrAbortHandler)
		}
		timer.Reset(e.untilTick())
	}
}

// untilTick returns how long nothing may happen until tick has something to do.
func (e *eventStream) untilTick() time.Duration {
	until := e.sent.Add(e.server.cfg.EventComment)
	if ends := e.record.Add(e.patience); e.patience >= 0 && ends.Before(until) {
		until = ends
	}
	return time.Until(until)
}

func (e *eventStream) leave() {
	e.waiter.Stop()
	e.waiting = false
}

// step does a step on a goroutine of its own. A step that writes to a client
// that does not read must not hold up a proxy that stops.
func (e *eventStream) step(what func()) {
	go e.stepAlone(what)
	select {
	case <-e.done:
	case <-e.server.draining:
		e.deadline()
		<-e.done
	}
	if e.failed != nil {
		panic(e.failed)
	}
}

// stepAlone hands a panic of the step on to the goroutine of the request.
func (e *eventStream) stepAlone(what func()) {
	defer func() {
		if e.failed = handedOn(recover()); e.failed != nil && e.waiting {
			e.leave()
		}
		e.lines.release()
		e.done <- struct{}{}
	}()
	what()
}

// goOn sends what there is. Then it has a place in the hub, unless that was all.
func (e *eventStream) goOn() {
	for {
		more, err := e.read()
		if err != nil && !e.begun && !e.lines.begun {
			e.server.problem(e.observed, e.r, err)
			return
		}
		e.begin()
		if e.r.Method == http.MethodHead {
			return
		}
		e.send()
		if err == nil && !more && !e.lines.ended && e.patience != 0 && !e.server.isDraining() {
			if more, err = e.settle(); e.waiting {
				return
			}
		}
		switch {
		case err != nil:
			e.fail(err)
			return
		case e.lines.ended || !more && e.patience == 0:
			return
		case e.server.isDraining():
			e.stop()
			return
		}
	}
}

// read reads a piece.
func (e *eventStream) read() (more bool, err error) {
	e.server.reading <- struct{}{}
	defer func() { <-e.server.reading }()
	e.lines.size = e.server.eventPiece()
	return e.from.next(e.r.Context(), &e.lines)
}

// settle takes a place in the hub, and leaves it if there is more to read.
func (e *eventStream) settle() (more bool, err error) {
	e.server.reading <- struct{}{}
	defer func() { <-e.server.reading }()
	e.from.wait(e.waiter)
	e.waiting = true
	// What this proxy wrote between the read and the registration wakes nobody;
	// what others wrote, the hub finds out. Nor does a drain.
	more, err = e.from.moved(e.r.Context())
	if err != nil || more || e.server.isDraining() {
		e.leave()
	}
	return more, err
}

// tick does what has to be done while nothing happens: it ends the stream, or
// sends a comment.
func (e *eventStream) tick() {
	now := time.Now()
	if e.patience >= 0 && now.Sub(e.record) >= e.patience {
		e.leave()
		return
	}
	if now.Sub(e.sent) >= e.server.cfg.EventComment {
		e.write(e.lines.comment())
	}
}

// stop ends the stream because the proxy stops. The client goes on elsewhere;
// one that asked for a part with an end must not take this for the whole of it.
func (e *eventStream) stop() {
	if e.patience >= 0 || e.lines.bounded() {
		e.fail(eos.Unavailable.Errorf("the proxy is stopping; go on from the last record on another one"))
	}
}
