package traffic

import (
	"context"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

const retryPause = 50 * time.Millisecond

// sequenced is a client that produces under sequences. With a transactional id it registers anew from time to time,
// as a process does that was started again; clients that share one fence each other by that.
type sequenced struct {
	*producer
	takesTurns bool // reports whether others have the same transactional id
	done       shelf
}

func newSequenced(h *hand, transactionalID string, takesTurns bool) *sequenced {
	return &sequenced{producer: &producer{hand: h, transactionalID: transactionalID}, takesTurns: takesTurns}
}

func (s *sequenced) run(ctx context.Context) {
	h := s.hand
	for h.goesOn() {
		if s.id == 0 && !s.register(ctx) {
			return
		}
		switch n := h.rand.IntN(1000); {
		case n < 15:
			s.reuse(ctx)
		case n < 20:
			s.skip(ctx)
		case n < 45:
			s.repeat(ctx)
		case n < 50:
			s.repeatRegistration(ctx)
		case n < 52 && s.transactionalID != "" || n < 51:
			s.id = 0
		case n < 92:
			s.inFlight(ctx)
		case n < 102:
			s.gap(ctx)
		case n < 106:
			s.ahead(ctx)
		default:
			s.append(ctx)
		}
	}
}

// append appends new records, and says what came of it.
func (s *sequenced) append(ctx context.Context) {
	h := s.hand
	to := h.target(h.anyTopic())
	sc := scope{to.topic.Topic.Topic, to.scope}
	o := s.producer.append(to, h.count(), s.next[sc])
	a := h.settleOnceOrTwice(ctx, o)
	p := a.Produce
	switch {
	case a.Outcome == history.OK:
		s.next[sc] = p.Sequence + int64(p.Count)
		s.done.put(h, o)
		if h.chance(60) {
			h.readBack(ctx, p.Places)
		}
		if h.chance(20) {
			s.receipt(ctx, p)
		}
	case ctx.Err() != nil:
	default:
		s.refused(ctx, a)
	}
}

// refused is what a client does that was replaced, or whose idea of its sequence is wrong: it asks what became of its
// request, lets the other one work for a while, and starts again.
func (s *sequenced) refused(ctx context.Context, a *history.Attempt) {
	if a.Try > 1 {
		s.receipt(ctx, a.Produce)
	}
	s.id = 0
	if s.takesTurns {
		s.hand.rest(ctx, 20*time.Millisecond, time.Second)
	}
}

// repeat sends what is done once more, perhaps under a newer epoch.
func (s *sequenced) repeat(ctx context.Context) {
	o := s.done.any(s.hand)
	if o == nil {
		return
	}
	if s.transactionalID != "" && o.ask.Produce.Epoch != s.epoch && s.hand.chance(500) {
		o.ask.Produce = clone(o.ask.Produce)
		o.ask.Produce.Epoch = s.epoch
	}
	s.hand.try(ctx, o)
}

// reuse sends other records under sequences that have theirs: as many, fewer, or more, which would go on with new ones.
func (s *sequenced) reuse(ctx context.Context) {
	o := s.done.any(s.hand)
	if o == nil {
		return
	}
	n := o.ask.Produce.Count
	if s.hand.chance(400) {
		n = 1 + s.hand.rand.IntN(n+2)
	}
	s.hand.settle(ctx, s.hand.reuse(o, n))
}

// skip leaves sequences out: so many that the client will never come there, however late the request arrives.
func (s *sequenced) skip(ctx context.Context) {
	const far = 1 << 40
	to := s.hand.target(s.hand.anyTopic())
	sc := scope{to.topic.Topic.Topic, to.scope}
	s.hand.settle(ctx, s.producer.append(to, 1+s.hand.rand.IntN(3), s.next[sc]+far+int64(s.hand.rand.IntN(1000))))
}

// ahead sends records under an epoch that was never given out: one so high that no registration will come there.
func (s *sequenced) ahead(ctx context.Context) {
	const far = 1 << 40
	to := s.hand.target(s.hand.anyTopic())
	o := s.producer.append(to, 1+s.hand.rand.IntN(3), s.next[scope{to.topic.Topic.Topic, to.scope}])
	o.ask.Produce.Epoch += far
	s.hand.settle(ctx, o)
}
