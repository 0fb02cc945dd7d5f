package traffic

import (
	"context"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// neighbours returns two operations that follow each other in one scope.
func (s *sequenced) neighbours() (first, next *operation) {
	h := s.hand
	to := h.target(h.anyTopic())
	n := h.count()
	first = s.producer.append(to, n, s.next[scope{to.topic.Topic.Topic, to.scope}])
	// The size that a request has by chance may be another one than was asked for.
	after := first.ask.Produce.Sequence + int64(first.ask.Produce.Count)
	return first, s.producer.append(to, h.count(), after)
}

// inFlight has two requests in flight that follow each other, from two hands, to one proxy or two. One of them begins
// a little earlier, maybe the one that has to wait for the other.
func (s *sequenced) inFlight(ctx context.Context) {
	h := s.hand
	first, next := s.neighbours()
	if h.chance(300) {
		h.move()
	}
	other := h.other()
	if other.proxy = h.proxy; h.chance(400) {
		other.move()
	}
	const early = 60 * time.Millisecond // less than the service waits for a predecessor, by default
	lead := time.Duration(h.rand.Int64N(int64(2*early))) - early
	var both sync.WaitGroup
	both.Go(func() {
		rest(ctx, nil, lead)
		a := next.attempt()
		other.send(ctx, a, next.request(a), next.read)
	})
	rest(ctx, nil, -lead)
	a := first.attempt()
	h.send(ctx, a, first.request(a), first.read)
	both.Wait()
	if !settled(a) {
		a = h.settle(ctx, first)
	}
	s.goOn(ctx, first, next, a)
}

// gap sends a request before its predecessor, which is refused, and once more behind it.
func (s *sequenced) gap(ctx context.Context) {
	first, next := s.neighbours()
	s.hand.settle(ctx, next)
	s.goOn(ctx, first, next, s.hand.settle(ctx, first))
}

// goOn settles the second of two neighbours, of which the first has come to a. A repeat of what was appended is told
// so; what was refused because it came too early is appended now.
func (s *sequenced) goOn(ctx context.Context, first, next *operation, a *history.Attempt) {
	for _, o := range []*operation{first, next} {
		if o == next {
			a = s.hand.settle(ctx, next)
		}
		switch p := a.Produce; {
		case a.Outcome == history.OK:
			s.next[scope{p.Topic, p.Scope}] = p.Sequence + int64(p.Count)
			s.done.put(s.hand, o)
		case ctx.Err() != nil:
			return
		default:
			s.refused(ctx, a)
			return
		}
	}
}
