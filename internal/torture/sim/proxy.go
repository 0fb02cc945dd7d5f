package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// proxy is a process of the service.
type proxy struct {
	n      int
	up     bool
	frozen int64 // until when it does nothing
	skew   int64 // of its clock, in milliseconds
	writer *writer
	queue  []*call // for the writer
}

// writer is what a proxy's flushes know from one to the next.
type writer struct {
	facts   *facts
	careful bool
	shared  int
	busy    bool
}

func newWriter() *writer { return &writer{facts: newFacts()} }

// call is one attempt of an op that a proxy serves.
type call struct {
	*op
	try     int
	proxy   *proxy
	parts   []part // of the op, or as the proxy has routed it
	count   int    // the partition count by which it did
	applied bool   // what it asks for was written by it
	failed  bool   // it was answered that nothing was
}

const (
	idleTime     = 2_000  // after which PostgreSQL ends a session that holds locks and says nothing
	patientWait  = 2_000  // how long a lock is waited for
	settleTime   = 10_000 // how long a proxy looks for what became of a lost COMMIT
	maxLate      = eos.CommitMargin
	surelyNext   = 30_000
	keptFor      = 120_000
	sharedFlush  = 8 // flushes that read the ends of logs after another writer was seen (the store's number is 64)
	longestFlush = 5
)

func (w *world) start(p *proxy, what string, calls []*call, wr *writer, begin func(t *task)) {
	t := &task{proxy: p, what: what, calls: calls, begin: begin, wr: wr, since: w.db.now}
	w.tasks = append(w.tasks, t)
	begin(t)
}

// crash ends a proxy. What it had sent of a write may still arrive.
func (w *world) crash(p *proxy) {
	w.tracef("p%d crashes", p.n)
	w.count.Crashes++
	p.up, p.queue, p.writer = false, nil, newWriter()
	for _, t := range slices.Clone(w.tasks) {
		switch {
		case t.proxy != p:
		case t.gone:
			w.remove(t)
		default:
			if t.plan != nil && (!t.early || w.one(2)) || w.one(2) {
				w.remove(t)
				break
			}
			if !t.early || w.one(2) {
				t.plan = nil // its locks are free when PostgreSQL notices
			}
			t.proxy = nil
		}
	}
}

// serve has a proxy do what an attempt asks for.
func (w *world) serve(p *proxy, c *call) {
	c.proxy = p
	w.route(c, p)
	switch c.kind {
	case kindProduce, kindPut, kindCommit:
		p.queue = append(p.queue, c)
	default:
		w.exchange(p, c)
	}
}

// flushNext has a proxy flush what waits.
func (w *world) flushNext(p *proxy) {
	wr := p.writer
	if w.one(8) || wr.busy {
		wr = newWriter() // aside
		wr.careful = true
	}
	n := untilCommit(p.queue[:min(len(p.queue), 1+w.n(longestFlush))])
	calls := slices.Clone(p.queue[:n])
	p.queue = slices.Delete(p.queue, 0, n)
	wr.busy = true
	w.flush(p, wr, calls)
}

// untilCommit is how many calls come before the commit of a transaction that
// one of them adds to.
func untilCommit(calls []*call) int {
	for i, c := range calls {
		if c.kind != kindCommit {
			continue
		}
		for _, earlier := range calls[:i] {
			if earlier.TransactionID == c.TransactionID || earlier.begin.ID == c.TransactionID {
				return i
			}
		}
	}
	return len(calls)
}

// exchanged is what an op that is no flush reads and decides.
type exchanged func(again bool) (a *answer, write func() bool)

func (w *world) exchange(p *proxy, c *call) {
	locks, run := w.exchangeOf(c)
	w.start(p, c.String(), []*call{c}, nil, func(t *task) {
		t.early, t.locks = true, locks
		t.read = func(t *task) plan {
			a, write := run(t.again)
			return plan{answers: []*answer{a}, write: write, again: a == nil && write == nil}
		}
	})
}
