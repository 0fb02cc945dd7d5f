package judge_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// receipt tells where the request with a sequence is.
func (s *service) receipt(a *history.Attempt) {
	q := *a.Produce
	a.Produce = &q
	id := fmt.Sprintf("sequence %d %s %d ", q.Producer, q.Topic, q.Scope)
	for back := range int64(60) {
		known := s.stored[id+fmt.Sprint(q.Sequence-back)]
		if known != nil && known.next > q.Sequence && known.places[0].Offset >= 0 {
			q.Places, q.Base, q.Recorded = known.places, q.Sequence-back, known.epoch
			q.Count = int(known.next - q.Base)
			ok(a, 200)
			return
		}
	}
	fail(a, 404, "NOT_FOUND")
}

// stream appends what of an upload is not stored yet, in two batches at most, and perhaps not all of it.
func (s *service) stream(a *history.Attempt) {
	q := *a.Produce
	a.Produce = &q
	at := scopeKey{q.Producer, q.Topic, q.Scope}
	stored := s.next[at] - q.Sequence
	if stored < 0 {
		fail(a, 409, "OUT_OF_ORDER_SEQUENCE_NUMBER")
		return
	}
	total := int64(q.Count)
	for stored < total {
		n := min(total-stored, 1+total/2)
		part := q.Piece
		part.First, part.Count = q.First+history.Value(stored), int(n)
		// The whole upload picks one partition, or each record its own.
		parts := s.route(part)
		if q.Partition < 0 && s.topics[q.Topic].Keys == 0 {
			parts = []stagedPart{{q.Topic, 0, parts[0].values}}
		}
		for _, p := range s.appendParts(parts, q.First) {
			if p.Indexes == nil {
				for i := range p.Count {
					p.Indexes = append(p.Indexes, int(stored)+i)
				}
			}
			q.Places = append(q.Places, p)
		}
		stored += n
		s.next[at] += n
		if s.now()%5 == 0 {
			break
		}
	}
	q.Next = q.Sequence + stored
	if stored < total {
		a.Outcome, a.Error = history.Unknown, "the upload broke"
		return
	}
	ok(a, 200)
}

// follow reads all partitions from a cursor on.
func (s *service) follow(a *history.Attempt) {
	q := *a.Read
	a.Read = &q
	t := s.topics[q.Topic]
	at := slices.Clone(t.starts)
	if q.Cursor != "" {
		for i, part := range strings.Split(q.Cursor, "-") {
			if _, err := fmt.Sscan(part, &at[i]); err != nil {
				panic(err)
			}
		}
	}
	for i := range t.logs {
		if at[i] < t.starts[i] {
			q.NextAt = cursorAt(t.starts)
			fail(a, 410, "OFFSET_OUT_OF_RANGE")
			return
		}
	}
	for i, log := range t.logs {
		end := min(int64(len(log)), at[i]+7)
		q.Spans = append(q.Spans, spans(i, log, at[i], end)...)
		at[i] = end
	}
	q.NextAt = cursorAt(at)
	ok(a, 200)
}

func cursorAt(offsets []int64) string {
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(offsets), "[]")), "-")
}

// drain writes down what is left in the end.
func (w *world) drain() {
	for _, source := range []history.Source{history.HTTP, history.SQL} {
		for _, t := range w.topicList {
			for i, log := range t.logs {
				w.drainLog(source, t.Topic.Topic, i, t.starts[i], log)
			}
		}
		ids := make([]string, 0, len(w.txns))
		for id := range w.txns {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for _, id := range ids {
			t := w.txns[id]
			w.lines = append(
				w.lines,
				history.Line{Fate: &history.Fate{Source: source, ID: id, State: t.state, By: t.by}},
			)
		}
		w.drainOffsets(source)
	}
	attempts := int64(0)
	for _, l := range w.lines {
		if l.Attempt != nil {
			attempts++
		}
	}
	w.lines = append(w.lines, history.Line{End: &history.End{Attempts: attempts, Took: w.now}})
}

// drainLog writes a log in pieces.
func (w *world) drainLog(source history.Source, topic string, partition int, start int64, log []history.Value) {
	const piece = 1000
	for from := int(start); ; from += piece {
		to := min(len(log), from+piece)
		w.lines = append(w.lines, history.Line{Log: &history.Log{
			Source: source, Topic: topic, Partition: partition, Start: int64(from), End: int64(to),
			Spans: spans(partition, log, int64(from), int64(to)), Last: to == len(log),
		}})
		if to == len(log) {
			return
		}
	}
}
