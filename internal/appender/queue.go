package appender

import "github.com/eos-proxy/eos-proxy/internal/store"

// queue holds operations that wait for a flush, in a lane for each topic. The
// lanes take turns, so that one that is flooded delays no other; within a lane
// the first to come is the first to go. Its methods cost what they move.
type queue struct {
	lanes map[int64]*lane
	turns []*lane // those that are not empty, in the order of their turns
	ops   int
	bytes int64
}

// lane is what waits for one topic.
type lane struct {
	topic   int64
	waiting []*waiting
	taken   int // of waiting, from its start
}

func newQueue() queue { return queue{lanes: map[int64]*lane{}} }

// topicOf returns the lane of an operation: the first topic that it appends
// to, or 0.
func topicOf(op *store.Op) int64 {
	if requests := op.Requests(); len(requests) > 0 {
		return requests[0].Topic.ID
	}
	return 0
}

func (q *queue) add(w *waiting) {
	topic := topicOf(w.op)
	l := q.lanes[topic]
	if l == nil {
		l = &lane{topic: topic}
		q.lanes[topic] = l
		q.turns = append(q.turns, l)
	}
	l.waiting = append(l.waiting, w)
	q.ops++
	q.bytes += w.bytes
}

// fill moves operations to the group, as far as one flush may carry them.
func (q *queue) fill(g *group) {
	for len(q.turns) > 0 && !g.full() {
		l := q.turns[0]
		if !l.empty() {
			q.move(l, g)
		}
		q.turns[0] = nil
		q.turns = q.turns[1:]
		if !l.empty() {
			q.turns = append(q.turns, l)
		} else {
			delete(q.lanes, l.topic)
		}
	}
}

// join moves operations to the group that fit, of the topics that it has: from
// each lane up to the first that does not. A lane that becomes empty stays until
// its turn comes.
func (q *queue) join(g *group, fits func(*store.Op) bool) {
	seen := map[int64]bool{}
	for _, w := range g.waiting {
		topic := topicOf(w.op)
		l := q.lanes[topic]
		if seen[topic] || l == nil {
			continue
		}
		seen[topic] = true
		for !l.empty() && !g.full() && fits(l.waiting[l.taken].op) {
			q.move(l, g)
		}
	}
}

// move moves the first operation of a lane to the group.
func (q *queue) move(l *lane, g *group) {
	w := l.waiting[l.taken]
	l.waiting[l.taken] = nil
	l.taken++
	q.ops--
	q.bytes -= w.bytes
	g.add(w)
}

// empty reports whether all that waited in the lane was taken.
func (l *lane) empty() bool { return l.taken == len(l.waiting) }

// all takes out everything.
func (q *queue) all() []*waiting {
	var taken []*waiting
	for _, l := range q.turns {
		taken = append(taken, l.waiting[l.taken:]...)
	}
	*q = newQueue()
	return taken
}

// group is what one flush carries.
type group struct {
	waiting []*waiting
	bytes   int64
}

// maxGroup bounds the operations of one flush, and maxGroupBytes their records.
const (
	maxGroup      = 2000
	maxGroupBytes = 8 << 20
)

func (g *group) add(w *waiting) {
	g.waiting = append(g.waiting, w)
	g.bytes += w.bytes
}

func (g *group) full() bool {
	return len(g.waiting) >= maxGroup || g.bytes >= maxGroupBytes
}
