// Package appender is group commit: operations that arrive while one flush is
// being written go together into the next one. It owns the one writer of a
// proxy; it knows neither HTTP nor SQL.
//
// An operation travels one way: Append, Put or Commit routes and queues it, Run
// takes what is queued, store.Flush writes it, and the outcome goes back to who
// waits. One that meets a lock of somebody else is set aside: RunAside waits for
// the lock, and nobody else does.
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
	Route(ctx context.Context, put store.Put) (*store.Put, error)
	Flush(ctx context.Context, ops []*store.Op, join store.Join) []store.Outcome
	FlushPatiently(ctx context.Context, ops []*store.Op) []store.Outcome
}

// Config holds what an operator may set.
type Config struct {
	SequenceWait   time.Duration // how long an early sequence waits for its predecessor (P5)
	MaxQueued      int           // operations that may wait for a flush, and for a predecessor; 0: 10,000
	MaxQueuedBytes int64         // of their records; 0: 128 MiB
	Appended       func(partitionIDs []int64, records int, bytes int64)
	Flushed        func(took time.Duration, operations int)
}

// The bounds of a Config that does not say.
const (
	defaultMaxQueued      = 10_000
	defaultMaxQueuedBytes = 128 << 20
)

// Appender groups operations into flushes.
type Appender struct {
	log  Log
	cfg  Config
	wake chan struct{} // holds one token when queue became non-empty
	idle sync.Pool     // of *waiting whose outcome was taken

	mu      sync.Mutex
	queue   queue // guarded by mu
	stopped bool  // guarded by mu

	early early      // owned by Run
	ready []*waiting // owned by Run; early ones whose turn has come, which go before the queue

	aside    chan []*waiting // from Run to RunAside
	returned chan flushed    // and back
	ended    chan struct{}   // closed when Run has ended
}

// flushed is what became of operations that were set aside.
type flushed struct {
	waiting  []*waiting
	outcomes []store.Outcome
}

// New returns an Appender that writes to log while Run and RunAside run.
func New(log Log, cfg Config) *Appender {
	if cfg.MaxQueued == 0 {
		cfg.MaxQueued = defaultMaxQueued
	}
	if cfg.MaxQueuedBytes == 0 {
		cfg.MaxQueuedBytes = defaultMaxQueuedBytes
	}
	return &Appender{
		log: log, cfg: cfg, wake: make(chan struct{}, 1), queue: newQueue(),
		early: early{byScope: map[scope][]*waiting{}},
		aside: make(chan []*waiting, maxAside), returned: make(chan flushed), ended: make(chan struct{}),
	}
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
		o, err := a.wait(ctx, &store.Op{Append: r})
		if !store.IsStale(err) {
			return o.Result, err
		}
		a.log.Forget(topic)
	}
}

// Put begins a transaction, or does a whole one; a repeat gets the transaction
// as it stands (T8). A refused one leaves its id unused.
func (a *Appender) Put(ctx context.Context, put store.Put) (*store.TransactionState, error) {
	for {
		routed, err := a.log.Route(ctx, put)
		if err != nil {
			return nil, err
		}
		o, err := a.wait(ctx, &store.Op{Put: routed})
		switch {
		case errors.Is(err, eos.UnknownTopic.Errorf("")) && a.anyOutdated(ctx, put.Produce):
		case store.IsStale(err):
			for _, p := range put.Produce {
				a.log.Forget(p.Topic)
			}
		default:
			return o.State, err
		}
	}
}

// Commit commits a transaction: its records get their offsets and its offsets
// are set, all or nothing (T1). A refused commit changes nothing.
func (a *Appender) Commit(ctx context.Context, id string, caller store.Caller) (*store.TransactionState, error) {
	o, err := a.wait(ctx, &store.Op{Commit: &store.Commit{ID: id, Caller: caller}})
	return o.State, err
}

// anyOutdated reports whether one of the topics is another now than it was
// remembered.
func (a *Appender) anyOutdated(ctx context.Context, produce []store.TopicRecords) bool {
	outdated := false
	for _, p := range produce {
		t, err := a.log.Topic(ctx, p.Topic)
		outdated = err == nil && a.outdated(ctx, t) || outdated
	}
	return outdated
}

// outdated reports whether the topic is another now than it was remembered.
func (a *Appender) outdated(ctx context.Context, t *store.Topic) bool {
	a.log.Forget(t.Name)
	now, err := a.log.Topic(ctx, t.Name)
	return err == nil && (now.ID != t.ID || len(now.PartitionIDs) != len(t.PartitionIDs))
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
		case back := <-a.returned:
			a.settle(back.waiting, back.outcomes)
		case <-a.wake:
			// Those that the last flush has just answered are about to send
			// their next request: let them, and this flush carries them.
			for range 3 {
				runtime.Gosched()
			}
		case <-timer.C:
		}
		for ctx.Err() == nil {
			a.collect()
			g := a.take(time.Now())
			if len(g.waiting) == 0 {
				break
			}
			a.flush(ctx, g)
		}
	}
}

// collect settles what RunAside has brought back, if anything.
func (a *Appender) collect() {
	select {
	case back := <-a.returned:
		a.settle(back.waiting, back.outcomes)
	default:
	}
}

// take returns the next group: early requests whose turn has come or whose
// time is over, then what is queued, as far as one flush may carry it.
func (a *Appender) take(now time.Time) *group {
	g := &group{}
	a.ready = append(a.ready, a.early.over(now)...)
	n := 0
	for n < len(a.ready) && !g.full() {
		g.add(a.ready[n])
		n++
	}
	clear(a.ready[:n])
	if a.ready = a.ready[n:]; len(a.ready) == 0 {
		a.ready = nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue.fill(g)
	return g
}

// flush writes a group, and who joins it, and answers it.
func (a *Appender) flush(ctx context.Context, g *group) {
	start := time.Now()
	outcomes := a.log.Flush(ctx, operations(g.waiting), func(fits func(*store.Op) bool) []*store.Op {
		before := len(g.waiting)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.queue.join(g, fits)
		return operations(g.waiting[before:])
	})
	if a.cfg.Flushed != nil {
		a.cfg.Flushed(time.Since(start), len(g.waiting))
	}
	a.settle(g.waiting, outcomes)
}

func operations(group []*waiting) []*store.Op {
	ops := make([]*store.Op, len(group))
	for i, w := range group {
		ops[i] = w.op
	}
	return ops
}

func (a *Appender) stop() {
	a.mu.Lock()
	a.stopped = true
	rest := a.queue.all()
	a.mu.Unlock()
	close(a.ended)
	rest = append(rest, a.ready...)
	a.ready = nil
	for more := true; more; {
		select {
		case group := <-a.aside:
			rest = append(rest, group...)
		default: // RunAside may take from it as well
			more = false
		}
	}
	for _, w := range append(rest, a.early.all()...) {
		w.answer(store.Outcome{Err: errStopping})
	}
}
