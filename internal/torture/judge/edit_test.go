package judge_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// edit is a clean history that a fault is planted into.
type edit struct {
	t      *testing.T
	lines  []history.Line
	logs   map[logKey][]history.Value // as they are drained, by HTTP and by SQL alike
	starts map[logKey]int64
	txns   map[string]string // states in the end
}

type logKey struct {
	topic     string
	partition int
}

// newEdit returns a history that shares nothing with the world it is from.
func newEdit(t *testing.T, w *world) *edit {
	t.Helper()
	e := &edit{t: t, logs: map[logKey][]history.Value{}, starts: map[logKey]int64{}, txns: map[string]string{}}
	if err := history.Lines(text(w.lines), func(_ int64, _ []byte, l *history.Line) error {
		e.lines = append(e.lines, *l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, l := range w.topicList {
		for i, values := range l.logs {
			e.logs[logKey{l.Topic.Topic, i}] = slices.Clone(values)
			e.starts[logKey{l.Topic.Topic, i}] = l.starts[i]
		}
	}
	for id, s := range w.txns {
		e.txns[id] = s.state
	}
	return e
}

// all returns the attempts that match, in the order of the history.
func (e *edit) all(match func(a *history.Attempt) bool) (list []*history.Attempt) {
	for _, l := range e.lines {
		if l.Attempt != nil && match(l.Attempt) {
			list = append(list, l.Attempt)
		}
	}
	return list
}

// errNoPlace is what a planter panics with if a history has no place for its fault.
var errNoPlace = errors.New("no place")

// one returns the last attempt that matches.
func (e *edit) one(match func(a *history.Attempt) bool) *history.Attempt {
	list := e.all(match)
	if len(list) == 0 {
		panic(errNoPlace)
	}
	return list[len(list)-1]
}

// tries returns the attempts of an operation.
func (e *edit) tries(operation int64) []*history.Attempt {
	return e.all(func(a *history.Attempt) bool { return a.Operation == operation })
}

// first returns the place of the first line that matches.
func (e *edit) first(match func(l *history.Line) bool) int {
	return slices.IndexFunc(e.lines, func(l history.Line) bool { return match(&l) })
}

// insert puts an attempt before the final logs, where its time belongs.
func (e *edit) insert(a history.Attempt) {
	at := e.first(func(l *history.Line) bool {
		return l.Log != nil || l.Attempt != nil && l.Attempt.Returned > a.Returned
	})
	e.lines = slices.Insert(e.lines, at, history.Line{Attempt: &a})
}

// remove takes out the attempts that match.
func (e *edit) remove(match func(a *history.Attempt) bool) {
	e.lines = slices.DeleteFunc(e.lines, func(l history.Line) bool { return l.Attempt != nil && match(l.Attempt) })
}

// undisturbed takes out the faults that were not of one request only.
func (e *edit) undisturbed() {
	e.lines = slices.DeleteFunc(e.lines, func(l history.Line) bool { return l.Fault != nil && l.Fault.Operation == 0 })
}

// now is when the last attempt returned, and a bit.
func (e *edit) now() (now int64) {
	for _, a := range e.all(func(*history.Attempt) bool { return true }) {
		now = max(now, a.Returned)
	}
	return now + millisecond
}

// operation returns the number of a new operation, far from the others.
func (e *edit) operation() int64 { return 1_000_000 + int64(len(e.lines)) }

// relog writes the final logs anew, after somebody changed e.logs.
func (e *edit) relog() {
	at := e.first(func(l *history.Line) bool { return l.Log != nil })
	e.lines = slices.DeleteFunc(e.lines, func(l history.Line) bool { return l.Log != nil })
	w := &world{}
	for _, source := range []history.Source{history.HTTP, history.SQL} {
		for _, topic := range []string{"plain", "keyed", "input", "output"} {
			for i := range 3 {
				if log, ok := e.logs[logKey{topic, i}]; ok {
					w.drainLog(source, topic, i, e.starts[logKey{topic, i}], log)
				}
			}
		}
	}
	e.lines = slices.Insert(e.lines, at, w.lines...)
}

// recount says at the end how many attempts there are.
func (e *edit) recount() {
	attempts := e.all(func(*history.Attempt) bool { return true })
	for _, l := range e.lines {
		if l.End != nil {
			l.End.Attempts = int64(len(attempts))
		}
	}
}

// home returns where a value is in the final logs.
func (e *edit) home(v history.Value) (at logKey, offset int) {
	for key, log := range e.logs {
		if i := slices.Index(log, v); i >= 0 {
			return key, i
		}
	}
	return logKey{}, -1
}

// committed changes what a group's committed offsets are in the end; change returns false to leave one as it is.
func (e *edit) committed(group string, change func(c *history.Committed) bool) (done bool) {
	for _, l := range e.lines {
		if l.Committed != nil && l.Committed.Group == group {
			done = change(l.Committed) || done
		}
	}
	return done
}

func isProduce(a *history.Attempt) bool { return a.Kind == history.KindProduce }

// acked reports whether an attempt is the answered produce request of one operation outside of transactions.
func acked(a *history.Attempt) bool {
	return isProduce(a) && a.Outcome == history.OK && a.Produce.Transaction == "" && !a.Replayed
}
