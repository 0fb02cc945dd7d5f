package judge_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// TestFaultsThatShowElsewhereAreCaughtToo plants faults whose names have another one on the page.
func TestFaultsThatShowElsewhereAreCaughtToo(t *testing.T) {
	t.Parallel()
	worlds := map[uint64]*world{}
	for _, p := range morePlanted() {
		v, seed := plant(t, worlds, p)
		if v == nil {
			t.Errorf("%s, %s: no history has a place for it", p.name, p.how)
			continue
		}
		if v.Totals[p.name] == 0 {
			var out bytes.Buffer
			_ = v.Write(&out)
			t.Errorf("%s, %s: not found in seed %d: %s", p.name, p.how, seed, &out)
		}
	}
}

func morePlanted() []planted {
	return slices.Concat(
		morePlantedInRequests(), morePlantedInReads(), morePlantedInTransactions(), morePlantedInGroups(),
		morePlantedInRetention(),
	)
}

// answered returns an attempt that was answered with 200 between two times after now.
func (e *edit) answered(kind history.Kind, from, to int64) history.Attempt {
	return history.Attempt{
		Operation: e.operation(), Try: 1, Process: "planted", Kind: kind, Outcome: history.OK, Status: 200,
		Invoked: e.now() + from, Returned: e.now() + to,
	}
}

func morePlantedInGroups() []planted {
	return []planted{
		{judge.NeverProcessed, "the last input was acknowledged, and workers that still poll leave it", func(e *edit) bool {
			a := e.answered(history.KindProduce, 0, 1)
			key := logKey{"input", 0}
			a.Produce = &history.Produce{
				Piece: history.Piece{Topic: key.topic, First: 8_000_000, Count: 1},
				Key:   "planted", Places: []history.Place{{Topic: key.topic, Offset: int64(len(e.logs[key])), Count: 1}},
			}
			e.insert(a)
			e.put(key, a.Produce.First)
			poll := e.answered(history.KindPoll, 5_000*millisecond, 5_001*millisecond)
			poll.Outcome, poll.Status = history.Fail, 404
			poll.Member = &history.Member{Group: "processing", Member: "late", Epoch: 1}
			e.insert(poll)
			return true
		}},
		{judge.OffsetLost, "a committed offset is not among those that are listed", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return a.Kind == history.KindOffsets && a.Outcome == history.OK && a.Offsets.Group == "reading" &&
					len(a.Offsets.Offsets) > 0
			})
			a.Offsets.Offsets = a.Offsets.Offsets[1:]
			return true
		}},
		{judge.OffsetLost, "a transaction was seen, and its offset was not", func(e *edit) bool {
			key := logKey{"plain", 0}
			e.unanswered([]history.Commit{{Group: "planted", Topic: "plain", From: -1, Offset: 5}}, key)
			e.fetchEnd(key, true)
			a := e.answered(history.KindOffsets, 0, 1)
			a.Outcome, a.Status, a.Code = history.Fail, 404, "GROUP_ID_NOT_FOUND"
			a.Offsets = &history.Offsets{Group: "planted"}
			e.insert(a)
			return true
		}},
		{judge.DrainDiffers, "SQL has no committed offset, and HTTP has", func(e *edit) bool {
			at := e.first(func(l *history.Line) bool { return l.Committed != nil && l.Committed.Source == history.SQL })
			e.lines = slices.Delete(e.lines, at, at+1)
			return true
		}},
		{judge.DoubleOwnership, "two members have a partition under one epoch", func(e *edit) bool {
			for _, name := range []string{"one", "other"} {
				a := e.answered(history.KindHeartbeat, 0, 1)
				a.Member = &history.Member{
					Group: "planted", Member: name, Epoch: 3, NewEpoch: 3,
					Assignment: []history.Assignment{{Topic: "plain", Partitions: []int{0}}},
				}
				e.insert(a)
			}
			return true
		}},
	}
}
