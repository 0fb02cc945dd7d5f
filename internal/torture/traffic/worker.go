package traffic

import (
	"context"
	"fmt"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// worker is a member that processes: it polls the input, and writes to the output what it made of each record, and
// its new offsets with it, in one transaction. Results of a partition go to the partition of the same number.
type worker struct {
	*member
	stale []*operation // commits of members that are gone, to be repeated
}

func newWorker(h *hand, instance string) *worker {
	m := &member{hand: h, group: h.t.cfg.Prefix + workersGroup, instance: instance}
	m.topics = []string{h.t.topic(inputTopic).Topic.Topic}
	m.again()
	return &worker{member: m}
}

// run processes, in the end until nothing is left that anybody wrote: what a member had that died is for others after
// its session.
func (w *worker) run(ctx context.Context) {
	h := w.hand
	input := h.t.topic(inputTopic)
	for ctx.Err() == nil && (!h.t.isStill() || !input.isProcessed()) {
		if w.epoch == 0 && !w.begin(ctx) {
			return
		}
		if h.goesOn() {
			w.live(ctx)
			if w.epoch == 0 {
				continue
			}
		}
		a := w.poll(ctx, nil, nil, 20+h.rand.IntN(300))
		if a.Outcome != history.OK || !w.process(ctx, a.Member) && !h.goesOn() {
			rest(ctx, nil, retryPause)
			if h.t.isStill() { // who committed what is not polled any more may not have been told
				h.try(ctx, h.offsets(w.group))
			}
		}
	}
	w.leave(ctx)
}

func (w *worker) begin(ctx context.Context) bool {
	for !w.join(ctx) {
		if ctx.Err() != nil {
			return false
		}
		w.again()
	}
	return true
}

// live does what happens to processes.
func (w *worker) live(ctx context.Context) {
	h := w.hand
	switch n := h.rand.IntN(1000); {
	case n < 6:
		w.leave(ctx)
		w.again()
		h.rest(ctx, 0, time.Second)
	case n < 9: // it dies without a word
		if w.instance == "" {
			h.rest(ctx, 0, session)
		}
		w.again()
	case n < 30 && len(w.stale) > 0:
		h.try(ctx, w.stale[h.rand.IntN(len(w.stale))])
	}
}

// process writes what came of a poll. It reports whether there was anything.
func (w *worker) process(ctx context.Context, polled *history.Member) bool {
	h := w.hand
	switch n := h.rand.IntN(1000); {
	case n < 20:
		h.rest(ctx, 0, 500*time.Millisecond) // it computes
	case n < 24: // it is frozen, and commits when others have its partitions
		h.rest(ctx, session, session+2*time.Second)
	case n < 44:
		w.replaced(ctx, polled)
		return true
	}
	batches := [][]history.Polled{polled.Polled}
	if h.chance(300) { // each partition in a transaction of its own
		batches = nil
		for i := range polled.Polled {
			batches = append(batches, polled.Polled[i:i+1])
		}
	}
	did := false
	for _, b := range batches {
		pieces, offsets := w.results(b)
		if len(pieces) == 0 {
			continue
		}
		did = true
		if !w.commit(ctx, pieces, offsets) {
			break // what was polled is somebody else's by now, or done
		}
	}
	return did
}

// replaced has another process take the member's place, or the member join once more, before its results are committed
// under the epoch that it had.
func (w *worker) replaced(ctx context.Context, polled *history.Member) {
	pieces, offsets := w.results(polled.Polled)
	if w.instance != "" {
		w.again()
	}
	if !w.begin(ctx) || len(pieces) == 0 {
		return
	}
	t := &history.Transaction{ID: w.hand.t.name("work"), Pieces: pieces, Offsets: offsets}
	if a := w.hand.settle(ctx, w.hand.put(history.KindOneShot, t)); a.Outcome == history.OK {
		w.hand.t.processed(offsets)
	}
}

// results returns what came of polled records, a piece for each partition, and the offsets behind them.
func (w *worker) results(polled []history.Polled) (pieces []history.Piece, offsets []history.Commit) {
	out := w.hand.t.topic(outTopic).Topic.Topic
	for _, p := range polled {
		var sources []history.Value
		for _, s := range p.Spans {
			for i := range s.Count {
				if s.First != 0 { // else it is no record of the run, and is told of as that
					sources = append(sources, s.First+history.Value(i))
				}
			}
		}
		if len(sources) == 0 {
			continue
		}
		pieces = append(pieces, history.Piece{
			Topic: out, Partition: p.Partition, First: w.hand.t.values(len(sources)), Count: len(sources), Sources: sources,
		})
		offsets = append(offsets, history.Commit{
			Group: w.group, Member: w.id, Epoch: w.epoch, Topic: p.Topic, Partition: p.Partition,
			From: max(p.Committed, 0), Offset: p.Next,
		})
	}
	return pieces, offsets
}

// commit commits results with their offsets, and reports whether they are.
func (w *worker) commit(ctx context.Context, pieces []history.Piece, offsets []history.Commit) bool {
	h := w.hand
	if h.chance(100) {
		return w.commitStaged(ctx, pieces, offsets)
	}
	t := &history.Transaction{ID: w.transactionID(offsets), Pieces: pieces, Offsets: offsets}
	o := h.put(history.KindOneShot, t)
	a := h.settleOnceOrTwice(ctx, o)
	w.refused(a)
	if a.Outcome == history.OK {
		h.t.processed(offsets)
	}
	if h.chance(100) {
		w.stale = append(w.stale[max(0, len(w.stale)-20):], o)
	}
	return a.Outcome == history.OK
}

// transactionID returns an id that the same work of the same member has again, or one that nothing has.
func (w *worker) transactionID(offsets []history.Commit) string {
	if w.hand.chance(500) {
		return w.hand.t.name("work")
	}
	o := &offsets[0]
	return fmt.Sprintf("%s.%d.%d.%d-%d.%d", w.id, w.epoch, o.Partition, o.From, o.Offset, len(offsets))
}

// commitStaged does the same in several requests. What is refused is aborted.
func (w *worker) commitStaged(ctx context.Context, pieces []history.Piece, offsets []history.Commit) bool {
	h := w.hand
	id := h.t.name("work")
	begin := h.put(history.KindBegin, &history.Transaction{ID: id, Timeout: 20_000, Pieces: pieces})
	if a := h.settle(ctx, begin); a.Outcome != history.OK {
		return false
	}
	b := append(appendOffsets([]byte(`{"offsets":`), offsets), '}')
	a := h.settle(ctx, h.transaction(history.KindTxnOffsets, &history.Transaction{ID: id, Offsets: offsets}, b))
	if a.Outcome == history.OK {
		a = h.settle(ctx, h.simple(history.KindCommit, id))
	}
	if a.Outcome != history.OK && ctx.Err() == nil {
		h.settle(ctx, h.simple(history.KindAbort, id))
	}
	w.refused(a)
	if a.Outcome != history.OK {
		return false
	}
	h.t.processed(offsets)
	return true
}

// processed notes how far the input is processed.
func (t *Traffic) processed(offsets []history.Commit) {
	for _, o := range offsets {
		if tp := t.topics[o.Topic]; tp != nil && o.Partition < len(tp.done) {
			raise(&tp.done[o.Partition], o.Offset)
		}
	}
}

// refused takes over what a refused commit says of the member.
func (w *worker) refused(a *history.Attempt) {
	switch a.Code {
	case "UNKNOWN_MEMBER_ID", "FENCED_MEMBER_EPOCH":
		w.epoch = 0
	case "FENCED_INSTANCE_ID":
		w.again()
	}
}
