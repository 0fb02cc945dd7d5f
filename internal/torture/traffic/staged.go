package traffic

import (
	"context"
	"maps"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// staged is a client whose transactions take several requests, and end in all ways that there are. Clients that share
// a transactional id abort each other's transactions by registering.
type staged struct {
	*producer
	takesTurns bool
	solo       *solo
	anew       bool // reports whether its idea of its sequences is wrong: it registers before the next transaction
}

func newStaged(h *hand, transactionalID string, takesTurns bool) *staged {
	return &staged{
		producer:   &producer{hand: h, transactionalID: transactionalID},
		takesTurns: takesTurns, solo: h.newSolo(2),
	}
}

func (s *staged) run(ctx context.Context) {
	h := s.hand
	for h.goesOn() {
		if s.id == 0 && !s.register(ctx) {
			return
		}
		s.one(ctx)
		if s.anew {
			s.id, s.anew = 0, false
		}
		switch n := h.rand.IntN(1000); {
		case n < 10:
			s.id = 0
		case n < 20:
			s.repeatRegistration(ctx)
		}
		if s.id == 0 && s.takesTurns {
			h.rest(ctx, 20*time.Millisecond, time.Second)
		}
	}
}

// The states of a transaction, in answers.
const (
	ongoing   = "ongoing"
	committed = "committed"
	aborted   = "aborted"
)

// open is a transaction that the client began.
type open struct {
	id      string
	begin   *operation
	bound   bool
	offsets []history.Commit // staged
	staged  []*operation     // produces that were answered
}

// one makes a transaction, from its beginning to its end. Sequences that it used count only if it is committed.
func (s *staged) one(ctx context.Context) {
	h := s.hand
	t := &history.Transaction{ID: h.t.name("txn"), Timeout: 20_000}
	bound := s.takesTurns || h.chance(600)
	if bound {
		t.Producer, t.Epoch = s.id, s.epoch
	}
	if h.chance(200) {
		t.Pieces = h.pieces(2)
	}
	abandoned := h.chance(60)
	if abandoned {
		t.Timeout = 1000 + h.rand.Int64N(2000)
	}
	x := &open{id: t.ID, begin: h.put(history.KindBegin, t), bound: bound}
	a := h.settleOnceOrTwice(ctx, x.begin)
	if a.Outcome != history.OK {
		if !s.fenced(a) && ctx.Err() == nil {
			h.giveUp(ctx, x.begin)
		}
		return
	}
	before := maps.Clone(s.next)
	s.stage(ctx, x)
	state := ""
	if abandoned {
		state = s.abandon(ctx, x)
	} else {
		state = s.end(ctx, x)
	}
	if state == committed {
		s.solo.did(x.offsets)
	} else {
		s.next = before
	}
	s.afterwards(ctx, x, state)
}

// isOfSequence reports whether a refusal says that a sequence is not the next one.
func isOfSequence(code string) bool {
	switch code {
	case "OUT_OF_ORDER_SEQUENCE_NUMBER", "DUPLICATE_SEQUENCE_NUMBER", "SEQUENCE_REUSED":
		return true
	default:
		return false
	}
}

// fenced reports whether the client was replaced. It registers then.
func (s *staged) fenced(a *history.Attempt) bool {
	replaced := a.Code == "PRODUCER_FENCED" || a.Transaction != nil && a.Transaction.By == "fencing"
	if replaced {
		s.id = 0
	}
	return replaced
}

// stage puts records and offsets into the transaction, until something is refused.
func (s *staged) stage(ctx context.Context, x *open) {
	h := s.hand
	if x.bound && h.chance(120) {
		s.beginAnother(ctx)
	}
	for range h.rand.IntN(5) {
		a := s.produce(ctx, x, h.settleOnceOrTwice)
		if a.Outcome != history.OK {
			s.fenced(a)
			s.anew = s.anew || isOfSequence(a.Code)
			return
		}
		if h.chance(40) {
			s.reuse(ctx, x)
		}
		if x.bound && s.id != 0 && h.chance(80) {
			s.appendOutside(ctx, a.Produce)
		}
	}
	if offsets := s.solo.next(h); offsets != nil && h.chance(300) {
		b := append(appendOffsets([]byte(`{"offsets":`), offsets), '}')
		o := h.transaction(history.KindTxnOffsets, &history.Transaction{ID: x.id, Offsets: offsets}, b)
		if a := h.settleOnceOrTwice(ctx, o); a.Outcome == history.OK {
			x.offsets = offsets
		}
	}
}

// produce stages records: in a bound transaction most of them under a sequence, else under a key. There are none
// without an identity: a late copy of such a request would stage its records again.
func (s *staged) produce(
	ctx context.Context, x *open, send func(context.Context, *operation) *history.Attempt,
) *history.Attempt {
	h := s.hand
	to := h.target(h.anyTopic())
	sc := scope{to.topic.Topic.Topic, to.scope}
	o := h.produceSized(to, 1+h.rand.IntN(4), h.size())
	p := o.ask.Produce
	p.Transaction = x.id
	if x.bound && s.id != 0 && h.chance(800) {
		s.sign(o, s.next[sc])
	} else {
		p.Key = h.t.name("key")
	}
	a := send(ctx, o)
	if a.Outcome == history.OK {
		x.staged = append(x.staged, o)
		if p.Producer != 0 {
			s.next[sc] += int64(p.Count)
		}
	}
	return a
}

// reuse sends other records under an identity that the open transaction has, its own or that of staged records, which
// is refused.
func (s *staged) reuse(ctx context.Context, x *open) {
	h := s.hand
	if t := clone(x.begin.ask.Transaction); len(t.Pieces) > 0 && h.chance(500) {
		t.Pieces = h.pieces(2)
		s.fenced(h.settle(ctx, h.put(history.KindBegin, t)))
		return
	}
	older := x.staged[h.rand.IntN(len(x.staged))]
	s.fenced(h.settle(ctx, h.reuse(older, older.ask.Produce.Count)))
}

// beginAnother begins a second transaction while one is open, which is refused.
func (s *staged) beginAnother(ctx context.Context) {
	h := s.hand
	k := history.KindBegin
	t := &history.Transaction{ID: h.t.name("txn"), Producer: s.id, Epoch: s.epoch, Timeout: 5000}
	if h.chance(500) {
		k, t.Pieces = history.KindOneShot, h.pieces(2)
	}
	o := h.put(k, t)
	if a := h.settle(ctx, o); a.Outcome != history.OK && ctx.Err() == nil {
		h.giveUp(ctx, o)
	}
}

// appendOutside appends where the last records of the open transaction are, under the sequence behind them, but not in
// the transaction, which is refused: else its abort would leave a gap before them. Should a late copy of it come when
// the transaction has ended, it takes that sequence, and the client is told so by the next refusal.
func (s *staged) appendOutside(ctx context.Context, last *history.Produce) {
	h := s.hand
	o := s.producer.append(h.targetOf(last), 1+h.rand.IntN(4), s.next[scope{last.Topic, last.Scope}])
	a := h.settle(ctx, o)
	s.fenced(a)
	s.anew = s.anew || a.Outcome == history.OK // the transaction was aborted meanwhile
}

// end commits or aborts, and returns what came of it.
func (s *staged) end(ctx context.Context, x *open) string {
	h := s.hand
	commit, abort := h.simple(history.KindCommit, x.id), h.simple(history.KindAbort, x.id)
	var a *history.Attempt
	switch n := h.rand.IntN(100); {
	case n < 60:
		a = h.settleOnceOrTwice(ctx, commit)
	case n < 72:
		a = h.twice(ctx, commit)
	case n < 88:
		a = h.settleOnceOrTwice(ctx, abort)
	default:
		var second *history.Attempt
		if a, second = h.race(ctx, commit, abort); !settled(a) {
			a = second
		}
		if !settled(a) {
			a = h.settle(ctx, commit)
		}
	}
	s.fenced(a)
	switch state := a.Transaction.State; {
	case state == committed, state == aborted:
		return state
	case ctx.Err() != nil:
		return ""
	}
	return s.settleFate(ctx, abort) // a refused commit leaves it open
}

// settleFate aborts, and returns what the transaction's fate is.
func (s *staged) settleFate(ctx context.Context, abort *operation) string {
	a := s.hand.settle(ctx, abort)
	s.fenced(a)
	return a.Transaction.State
}

// abandon waits until the service has aborted the transaction.
func (s *staged) abandon(ctx context.Context, x *open) string {
	h := s.hand
	for range 60 {
		rest(ctx, nil, 300*time.Millisecond)
		a := h.settle(ctx, h.simple(history.KindTxn, x.id))
		s.fenced(a)
		if state := a.Transaction.State; state != ongoing {
			return state
		}
		if ctx.Err() != nil {
			return ""
		}
	}
	return s.settleFate(ctx, h.simple(history.KindAbort, x.id))
}

// afterwards sends what comes too late for a transaction that has ended: repeats, the other end, more records.
func (s *staged) afterwards(ctx context.Context, x *open, state string) {
	h := s.hand
	if state != committed && state != aborted || !h.chance(150) {
		return
	}
	switch h.rand.IntN(6) {
	case 0:
		h.try(ctx, h.simple(history.KindCommit, x.id))
	case 1:
		h.try(ctx, h.simple(history.KindAbort, x.id))
	case 2:
		s.produceLate(ctx, x)
	case 3:
		if len(x.staged) > 0 {
			h.try(ctx, x.staged[h.rand.IntN(len(x.staged))])
		}
	default:
		h.settle(ctx, h.simple(history.KindTxn, x.id))
	}
}

// produceLate stages records into a transaction that has ended.
func (s *staged) produceLate(ctx context.Context, x *open) {
	late := &open{id: x.id}
	s.produce(ctx, late, s.hand.settle)
}
