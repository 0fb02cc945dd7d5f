package judge_test

import (
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// refate says of a transaction how it stands in the end.
func (e *edit) refate(id, state, by string) {
	at := e.first(func(l *history.Line) bool { return l.End != nil })
	for i := range e.lines {
		if f := e.lines[i].Fate; f != nil && f.ID == id {
			f.State, f.By = state, by
			at = -1
		}
	}
	if at < 0 {
		return
	}
	for _, source := range []history.Source{history.HTTP, history.SQL} {
		e.lines = append(e.lines, history.Line{Fate: &history.Fate{Source: source, ID: id, State: state, By: by}})
	}
}

// registered plants a registration of the producer that is planted.
func (e *edit) registered(epoch, from, to int64) {
	a := e.answered(history.KindRegister, from, to)
	a.Status = 201
	a.Register = &history.Register{TransactionalID: "planted", Producer: 9_000_001, Epoch: epoch}
	e.insert(a)
}

// bound plants a producer and its transaction, which is ongoing.
func (e *edit) bound(epoch int64) {
	e.registered(epoch, 0, 1)
	a := e.answered(history.KindBegin, 0, 1)
	a.Status = 201
	a.Transaction = &history.Transaction{
		ID: "planted", Producer: 9_000_001, Epoch: epoch, Timeout: 60000, State: "ongoing",
	}
	e.insert(a)
}

// untold plants a request about a transaction that nobody knows else, which was accepted and told of a state.
func (e *edit) untold(kind history.Kind, state, by string) {
	a := e.answered(kind, 0, 1)
	if kind == history.KindBegin || kind == history.KindOneShot {
		a.Status = 201
	}
	a.Transaction = &history.Transaction{ID: "planted", Timeout: 60000, State: state, By: by}
	e.insert(a)
}

// look plants who asks for the state of a transaction.
func (e *edit) look(id, state, by string) {
	a := e.answered(history.KindTxn, 0, 1)
	a.Transaction = &history.Transaction{ID: id, State: state, By: by}
	e.insert(a)
}

func morePlantedInTransactions() []planted {
	return []planted{
		{judge.TwoFates, "a committed transaction goes on in the end", func(e *edit) bool {
			begin, _ := e.ended("committed", "")
			e.refate(begin.Transaction.ID, "ongoing", "")
			return true
		}},
		{judge.TwoFates, "an aborted transaction is not known in the end", func(e *edit) bool {
			begin, _ := e.ended("aborted", "client")
			e.refate(begin.Transaction.ID, "unknown", "")
			return true
		}},
		{judge.UncommittedRead, "the records of a transaction that goes on are in the log", func(e *edit) bool {
			put := e.answered(history.KindBegin, 0, 1)
			key := logKey{"plain", 0}
			put.Status = 201
			put.Transaction = &history.Transaction{
				ID: "planted", State: "ongoing", Timeout: 60000,
				Pieces: []history.Piece{{Topic: key.topic, First: 8_000_000, Count: 1}},
			}
			e.insert(put)
			commit := e.answered(history.KindCommit, 2, 3)
			commit.Outcome, commit.Status = history.Unknown, 0
			commit.Transaction = &history.Transaction{ID: "planted"}
			e.insert(commit)
			e.put(key, 8_000_000)
			e.refate("planted", "ongoing", "")
			return true
		}},
		{judge.WrongTransaction, "a transaction was aborted by fencing, and nobody registered", func(e *edit) bool {
			e.bound(0)
			e.look("planted", "aborted", "fencing")
			e.refate("planted", "aborted", "fencing")
			return true
		}},
		{judge.TwoFates, "a transaction was aborted by its client, and then by its timeout", func(e *edit) bool {
			begin, _ := e.ended("aborted", "client")
			e.look(begin.Transaction.ID, "aborted", "timeout")
			return true
		}},
		{judge.BadAnswer, "a transaction is accepted as a whole, and told to be open", func(e *edit) bool {
			e.untold(history.KindOneShot, "ongoing", "")
			return true
		}},
		{judge.BadAnswer, "a commit is accepted, and its transaction told to be aborted", func(e *edit) bool {
			e.untold(history.KindCommit, "aborted", "timeout")
			return true
		}},
		{judge.BadAnswer, "an abort is accepted, and its transaction told to be committed", func(e *edit) bool {
			e.untold(history.KindAbort, "committed", "")
			return true
		}},
		{judge.BadAnswer, "a transaction is begun, and told to be aborted", func(e *edit) bool {
			e.untold(history.KindBegin, "aborted", "timeout")
			return true
		}},
		{judge.FencingBroken, "records with a key were staged after their producer was fenced", func(e *edit) bool {
			e.bound(0)
			e.registered(1, 0, 1)
			a := e.answered(history.KindProduce, 0, 1)
			a.Produce = &history.Produce{
				Piece: history.Piece{Topic: "plain", First: 8_000_000, Count: 1}, Key: "k", Transaction: "planted",
				Places: []history.Place{{Topic: "plain", Offset: -1, Count: 1}},
			}
			e.insert(a)
			e.refate("planted", "aborted", "fencing")
			return true
		}},
		{judge.FencingBroken, "offsets were staged after their producer was fenced", func(e *edit) bool {
			e.bound(0)
			e.registered(1, 0, 1)
			a := e.answered(history.KindTxnOffsets, 0, 1)
			a.Transaction = &history.Transaction{
				ID: "planted", Offsets: []history.Commit{{Group: "planted", Topic: "plain", From: -1, Offset: 5}},
			}
			e.insert(a)
			e.refate("planted", "aborted", "fencing")
			return true
		}},
		{judge.FencingBroken, "a registration got an epoch below that of one but one before it", func(e *edit) bool {
			e.registered(2, 6, 10)
			now := e.now() - millisecond - 10 // when the times of the first began
			shift := now - e.now()
			e.registered(1, shift+5, shift+30)
			shift = now - e.now()
			e.registered(0, shift+20, shift+21)
			return true
		}},
		{judge.StuckTransaction, "a transaction goes on ten seconds after its timeout", func(e *edit) bool {
			e.bound(0)
			a := e.answered(history.KindTxn, 70_000*millisecond, 70_001*millisecond)
			a.Transaction = &history.Transaction{ID: "other", State: "ongoing"}
			e.insert(a)
			e.refate("planted", "ongoing", "")
			return true
		}},
		{judge.IdentityReused, "two contents of a transaction are in the log, one unanswered", func(e *edit) bool {
			e.unanswered(nil, logKey{"plain", 0})
			a := e.answered(history.KindOneShot, 0, 1)
			a.Status = 201
			a.Transaction = &history.Transaction{
				ID: "planted", State: "committed",
				Pieces: []history.Piece{{Topic: "plain", Partition: 1, First: 8_000_010, Count: 1}},
			}
			e.insert(a)
			e.put(logKey{"plain", 1}, 8_000_010)
			return true
		}},
	}
}
