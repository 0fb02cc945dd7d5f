package traffic

import (
	"context"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// oneShots is a client whose transactions are one request each.
type oneShots struct {
	*producer // that binds some of them
	solo      *solo
	done      shelf
}

func newOneShots(h *hand, transactionalID string) *oneShots {
	return &oneShots{producer: &producer{hand: h, transactionalID: transactionalID}, solo: h.newSolo(3)}
}

func (s *oneShots) run(ctx context.Context) {
	h := s.hand
	for h.goesOn() {
		if s.id == 0 && !s.register(ctx) {
			return
		}
		old := s.done.any(h)
		switch n := h.rand.IntN(1000); {
		case n < 20 && old != nil: // the id with other records
			t := clone(old.ask.Transaction)
			t.Pieces = h.pieces(2)
			h.settle(ctx, h.put(history.KindOneShot, t))
		case n < 50 && old != nil:
			h.try(ctx, old)
		case n < 90 && old != nil:
			h.try(ctx, h.simple(history.KindTxn, old.ask.Transaction.ID))
		case n < 95:
			s.mismatch(ctx)
		case n < 100:
			s.id = 0
		default:
			s.commit(ctx)
		}
	}
}

// commit makes a transaction of records, offsets or both.
func (s *oneShots) commit(ctx context.Context) {
	h := s.hand
	t := &history.Transaction{ID: h.t.name("txn"), Pieces: h.pieces(3)}
	if h.chance(300) {
		t.Producer, t.Epoch = s.id, s.epoch
	}
	if h.chance(400) {
		t.Offsets = s.solo.next(h)
	}
	o := h.put(history.KindOneShot, t)
	a := h.settleOnceOrTwice(ctx, o)
	switch {
	case a.Outcome == history.OK:
		s.solo.did(t.Offsets)
		s.done.put(h, o)
		if h.chance(60) {
			h.readBack(ctx, a.Transaction.Places)
		}
	case a.Code == "PRODUCER_FENCED":
		s.id = 0
	case ctx.Err() == nil && h.giveUp(ctx, o):
		s.solo.did(t.Offsets)
	}
}

// mismatch commits offsets, the first of them from where the group is not. All of it stays refused: the offset goes only
// up, beyond what this says.
func (s *oneShots) mismatch(ctx context.Context) {
	h := s.hand
	offsets := s.solo.next(h)
	if len(offsets) == 0 || offsets[0].From == 0 {
		return
	}
	offsets[0].From--
	h.settle(ctx, h.put(history.KindOneShot, &history.Transaction{
		ID: h.t.name("txn"), Pieces: h.pieces(1), Offsets: offsets,
	}))
}
