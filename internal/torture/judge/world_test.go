package judge_test

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// world is a perfect service, clients, and the network between them, which loses, delays and repeats: all of it in one
// goroutine, on a clock of its own, from a seed. What its clients would write down is a history without an anomaly.
type world struct {
	*rand.Rand
	*service
	now     int64
	events  events
	lines   []history.Line
	ops     int64
	values  int64
	done    bool // no more operations are begun
	smooth  bool // the network does not lose
	clients int
}

// event is something that happens at a time. Those of one time happen in the order in which they were planned.
type event struct {
	at, order int64
	do        func()
}

type events struct {
	list  []event
	order int64
}

func (e *events) Len() int { return len(e.list) }
func (e *events) Less(i, j int) bool {
	a, b := &e.list[i], &e.list[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}
func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *events) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *events) Pop() any {
	last := e.list[len(e.list)-1]
	e.list = e.list[:len(e.list)-1]
	return last
}

const millisecond = int64(1e6)

// after plans something.
func (w *world) after(delay int64, do func()) {
	w.events.order++
	heap.Push(&w.events, event{w.now + delay, w.events.order, do})
}

// between is a random time, in milliseconds.
func (w *world) between(from, to int64) int64 {
	return from*millisecond + w.Int64N((to-from)*millisecond)
}

// chance reports true in that many of a hundred cases.
func (w *world) chance(percent int) bool { return w.IntN(100) < percent }

// newOperation returns the number of a new operation.
func (w *world) newOperation() int64 { w.ops++; return w.ops }

// newValues returns the first of n values.
func (w *world) newValues(n int) history.Value {
	first := w.values + 1
	w.values += int64(n)
	return history.Value(first)
}

// send delivers one attempt, as well or badly as the network does, and calls answered with what the client knows of it
// when it returns.
func (w *world) send(a history.Attempt, apply func(a *history.Attempt), answered func(a *history.Attempt)) {
	a.Invoked = w.now
	a.Proxy = w.IntN(3)
	finish := func(a *history.Attempt) {
		a.Returned = w.now
		line := *a
		w.lines = append(w.lines, history.Line{Attempt: &line})
		answered(&line)
	}
	lost := func(why string) {
		w.after(w.between(200, 400), func() {
			a.Outcome, a.Error = history.Unknown, why
			finish(&a)
		})
	}
	arrive := func(delay int64, told func(a *history.Attempt)) {
		sent := a
		w.after(delay, func() {
			apply(&sent)
			if told != nil {
				told(&sent)
			}
		})
	}
	fate := w.IntN(100)
	if w.smooth {
		fate = 99
	}
	switch {
	case fate < 3:
		lost("the request was lost")
	case fate < 6:
		arrive(w.between(0, 5), nil)
		lost("the answer was lost")
	case fate < 9:
		arrive(w.between(0, 3000), nil)
		lost("the request came late")
	case fate < 11:
		a.Outcome, a.Error = history.Fail, "connection refused"
		w.after(w.between(0, 2), func() { finish(&a) })
	case fate < 13:
		w.after(w.between(0, 9), func() {
			a.Outcome, a.Status, a.Code, a.Effect = history.Fail, 503, "BROKER_NOT_AVAILABLE", "none"
			finish(&a)
		})
	default:
		if fate < 17 {
			arrive(w.between(0, 3000), nil)
			w.lines = append(w.lines, history.Line{Fault: &history.Fault{
				Kind: "twice", Began: w.now, Ended: w.now, Repeats: true, Operation: a.Operation,
			}})
		}
		arrive(w.between(0, 5), func(sent *history.Attempt) {
			w.after(w.between(0, 5), func() { finish(sent) })
		})
	}
}

// history is all lines, as text.
func text(lines []history.Line) *bytes.Reader {
	var b bytes.Buffer
	out := history.NewWriter(&b)
	for _, l := range lines {
		out.Write(l)
	}
	if err := out.Flush(); err != nil {
		panic(err)
	}
	return bytes.NewReader(b.Bytes())
}

// newWorld makes a world and lets it go on until its clients have begun that many operations, and all is quiet.
func newWorld(seed uint64, operations int64) *world { return newWorldThat(seed, operations, false) }

// newWorldThat is newWorld; if it forgets, records leave some of its topics.
func newWorldThat(seed uint64, operations int64, forgets bool) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), service: newService()}
	w.service.now = func() int64 { return w.now }
	w.lines = append(w.lines, history.Line{Run: &history.Run{Seed: seed, Version: "perfect"}})
	for _, t := range w.topicList {
		if t.Topic.Topic == "plain" || t.Topic.Topic == "keyed" {
			w.forget(t, forgets)
		}
		declared := t.Topic
		w.lines = append(w.lines, history.Line{Topic: &declared})
	}
	w.begin()
	w.goOn(func() bool { return w.ops >= operations })
	w.processRest()
	w.drain()
	return w
}

// goOn lets the world go on until enough was done, and all is quiet.
func (w *world) goOn(enough func() bool) {
	for w.done = false; len(w.events.list) > 0; {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
		w.done = w.done || enough()
	}
}

// processRest lets a last worker, whom the network does no harm, process what the others left.
func (w *world) processRest() {
	w.smooth, w.done = true, false
	w.now += 10_000 * millisecond // the others' sessions are over
	w.consume("processing", "", "output", "input")
	w.goOn(func() bool {
		for i, log := range w.topics["input"].logs {
			if w.group("processing").part("input", i).committed < int64(len(log)) {
				return false
			}
		}
		return true
	})
}

func (w *world) name(kind string) string {
	w.clients++
	return fmt.Sprintf("%s-%d", kind, w.clients)
}
