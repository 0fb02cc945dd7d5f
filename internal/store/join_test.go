package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/google/go-cmp/cmp"
)

// flushJoined flushes a group that shares its partitions, and lets join what
// fits. It returns the outcomes of the group, then of those, and how many they
// are.
func flushJoined(t testing.TB, s *Store, group []any, later ...any) (outcomes []Outcome, joined int) {
	t.Helper()
	s.writer.shared = sharedFlushes
	ops := make([]*Op, len(group))
	for i, what := range group {
		ops[i] = mustOp(t, s, what)
	}
	outcomes = s.Flush(context.Background(), ops, func(fits func(*Op) bool) (fitting []*Op) {
		for _, what := range later {
			if op := mustOp(t, s, what); fits(op) {
				fitting = append(fitting, op)
			}
		}
		joined = len(fitting)
		return fitting
	})
	if len(outcomes) != len(group)+joined {
		t.Fatalf("%d outcomes of %d operations and %d that joined", len(outcomes), len(group), joined)
	}
	return outcomes, joined
}

func TestWhoComesWhileLocksAreWaitedForComesAlong(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	p, q := mustRegister(t, a, "billing"), mustRegister(t, a, "")
	mustFlush(t, a, sequenced(p, 0, "a").to(0), sequenced(q, 0, "b").to(1))
	mustProduce(t, b, plain("between").to(0))
	outcomes, joined := flushJoined(t, a, []any{sequenced(p, 1, "c").to(0)},
		plain("d").to(0), sequenced(p, 2, "e").to(0), keyed("k", "f").to(0), sequenced(p, 3, "g").to(0))
	if joined != 4 {
		t.Errorf("%d joined, want 4", joined)
	}
	for i, o := range outcomes {
		if o.Err != nil || o.Result.Shares[0].BaseOffset != int64(2+i) {
			t.Errorf("operation %d: %+v", i, o)
		}
	}
	mustHold(t, b, "0:0 a", "0:1 between", "0:2 c", "0:3 d", "0:4 e", "0:5 f", "0:6 g", "1:0 b")
}

func TestOnlyWhoNeedsNothingMoreJoins(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	p, q := mustRegister(t, a, "billing"), mustRegister(t, a, "other")
	mustTopic(t, a, "beside", 1)
	beside := plain("x")
	beside.topic = "beside"
	mustBegin(t, a, "tx", nobody)
	mustFlush(t, a, sequenced(p, 0, "a").to(0), sequenced(q, 0, "b").to(1), beside, plain("staged").in("tx").to(0))
	for name, later := range map[string]any{
		"another partition, which is not held":         plain("no").to(1),
		"another topic":                                beside,
		"another producer, which is not held":          sequenced(q, 1, "no").to(0),
		"a sequence that is not the next":              sequenced(p, 3, "no").to(0),
		"a repeat":                                     sequenced(p, 0, "a").to(0),
		"in a transaction":                             plain("no").in("tx").to(0),
		"a transaction":                                oneShot("one", nobody, "no"),
		"a commit":                                     Commit{"tx", anyone},
		"more than the server was told to wait for it": plain(strings.Repeat("x", joinBytes)).to(0),
	} {
		if _, joined := flushJoined(t, a, []any{sequenced(p, 0, "a").to(0)}, later); joined != 0 {
			t.Errorf("joined: %s", name)
		}
	}
	mustHold(t, b, "0:0 a", "1:0 b")
}

// Whatever becomes of the COMMIT, who joined is told what became of it.
func TestP12WhoJoinedALostFlushIsToldTheTruth(t *testing.T) {
	t.Parallel()
	for _, fault := range []faults.Fault{faults.CutBefore, faults.CutAfter, faults.Late} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			proxy, s, direct, p := newFaulty(t)
			mustFlush(t, s, sequenced(p, 0, "0"))
			for round := range 5 {
				proxy.Arm(fault)
				next, key := int64(2*round+1), fmt.Sprint("k", round)
				outcomes, joined := flushJoined(t, s, []any{sequenced(p, next, "own")},
					keyed(key, "keyed"), plain("anonymous"), sequenced(p, next+1, "joined"))
				if joined != 3 {
					t.Fatalf("%d joined, want 3", joined)
				}
				mustBeUnknown(t, outcomes[2].Err)
				for i, again := range map[int]ask{0: sequenced(p, next, "own"), 1: keyed(key, "keyed"), 3: sequenced(p, next+1, "joined")} {
					if outcomes[i].Err != nil {
						t.Fatalf("round %d, operation %d: %v", round, i, outcomes[i].Err)
					}
					told := mustProduce(t, direct, again)
					told.Repeated = outcomes[i].Result.Repeated
					if diff := cmp.Diff(outcomes[i].Result, told); diff != "" {
						t.Errorf("round %d, operation %d (-told +stored):\n%s", round, i, diff)
					}
				}
			}
			if proxy.Armed() != 0 {
				t.Errorf("%d faults met no COMMIT", proxy.Armed())
			}
		})
	}
}
