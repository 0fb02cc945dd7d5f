package chaos

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// zombieTime is how long a worker stands still at most: a session, and what PostgreSQL's absences add.
const zombieTime = time.Minute

// makeZombie lets a worker stand still until others have its partitions, and then go on as if nothing had been. It
// returns what it did then, after it has done it: it must have been refused, unless its last request had been answered
// to nobody before.
func (t *torture) makeZombie(ctx context.Context, p *post, w *worker) (text string, err error) {
	tooLong := fmt.Errorf("%s has not become a zombie after %s", p.name, zombieTime)
	ctx, cancel := context.WithTimeoutCause(ctx, zombieTime, tooLong)
	defer cancel()
	if !w.freeze() {
		return "", nil
	}
	// While it computes, if it is as fast as usual: then its commit comes too late.
	if err := w.awaitBill(ctx, compute/2); err != nil || !w.Stop() {
		return "", err
	}
	t.log.line("chaos", "stopped "+p.name)
	defer w.Resume()

	if p.instance != "" {
		text, err = t.replace(ctx, p, w)
	} else {
		text, err = t.outlive(ctx, w)
	}
	if err == nil {
		t.log.line("chaos", p.name+" was a zombie, and then: "+text)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return text, err
}

// freeze makes nobody else touch the worker. It returns false if somebody does.
func (w *worker) freeze() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.frozen {
		return false
	}
	w.frozen = true
	return true
}

// listen returns what the worker does next.
func (w *worker) listen() <-chan string {
	next := make(chan string, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
	return next
}

// awaitBill waits until the worker has billed something, and for the time after it; but not for ever, as there may be
// nothing to bill.
func (w *worker) awaitBill(ctx context.Context, after time.Duration) error {
	patience := time.NewTimer(3 * time.Second)
	defer patience.Stop()
	for {
		select {
		case text := <-w.listen():
			if strings.HasPrefix(text, billed) {
				return client.Sleep(ctx, after)
			}
		case <-w.Ended():
			return nil
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// outlive lets the worker go on when its session is over.
func (t *torture) outlive(ctx context.Context, w *worker) (string, error) {
	w.mu.Lock()
	member := w.member
	w.mu.Unlock()
	for {
		if is, err := t.isMember(ctx, member); err != nil {
			return "", err
		} else if !is {
			break
		}
		if err := client.Sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
	next := w.listen()
	w.Resume()
	defer func() {
		w.mu.Lock()
		w.next, w.frozen = nil, false
		w.mu.Unlock()
	}()
	select {
	case text := <-next:
		return text, nil
	case <-w.Ended():
		return "", w.Excuse(ctx)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// replace lets the worker go on when another one has its instance: it must learn that it is replaced, and end.
func (t *torture) replace(ctx context.Context, p *post, w *worker) (string, error) {
	close(w.relieved)
	joined := wait.Until(ctx, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.worker != w && p.worker.free()
	})
	if !joined {
		return "", ctx.Err()
	}
	w.Resume()
	select {
	case <-w.Ended():
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if !w.replaced() {
		return "", fmt.Errorf("%s was replaced, but: %w", p.name, w.Excuse(ctx))
	}
	return refused + ": " + w.Last(), nil
}
