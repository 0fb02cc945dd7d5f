// Package appender is group commit: requests that arrive while one flush is
// being written go together into the next one. It owns the one writer of a
// proxy; it knows neither HTTP nor SQL.
//
// A request travels one way: Append routes and queues it, Run takes all that
// is queued, store.Append writes it, and the outcome goes back to who waits.
package appender

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// Log is the part of the store that the appender writes to.
type Log interface {
	Topic(ctx context.Context, name string) (*store.Topic, error)
	Forget(name string)
	Append(ctx context.Context, requests []*store.Request) []store.Outcome
}

// Config holds what an operator may set.
type Config struct {
	SequenceWait time.Duration // how long an early sequence waits for its predecessor (P5)
	MaxQueued    int           // requests that may wait for a flush, and for a predecessor; 0: 10,000
	Appended     func(partitionIDs []int64, records int, bytes int64)
	Flushed      func(took time.Duration, requests int)
}

// Appender groups requests into flushes.
type Appender struct {
	log  Log
	cfg  Config
	wake chan struct{} // holds one token when queue became non-empty

	mu      sync.Mutex
	queue   []*waiting // guarded by mu
	stopped bool       // guarded by mu

	early early      // owned by Run
	ready []*waiting // owned by Run; early ones whose turn has come, which go before the queue
}

// waiting is a request that waits for its outcome.
type waiting struct {
	request  *store.Request     // nil when it is answered
	outcome  chan store.Outcome // takes one
	deadline time.Time          // owned by Run; until when it waits for its predecessor; zero: it never did
	early    bool               // owned by Run; whether it does now
}

// maxGroup bounds the requests of one flush, and maxGroupBytes their records.
const (
	maxGroup      = 2000
	maxGroupBytes = 8 << 20
)

// New returns an Appender that writes to log while Run runs.
func New(log Log, cfg Config) *Appender {
	if cfg.MaxQueued == 0 {
		cfg.MaxQueued = 10_000
	}
	return &Appender{log: log, cfg: cfg, wake: make(chan struct{}, 1), early: early{byScope: map[scope][]*waiting{}}}
}

// Append appends the records to a topic, or to one partition of it when
// partition is not negative, and returns when they are durable or refused. It
// returns eos.Unavailable when too many requests wait already. If ctx ends,
// the outcome stays unknown to the caller; the append itself goes on.
func (a *Appender) Append(ctx context.Context, topic string, partition int, app eos.Append, records []eos.Record) (store.Result, error) {
	random := rand.Uint64()
	for {
		t, err := a.log.Topic(ctx, topic)
		if err != nil {
			return store.Result{}, err
		}
		app := app
		if app.TransactionID != "" && app.Key != "" {
			// The key counts within the transaction, whatever the topic; so the topic is content.
			f := eos.NewFingerprinter()
			f.Int(t.ID)
			f.Bytes(app.Fingerprint[:])
			app.Fingerprint = f.Sum()
		}
		r, err := store.NewRequest(app, t, partition, records, app.Keyless(random))
		if err != nil {
			if errors.Is(err, eos.UnknownTopic.Errorf("")) && a.outdated(ctx, t) {
				continue
			}
			return store.Result{}, err
		}
		result, err := a.wait(ctx, r)
		if !store.IsStale(err) {
			return result, err
		}
		a.log.Forget(topic)
	}
}

// outdated reports whether the topic is another now than it was remembered.
func (a *Appender) outdated(ctx context.Context, t *store.Topic) bool {
	a.log.Forget(t.Name)
	now, err := a.log.Topic(ctx, t.Name)
	return err == nil && (now.ID != t.ID || len(now.PartitionIDs) != len(t.PartitionIDs))
}

func (a *Appender) wait(ctx context.Context, r *store.Request) (store.Result, error) {
	w := &waiting{request: r, outcome: make(chan store.Outcome, 1)}
	if err := a.enqueue(w); err != nil {
		return store.Result{}, err
	}
	select {
	case o := <-w.outcome:
		return o.Result, o.Err
	case <-ctx.Done():
		return store.Result{}, ctx.Err()
	}
}

func (a *Appender) enqueue(w *waiting) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopped:
		return eos.Unavailable.Errorf("the proxy is stopping")
	case len(a.queue) >= a.cfg.MaxQueued:
		return eos.Unavailable.Errorf("%d requests wait already", len(a.queue))
	}
	a.queue = append(a.queue, w)
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return nil
}

