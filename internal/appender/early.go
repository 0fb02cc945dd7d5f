package appender

import (
	"slices"
	"sort"
	"time"
)

// scope is where sequences count.
type scope struct{ producer, id int64 }

func (w *waiting) scope() scope { return scope{w.op.Append.ProducerID, w.op.Append.Scope()} }

// early holds requests whose predecessor may still arrive. It belongs to Run.
// What its operations cost follows what they return; of those that go on
// waiting they move no more than pointers.
type early struct {
	byScope map[scope][]*waiting // in the order of their sequences
	byTime  []*waiting           // in the order of their deadlines; also some that have left byScope
}

// add sets a request aside until its deadline, which never changes.
func (e *early) add(w *waiting, deadline time.Time) {
	if w.deadline.IsZero() {
		w.deadline = deadline
		e.byTime = append(e.byTime, w)
	}
	w.early = true
	at := w.scope()
	list := e.byScope[at]
	// Behind those of the same sequence: the first to come is the first to go.
	i := sort.Search(len(list), func(i int) bool { return list[i].op.Append.Sequence > w.op.Append.Sequence })
	e.byScope[at] = slices.Insert(list, i, w)
}

// after takes out those that can go on from the next sequence of a scope, each
// after its predecessor.
func (e *early) after(at scope, next int64) []*waiting {
	list := e.byScope[at]
	n := 0
	for n < len(list) && list[n].op.Append.Sequence <= next {
		next = max(next, list[n].op.Append.Sequence+int64(list[n].op.Append.RecordCount))
		list[n].early = false
		n++
	}
	taken := slices.Clone(list[:n])
	clear(list[:n])
	e.keep(at, list[n:])
	return taken
}

// over takes out those whose time is over.
func (e *early) over(now time.Time) []*waiting {
	var taken []*waiting
	n := 0
	for n < len(e.byTime) && !now.Before(e.byTime[n].deadline) {
		if w := e.byTime[n]; w.early {
			w.early = false
			at := w.scope()
			list := e.byScope[at]
			i := sort.Search(len(list), func(i int) bool { return list[i].op.Append.Sequence >= w.op.Append.Sequence })
			i += slices.Index(list[i:], w)
			e.keep(at, slices.Delete(list, i, i+1))
			taken = append(taken, w)
		}
		n++
	}
	clear(e.byTime[:n])
	e.byTime = e.byTime[n:]
	return taken
}

// all takes out everything.
func (e *early) all() []*waiting {
	var taken []*waiting
	for _, list := range e.byScope {
		taken = append(taken, list...)
	}
	clear(e.byScope)
	e.byTime = nil
	return taken
}

// untilNext returns how long it is until over has something to look at.
func (e *early) untilNext(now time.Time) time.Duration {
	if len(e.byTime) == 0 {
		return time.Hour
	}
	return max(e.byTime[0].deadline.Sub(now), 0)
}

func (e *early) keep(at scope, list []*waiting) {
	if len(list) == 0 {
		delete(e.byScope, at)
		return
	}
	e.byScope[at] = list
}
