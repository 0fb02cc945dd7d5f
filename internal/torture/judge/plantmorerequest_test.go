package judge_test

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// receipt returns a receipt that was given, of a request of several records or of one.
func (e *edit) receipt(match func(a *history.Attempt) bool) *history.Attempt {
	return e.one(func(a *history.Attempt) bool {
		return a.Kind == history.KindReceipt && a.Outcome == history.OK && match(a)
	})
}

// refused returns a produce request of the producer that is planted, which was refused.
func (e *edit) refused(status int, code string, epoch int64) history.Attempt {
	a := e.answered(history.KindProduce, 0, 1)
	a.Outcome, a.Status, a.Code, a.Effect = history.Fail, status, code, "none"
	a.Produce = &history.Produce{
		Piece:    history.Piece{Topic: "plain", First: 8_000_000, Count: 1},
		Producer: 9_000_001, Epoch: epoch, Expected: -1,
	}
	return a
}

// accepted puts in a produce request of the producer that is planted, which was accepted under an epoch.
func (e *edit) accepted(epoch int64) {
	key := logKey{"plain", 0}
	a := e.refused(200, "", epoch)
	a.Outcome, a.Effect = history.OK, ""
	a.Produce.Next = 1
	a.Produce.Places = []history.Place{{Topic: key.topic, Offset: int64(len(e.logs[key])), Count: 1}}
	e.insert(a)
	e.put(key, a.Produce.First)
}

func morePlantedInRequests() []planted {
	return []planted{
		{judge.AckDiffers, "a receipt is that of another request of the same producer", func(e *edit) bool {
			a := e.receipt(func(a *history.Attempt) bool { return a.Produce.Base > 0 })
			other := e.one(func(b *history.Attempt) bool {
				return acked(b) && b.Produce.Producer == a.Produce.Producer && b.Produce.Sequence != a.Produce.Base &&
					b.Produce.Topic == a.Produce.Topic && b.Produce.Scope == a.Produce.Scope
			})
			a.Produce.Places = other.Produce.Places
			return true
		}},
		{judge.AckDiffers, "a receipt tells of a part of the request", func(e *edit) bool {
			a := e.receipt(func(a *history.Attempt) bool { return a.Produce.Places[0].Count > 1 })
			a.Produce.Places[0].Count--
			return true
		}},
		{judge.AckDiffers, "a receipt tells of an epoch that nobody sent it under", func(e *edit) bool {
			e.receipt(func(*history.Attempt) bool { return true }).Produce.Recorded += 7
			return true
		}},
		{judge.BadAnswer, "an acknowledgement tells another next sequence than the one behind its records", func(e *edit) bool {
			e.one(func(a *history.Attempt) bool {
				return acked(a) && a.Produce.Producer != 0 && len(e.tries(a.Operation)) == 1
			}).Produce.Next++
			return true
		}},
		{judge.RefusedWrongly, "there is no receipt of a request's last record", func(e *edit) bool {
			a := e.receipt(func(a *history.Attempt) bool { return a.Produce.Sequence > a.Produce.Base })
			a.Outcome, a.Status, a.Code, a.Produce.Places = history.Fail, 404, "NOT_FOUND", nil
			return true
		}},
		{judge.RefusedWrongly, "a fresh epoch is fenced", func(e *edit) bool {
			e.registered(3, 0, 1)
			e.insert(e.refused(412, "PRODUCER_FENCED", 3))
			return true
		}},
		{judge.RefusedWrongly, "a producer that was registered is not known", func(e *edit) bool {
			e.registered(3, 0, 1)
			e.insert(e.refused(409, "UNKNOWN_PRODUCER_ID", 3))
			return true
		}},
		{judge.FencingBroken, "an epoch that was never given out is accepted", func(e *edit) bool {
			e.registered(3, 0, 1)
			e.accepted(4)
			return true
		}},
		{judge.FencingBroken, "an epoch that nobody can have been given is accepted, and requests come twice", func(e *edit) bool {
			e.lines = slices.Insert(e.lines, 1, history.Line{Fault: &history.Fault{Kind: "again", Repeats: true}})
			e.registered(3, 0, 1)
			e.accepted(3 + 1<<40)
			return true
		}},
		{judge.RefusedWrongly, "an epoch that was given out is too high", func(e *edit) bool {
			e.registered(3, 0, 1)
			e.insert(e.refused(409, "INVALID_PRODUCER_EPOCH", 3))
			return true
		}},
		{judge.RefusedWrongly, "a topic that was made does not exist", func(e *edit) bool {
			e.insert(e.refused(404, "UNKNOWN_TOPIC_OR_PARTITION", 3))
			return true
		}},
		{judge.RefusedWrongly, "a request like all others is malformed", func(e *edit) bool {
			e.insert(e.refused(400, "INVALID_REQUEST", 3))
			return true
		}},
		{judge.RefusedWrongly, "records are refused for a transaction that nobody ended", func(e *edit) bool {
			e.bound(3)
			a := e.refused(409, "INVALID_TXN_STATE", 3)
			a.Produce.Transaction = "planted"
			e.insert(a)
			return true
		}},
		{judge.RefusedWrongly, "a transaction that was begun is not found", func(e *edit) bool {
			e.bound(3)
			a := e.refused(404, "TRANSACTIONAL_ID_NOT_FOUND", 3)
			a.Produce.Transaction = "planted"
			e.insert(a)
			return true
		}},
		{judge.RefusedWrongly, "a member is not known just after it joined", func(e *edit) bool {
			a := e.answered(history.KindJoin, 0, 1)
			a.Status = 201
			a.Member = &history.Member{
				Group: "planted", Member: "m", Topics: []string{"plain"}, Session: 6000, NewEpoch: 1,
			}
			e.insert(a)
			a = e.answered(history.KindHeartbeat, 0, 1)
			a.Outcome, a.Status, a.Code = history.Fail, 404, "UNKNOWN_MEMBER_ID"
			a.Member = &history.Member{Group: "planted", Member: "m", Epoch: 1}
			e.insert(a)
			return true
		}},
		{judge.IdentityReused, "two requests with one key are in the log, one of which nobody was told", func(e *edit) bool {
			for v := history.Value(8_000_000); v < 8_000_002; v++ {
				key := logKey{"plain", int(v % 2)}
				a := e.refused(200, "", 0)
				a.Outcome = []history.Outcome{history.OK, history.Unknown}[v%2]
				a.Produce = &history.Produce{
					Piece: history.Piece{Topic: key.topic, Partition: key.partition, First: v, Count: 1}, Key: "planted",
				}
				if a.Outcome == history.OK {
					a.Produce.Places = []history.Place{{Topic: "plain", Offset: int64(len(e.logs[key])), Count: 1}}
				}
				e.insert(a)
				e.put(key, v)
			}
			return true
		}},
		{judge.SequenceGap, "a sequence was acknowledged before that before it was sent", func(e *edit) bool {
			e.registered(0, 0, 1)
			key := logKey{"plain", 0}
			for i, sequence := range []int64{1, 0} {
				a := e.refused(200, "", 0)
				a.Outcome = history.OK
				a.Produce.First, a.Produce.Sequence = history.Value(8_000_000+i), sequence
				a.Produce.Next = sequence + 1
				a.Produce.Places = []history.Place{{Topic: "plain", Offset: int64(len(e.logs[key])), Count: 1}}
				e.insert(a)
				e.put(key, a.Produce.First)
			}
			return true
		}},
	}
}
