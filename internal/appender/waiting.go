package appender

import (
	"context"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// waiting is an operation that waits for its outcome.
type waiting struct {
	op       *store.Op          // nil when it is answered
	bytes    int64              // of op
	outcome  chan store.Outcome // takes one
	deadline time.Time          // owned by Run; until when it waits for its predecessor; zero: it never did
	early    bool               // owned by Run; whether it does now
}

// wait queues an operation and returns its outcome, whose error it also returns.
// It returns eos.Unavailable when too much waits already. If ctx ends, the
// outcome stays unknown to the caller; the operation goes on.
func (a *Appender) wait(ctx context.Context, op *store.Op) (store.Outcome, error) {
	w := a.newWaiting()
	w.op, w.bytes = op, op.Bytes()
	if err := a.enqueue(w); err != nil {
		return store.Outcome{}, err
	}
	select {
	case o := <-w.outcome:
		if w.deadline.IsZero() { // early keeps others for some time
			a.idle.Put(w)
		}
		return o, o.Err
	case <-ctx.Done():
		return store.Outcome{}, ctx.Err()
	}
}

func (a *Appender) newWaiting() *waiting {
	if w, ok := a.idle.Get().(*waiting); ok {
		return w
	}
	return &waiting{outcome: make(chan store.Outcome, 1)}
}

func (a *Appender) enqueue(w *waiting) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopped:
		return errStopping
	case a.queue.ops >= a.cfg.MaxQueued:
		return eos.Unavailable.Errorf("%d requests wait already", a.queue.ops)
	case a.queue.bytes >= a.cfg.MaxQueuedBytes:
		return eos.Unavailable.Errorf("requests of %d bytes wait already", a.queue.bytes)
	}
	a.queue.add(w)
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return nil
}

var errStopping = eos.Unavailable.Errorf("the proxy is stopping")