// Run flushes until ctx ends, then refuses what is queued and what comes.
func (a *Appender) Run(ctx context.Context) error {
	defer a.stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(a.early.untilNext(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
			// Those that the last flush has just answered are about to send
			// their next request: let them, and this flush carries them.
			for range 3 {
				runtime.Gosched()
			}
		case <-timer.C:
		}
		for ctx.Err() == nil {
			group := a.take(time.Now())
			if len(group) == 0 {
				break
			}
			a.flush(ctx, group)
		}
	}
}

// take returns the next group: early requests whose turn has come or whose
// time is over, then what is queued, as far as one flush may carry it.
func (a *Appender) take(now time.Time) []*waiting {
	var group []*waiting
	var bytes int64
	a.ready = append(a.ready, a.early.over(now)...)
	group, a.ready = fill(group, a.ready, &bytes)
	a.mu.Lock()
	defer a.mu.Unlock()
	group, a.queue = fill(group, a.queue, &bytes)
	return group
}

// fill moves requests from the list to the group, as far as one flush may
// carry them, and returns what is left of the list.
func fill(group, list []*waiting, bytes *int64) (filled, rest []*waiting) {
	n := 0
	for n < len(list) && len(group) < maxGroup && (len(group) == 0 || *bytes < maxGroupBytes) {
		group = append(group, list[n])
		*bytes += list[n].request.Bytes()
		n++
	}
	clear(list[:n])
	if n == len(list) {
		return group, nil
	}
	return group, list[n:]
}

func size(r *store.Request) int64 {
	n := int64(0)
	for _, p := range r.Parts {
		n += p.Size
	}
	return n
}

// flush writes a group and answers it. A request whose predecessor may still
// arrive is set aside; those whose predecessor has just been written are ready.
func (a *Appender) flush(ctx context.Context, group []*waiting) {
	start := time.Now()
	requests := make([]*store.Request, len(group))
	for i, w := range group {
		requests[i] = w.request
	}
	outcomes := a.log.Append(ctx, requests)
	if a.cfg.Flushed != nil {
		a.cfg.Flushed(time.Since(start), len(group))
	}
	var grown []int64
	records, bytes := 0, int64(0)
	for i, w := range group {
		r, o := requests[i], outcomes[i]
		if a.waitsForPredecessor(w, o.Err) {
			continue
		}
		if o.Err == nil && r.HasProducer() {
			a.ready = append(a.ready, a.early.after(w.scope(), o.Result.NextSequence)...)
		}
		w.answer(o)
		if o.Err != nil || o.Result.Repeated {
			continue
		}
		records += r.RecordCount
		bytes += size(r)
		if !o.Result.Staged {
			grown = append(grown, r.Logs()...)
		}
	}
	if records > 0 && a.cfg.Appended != nil {
		a.cfg.Appended(grown, records, bytes)
	}
}

func (w *waiting) answer(o store.Outcome) {
	w.request = nil // its records are not needed while its deadline passes
	w.outcome <- o
}

// waitsForPredecessor sets a request aside that came too early for its
// sequence, and reports whether it did. It is refused when its time is over.
func (a *Appender) waitsForPredecessor(w *waiting, err error) bool {
	if a.cfg.SequenceWait <= 0 || !w.request.HasProducer() {
		return false
	}
	var refusal *eos.Error
	if !errors.As(err, &refusal) || refusal.Kind != eos.OutOfOrder || w.request.Sequence <= *refusal.ExpectedSequence {
		return false
	}
	now := time.Now()
	if w.deadline.IsZero() {
		if len(a.early.byTime) >= a.cfg.MaxQueued {
			return false
		}
	} else if !now.Before(w.deadline) {
		return false
	}
	a.early.add(w, now.Add(a.cfg.SequenceWait))
	return true
}

func (a *Appender) stop() {
	a.mu.Lock()
	a.stopped = true
	rest := a.queue
	a.queue = nil
	a.mu.Unlock()
	rest = append(rest, a.ready...)
	a.ready = nil
	for _, w := range append(rest, a.early.all()...) {
		w.answer(store.Outcome{Err: eos.Unavailable.Errorf("the proxy is stopping")})
	}
}
