package judge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// access is a commit or a read of one group's committed offset of one partition.
type access struct {
	write    bool
	offset   int64
	from, to int64
	unknown  bool // a write of which nobody knows whether it happened
}

// register is the committed offset, as porcupine's model: of a group with members, whose offset only rises, or of one
// without, where the last one stands.
func register(rises bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(-1) },
		Step: func(state, input, output any) (bool, any) {
			before, a := state.(int64), input.(access)
			if !a.write {
				return output.(int64) == before, before
			}
			if rises {
				return true, max(before, a.offset)
			}
			return true, a.offset
		},
	}
}

// linearizable asks porcupine. A write that is unknown may happen at any time, also after all reads, which is as good
// as never.
func linearizable(list []access, rises bool) bool {
	var operations []porcupine.Operation
	for i, a := range list {
		end := a.to
		if a.unknown {
			end = math.MaxInt64
		}
		operations = append(
			operations,
			porcupine.Operation{ClientId: i, Input: a, Call: a.from, Output: a.offset, Return: end},
		)
	}
	return porcupine.CheckOperations(register(rises), operations)
}

// someAccesses makes a few that overlap. Reads are mostly those of a register that works.
func someAccesses(r *rand.Rand, rises bool) (list []access) {
	stands := int64(-1)
	now := int64(0)
	for range 3 + r.IntN(6) {
		a := access{write: r.IntN(2) == 0, from: now - r.Int64N(40), unknown: r.IntN(4) == 0}
		a.to = now + 1 + r.Int64N(40)
		switch {
		case a.write:
			a.offset = r.Int64N(6)
			if !a.unknown || r.IntN(2) == 0 {
				if stands = a.offset; rises {
					stands = max(stands, a.offset)
				}
			}
		default:
			a.unknown = false
			a.offset = stands
			if r.IntN(8) == 0 {
				a.offset = r.Int64N(6) - 1
			}
		}
		if !a.write && a.offset < 0 && rises {
			continue // what is not committed is not listed
		}
		now += 10
		list = append(list, a)
	}
	return list
}

// accessHistory is these accesses as a history.
func accessHistory(list []access, rises bool) []history.Line {
	lines := []history.Line{{Topic: &history.Topic{Topic: "t", Partitions: 0}}}
	for i, a := range list {
		commit := history.Commit{Group: "g", Topic: "t", From: -1, Offset: a.offset}
		at := history.Attempt{
			Operation: int64(
				i + 1,
			),
			Try:      1,
			Process:  fmt.Sprint(i),
			Invoked:  100 + a.from,
			Returned: 100 + a.to,
			Outcome:  history.OK,
			Status:   200,
		}
		if a.unknown {
			at.Outcome, at.Status = history.Unknown, 0
		}
		switch {
		case a.write && rises:
			at.Kind, at.Member = history.KindPoll, &history.Member{
				Group:   "g",
				Member:  fmt.Sprint("m", i),
				Commits: []history.Commit{commit},
			}
		case a.write:
			at.Kind, at.Offsets = history.KindSetOffsets, &history.Offsets{
				Group:   "g",
				Offsets: []history.Commit{commit},
			}
		default:
			at.Kind, at.Offsets = history.KindOffsets, &history.Offsets{Group: "g", Offsets: []history.Commit{commit}}
		}
		lines = append(lines, history.Line{Attempt: &at})
	}
	slices.SortStableFunc(
		lines[1:],
		func(a, b history.Line) int { return int(a.Attempt.Returned - b.Attempt.Returned) },
	)
	return append(lines, history.Line{End: &history.End{}})
}

// TestCommittedOffsetsAreJudgedAsPorcupineDoes holds the judge's check of committed offsets, which takes time in
// proportion to their number, against one that searches all orders: where offsets only rise they say the same, else the
// judge may miss what is wrong but never finds what is not.
func TestCommittedOffsetsAreJudgedAsPorcupineDoes(t *testing.T) {
	t.Parallel()
	wrong := map[bool]int{}
	missed := 0
	for seed := range uint64(3000) {
		rises := seed%2 == 0
		list := someAccesses(rand.New(rand.NewPCG(seed, 7)), rises)
		v, err := judge.Judge(text(accessHistory(list, rises)))
		if err != nil {
			t.Fatal(err)
		}
		found := v.Totals[judge.OffsetLost] + v.Totals[judge.OffsetBack] + v.Totals[judge.OffsetInvented]
		good := linearizable(list, rises)
		switch {
		case found > 0 && good:
			t.Fatalf("seed %d: the judge finds what porcupine does not: %+v, in %+v", seed, v.Found, list)
		case found == 0 && !good && rises:
			t.Fatalf("seed %d: porcupine finds what the judge does not, in %+v", seed, list)
		case found == 0 && !good:
			missed++
		case !good:
			wrong[rises]++
		}
	}
	t.Logf(
		"found wrong by both: %d that only rise, %d others; of the others %d only by porcupine",
		wrong[true],
		wrong[false],
		missed,
	)
	if wrong[true] < 100 || wrong[false] < 100 || missed > wrong[false]/4 {
		t.Errorf("the histories show too little")
	}
}
