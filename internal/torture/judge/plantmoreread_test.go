package judge_test

import (
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// unanswered plants a transaction in one request that nobody was answered; it is committed, with one record in each of
// these logs.
func (e *edit) unanswered(offsets []history.Commit, keys ...logKey) {
	a := e.answered(history.KindOneShot, -1000, -999)
	a.Outcome, a.Status = history.Unknown, 0
	a.Transaction = &history.Transaction{ID: "planted", Offsets: offsets}
	for i, key := range keys {
		v := history.Value(8_000_000 + i)
		a.Transaction.Pieces = append(
			a.Transaction.Pieces, history.Piece{Topic: key.topic, Partition: key.partition, First: v, Count: 1})
		e.logs[key] = append(e.logs[key], v)
	}
	e.insert(a)
	e.relog()
	e.refate("planted", "committed", "")
}

// fetchEnd plants a fetch of what is at an end of a log: as it is, or without its last record.
func (e *edit) fetchEnd(key logKey, whole bool) {
	end := int64(len(e.logs[key]))
	a := e.answered(history.KindFetch, 0, 1)
	a.Read = &history.Read{
		Topic: key.topic, Partition: key.partition, Reader: "planted", Offset: end - 1, Next: end - 1, End: end - 1,
	}
	if whole {
		a.Read.Next, a.Read.End = end, end
		a.Read.Spans = []history.Span{
			{Partition: key.partition, Offset: end - 1, First: e.logs[key][end-1], Count: 1},
		}
	}
	e.insert(a)
}

func morePlantedInReads() []planted {
	one, other := logKey{"plain", 0}, logKey{"plain", 1}
	moved := []history.Commit{{Group: "planted", Topic: "plain", From: -1, Offset: 5}}
	return []planted{
		{judge.StaleRead, "a transaction was seen in one partition, and not in another", func(e *edit) bool {
			e.unanswered(nil, one, other)
			e.fetchEnd(one, true)
			e.fetchEnd(other, false)
			return true
		}},
		{judge.StaleRead, "an offset of a transaction was read, and its records not", func(e *edit) bool {
			e.unanswered(moved, other)
			a := e.answered(history.KindOffsets, 0, 1)
			a.Offsets = &history.Offsets{Group: "planted", Offsets: moved}
			e.insert(a)
			e.fetchEnd(other, false)
			return true
		}},
		{judge.StaleRead, "who waited for what was acknowledged meanwhile is told that nothing came", func(e *edit) bool {
			e.undisturbed()
			end := int64(len(e.logs[one]))
			w := e.answered(history.KindFetch, 0, 4_000*millisecond)
			w.Read = &history.Read{
				Topic: one.topic, Partition: one.partition, Reader: "planted", Offset: end, Wait: 4_000, Next: end, End: end,
			}
			a := e.answered(history.KindProduce, millisecond, 2*millisecond)
			a.Produce = &history.Produce{
				Piece: history.Piece{Topic: one.topic, Partition: one.partition, First: 8_000_000, Count: 1},
				Key:   "planted", Places: []history.Place{{Topic: one.topic, Partition: one.partition, Offset: end, Count: 1}},
			}
			e.insert(w)
			a.Operation++
			e.insert(a)
			e.put(one, 8_000_000)
			return true
		}},
		{judge.StaleRead, "a poll brings nothing of what was acknowledged", func(e *edit) bool {
			a := e.answered(history.KindPoll, 0, 1)
			a.Member = &history.Member{
				Group: "planted", Member: "m", Epoch: 1, NewEpoch: 1,
				Assignment: []history.Assignment{{Topic: one.topic, Partitions: []int{one.partition}}},
			}
			e.insert(a)
			return true
		}},
	}
}
