package judge_test

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// put begins a transaction, or does it at once.
func (s *service) put(a *history.Attempt) {
	s.expire()
	q := *a.Transaction
	a.Transaction = &q
	once := a.Kind == history.KindOneShot
	if t := s.txns[q.ID]; t != nil {
		switch {
		case t.content == nil && t.state == "aborted" || !samePieces(t.content, q.Pieces):
			if t.content == nil {
				fail(a, 409, "INVALID_TXN_STATE")
			} else {
				fail(a, 422, "TRANSACTION_ID_REUSED")
			}
			q.State, q.By = t.state, t.by
		default:
			a.Replayed = t.state != "ongoing"
			s.answer(a, t, 200)
		}
		return
	}
	p := s.byID[q.Producer]
	switch {
	case p != nil && q.Epoch < p.epoch:
		fail(a, 412, "PRODUCER_FENCED")
		return
	case p != nil && p.open != nil:
		fail(a, 409, "CONCURRENT_TRANSACTIONS")
		return
	}
	t := &storedTxn{
		id:       q.ID,
		producer: p,
		state:    "ongoing",
		content:  append([]history.Piece{}, q.Pieces...),
		commits:  q.Offsets,
	}
	if code, status := s.checkOffsets(q.Offsets); code != "" {
		fail(a, status, code)
		return
	}
	for _, piece := range q.Pieces {
		t.parts = append(t.parts, s.route(piece)...)
	}
	t.until = s.now() + q.Timeout*millisecond
	s.txns[q.ID] = t
	if once {
		s.commit(t)
	} else {
		s.ongoing = append(s.ongoing, t)
	}
	if !once && p != nil {
		p.open = t
	}
	s.answer(a, t, 201)
}

func samePieces(a, b []history.Piece) bool {
	return slices.EqualFunc(a, b, func(a, b history.Piece) bool { return a.First == b.First && a.Count == b.Count })
}

// tell answers how a transaction stands.
func (s *service) answer(a *history.Attempt, t *storedTxn, status int) {
	a.Transaction.State, a.Transaction.By, a.Transaction.Places = t.state, t.by, t.places
	ok(a, status)
}

// end is a commit, an abort, or only a look.
func (s *service) end(a *history.Attempt) {
	s.expire()
	q := *a.Transaction
	a.Transaction = &q
	t := s.txns[q.ID]
	switch {
	case t == nil && a.Kind == history.KindAbort:
		t = &storedTxn{id: q.ID, state: "aborted", by: "client"}
		s.txns[q.ID] = t
		s.answer(a, t, 200)
		return
	case t == nil:
		fail(a, 404, "TRANSACTIONAL_ID_NOT_FOUND")
		return
	}
	wanted := map[history.Kind]string{history.KindCommit: "committed", history.KindAbort: "aborted"}[a.Kind]
	switch {
	case wanted == "":
	case t.state == "ongoing" && wanted == "committed":
		if code, status := s.checkOffsets(t.commits); code != "" {
			fail(a, status, code)
			return
		}
		s.commit(t)
	case t.state == "ongoing":
		s.abort(t, "client")
	case t.state != wanted:
		fail(a, 409, "INVALID_TXN_STATE")
		q.State, q.By = t.state, t.by
		return
	default:
		a.Replayed = true
	}
	s.answer(a, t, 200)
}

func (s *service) commit(t *storedTxn) {
	t.state = "committed"
	slices.SortStableFunc(t.parts, func(a, b stagedPart) int {
		return slices.Compare(
			[]string{a.topic, string(rune(a.partition))},
			[]string{b.topic, string(rune(b.partition))},
		)
	})
	for _, at := range s.appendParts(t.parts, 0) {
		at.Indexes = nil
		if n := len(t.places) - 1; n >= 0 && t.places[n].Topic == at.Topic && t.places[n].Partition == at.Partition {
			t.places[n].Count += at.Count
			continue
		}
		t.places = append(t.places, at)
	}
	s.commitOffsets(t.commits)
	if t.producer != nil && t.producer.open == t {
		t.producer.open = nil
	}
}

func (s *service) abort(t *storedTxn, by string) {
	t.state, t.by = "aborted", by
	for _, undo := range slices.Backward(t.undo) {
		undo()
	}
	if t.producer != nil && t.producer.open == t {
		t.producer.open = nil
	}
}

// expire aborts what went on for too long. Everybody who looks at a transaction calls it first.
func (s *service) expire() {
	s.ongoing = slices.DeleteFunc(s.ongoing, func(t *storedTxn) bool {
		if t.state == "ongoing" && t.until < s.now() {
			s.abort(t, "timeout")
		}
		return t.state != "ongoing"
	})
}
