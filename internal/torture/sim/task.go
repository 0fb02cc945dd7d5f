package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// task is an SQL transaction on its way: it locks, reads, decides and writes, or
// decides by what is known, and locks as it writes. It runs again when it lost a
// race, and when the answer to its COMMIT was lost.
type task struct {
	proxy *proxy // nil when nobody hears of it any more
	what  string
	calls []*call
	begin func(t *task)      // begins a try: sets the three that follow
	early bool               // it locks before it reads
	locks func() []lockKey   // what it locks
	read  func(t *task) plan // reads and decides
	wr    *writer            // of a flush
	held  []lockKey
	plan  *plan
	again bool  // an earlier try may have been committed
	lost  int64 // when the first was
	since int64 // when this step began
	gone  bool  // PostgreSQL ended its session
}

// plan is what a try came to: it runs again, writes, or answers at once.
type plan struct {
	again   bool
	write   func() bool // false: a guard or a key refused it
	answers []*answer
}

func (w *world) restart(t *task) {
	w.unlock(t)
	t.plan, t.early, t.since, t.gone = nil, false, w.db.now, false
	t.begin(t)
}

func (w *world) remove(t *task) {
	w.unlock(t)
	if i := slices.Index(w.tasks, t); i >= 0 {
		w.tasks = slices.Delete(w.tasks, i, i+1)
	}
	if t.wr != nil && t.proxy != nil {
		t.wr.busy = false
	}
}

// lock takes all locks of a task, or none.
func (w *world) lock(t *task) bool {
	keys := t.locks()
	for _, k := range keys {
		holder := w.db.locks[k]
		switch {
		case holder == nil || holder == t:
		case holder.proxy != nil && w.db.now-holder.since > idleTime:
			w.unlock(holder)
			holder.gone = true
		default:
			return false
		}
	}
	for _, k := range keys {
		w.db.locks[k] = t
	}
	t.held = keys
	return true
}

func (w *world) unlock(t *task) {
	for _, k := range t.held {
		if w.db.locks[k] == t {
			delete(w.db.locks, k)
		}
	}
	t.held = nil
}

// advance does a task's next step.
func (w *world) advance(t *task) {
	switch {
	case t.proxy == nil:
		w.late(t)
	case t.gone:
		if w.one(2) && t.plan != nil { // the proxy cannot tell whether its COMMIT came first
			w.lose(t)
		}
		w.restart(t)
	case t.plan != nil:
		w.save(t)
	case t.early && !w.lock(t):
		w.wait(t)
	case w.fault(60):
		w.tracef("the connection of %s breaks before it reads", t.what)
		w.restart(t)
	default:
		w.decide(t)
	}
}

func (w *world) decide(t *task) {
	p := t.read(t)
	t.since = w.db.now
	switch {
	case p.again:
		w.restart(t)
	case p.write == nil:
		w.finish(t, p.answers)
	default:
		t.plan = &p
		w.tracef("p%d decides %s", t.proxy.n, t.what)
		if w.mutant == AckBeforeCommit {
			w.reply(t, p.answers)
		}
	}
}

// save sends what is to be written, with the COMMIT.
func (w *world) save(t *task) {
	if !t.early && !w.lock(t) {
		w.wait(t)
		return
	}
	switch w.breaks() {
	case beforeCommit:
		w.tracef("the connection of %s breaks before its COMMIT arrives", t.what)
		w.lose(t)
		w.restart(t)
		return
	case onItsWay:
		w.tracef("the connection of %s breaks, its COMMIT is on its way", t.what)
		w.detach(t)
		w.lose(t)
		w.restart(t)
		return
	case afterCommit:
		ok := w.write(t)
		w.tracef("the answer to the COMMIT of %s is lost (written: %v)", t.what, ok)
		w.lose(t)
		w.restart(t)
		return
	case nowhere:
	}
	switch {
	case w.write(t):
		w.finish(t, t.plan.answers)
	default:
		w.tracef("a guard refuses %s", t.what)
		w.count.Conflicts++
		if t.wr != nil {
			t.wr.careful, t.wr.shared = true, sharedFlush
		}
		w.restart(t)
	}
}

// cut is where a connection breaks.
type cut int

const (
	nowhere cut = iota
	beforeCommit
	onItsWay
	afterCommit
)

func (w *world) breaks() cut {
	if w.fault(14) {
		return cut(1 + w.n(3))
	}
	return nowhere
}

func (w *world) write(t *task) bool {
	w.writing = t
	defer func() { w.writing = nil }()
	return t.plan.write()
}

// lose notes that an earlier try may have been committed.
func (w *world) lose(t *task) {
	w.count.Lost++
	if !t.again {
		t.again, t.lost = true, w.db.now
	}
	if w.fault(4) { // the worst moment to be stopped
		t.proxy.frozen = w.db.now + int64(w.n(w.longest()))
		w.tracef("p%d freezes until %d", t.proxy.n, t.proxy.frozen)
	}
	if w.mutant == LostCommitIsFailure {
		t.begin = func(t *task) {
			t.read = func(t *task) plan { return plan{answers: t.all(eos.Unavailable.Errorf("the connection broke"))} }
		}
	}
}

// detach leaves the session of a task to itself: its COMMIT arrives some time,
// and nobody hears of it.
func (w *world) detach(t *task) {
	late := *t
	late.proxy, late.held = nil, t.held
	if w.one(3) {
		late.since += int64(w.n(w.longest())) // PostgreSQL is slow to read it
	}
	for _, k := range t.held {
		w.db.locks[k] = &late
	}
	t.held = nil
	w.tasks = append(w.tasks, &late)
}

// late is the end of a session that nobody hears of.
func (w *world) late(t *task) {
	if t.since > w.db.now && !w.calm {
		return
	}
	if t.plan != nil {
		if !t.early && !w.lock(t) {
			return
		}
		ok := w.write(t)
		w.tracef("the COMMIT of %s arrives late (written: %v)", t.what, ok)
		if ok {
			w.count.Late++
		}
	}
	w.remove(t)
}

// wait gives up what waits too long.
func (w *world) wait(t *task) {
	switch {
	case t.again && w.db.now-t.lost > settleTime:
		w.giveUp(t, eos.Lost("the database did not answer the COMMIT and cannot be asked what became of it"))
	case !t.again && w.db.now-t.since > patientWait:
		w.giveUp(t, eos.Unavailable.Errorf("the database cannot be reached or refuses writes for now"))
	}
}

// giveUp answers all calls with an error. What is known of the database is
// dropped with each failure.
func (w *world) giveUp(t *task, err *eos.Error) {
	if t.wr != nil && w.mutant != FactsOutliveFailure {
		t.wr.facts = newFacts()
	}
	w.finish(t, t.all(err))
}

// all is one answer for all calls.
func (t *task) all(err *eos.Error) []*answer {
	return slices.Repeat([]*answer{{err: err}}, len(t.calls))
}

func (w *world) finish(t *task, answers []*answer) {
	w.remove(t)
	w.reply(t, answers)
}

func (w *world) reply(t *task, answers []*answer) {
	for i, c := range t.calls {
		if i < len(answers) {
			w.answer(c, answers[i])
		}
	}
}
