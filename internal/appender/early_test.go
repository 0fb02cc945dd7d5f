package appender

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestP5EarlyOnesGoAfterTheirPredecessorInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		a := newRunning(t, log, Config{SequenceWait: 100 * time.Millisecond})
		var early []*sent
		for _, sequence := range []int64{7, 5, 3, 1} {
			early = append(early, a.send(t.Context(), sequenced(sequence, 2)))
			mustBeOpen(t, early[0])
		}
		tooFar := a.send(t.Context(), sequenced(10, 1))
		mustSucceed(t, a.send(t.Context(), sequenced(0, 1)))
		for _, s := range early {
			mustSucceed(t, s)
			if s.took != 0 {
				t.Errorf("took %v", s.took)
			}
		}
		// One flush for all whose turn it is, and none for the one that still waits.
		if diff := cmp.Diff([][]int64{{7}, {5}, {3}, {1}, {10}, {0}, {1, 3, 5, 7}}, log.flushed()); diff != "" {
			t.Errorf("flushes:\n%s", diff)
		}
		mustBeOpen(t, tooFar)
		mustSucceed(t, a.send(t.Context(), sequenced(9, 1)))
		mustSucceed(t, tooFar)
	})
}

func TestP5AnEarlyOneIsRefusedWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 100 * time.Millisecond
		a := newRunning(t, newMemory(), Config{SequenceWait: wait})
		first := a.send(t.Context(), sequenced(5, 1))
		<-time.After(30 * time.Millisecond)
		second := a.send(t.Context(), sequenced(3, 1))
		for _, s := range []*sent{first, second} {
			mustExpect(t, <-s.answer, 0)
			if s.took != wait {
				t.Errorf("refused after %v", s.took)
			}
		}
	})
}

func TestP5ItsTimeDoesNotBeginAnewWhenAPredecessorArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 100 * time.Millisecond
		a := newRunning(t, newMemory(), Config{SequenceWait: wait})
		s := a.send(t.Context(), sequenced(9, 1))
		for sequence := range int64(3) {
			<-time.After(20 * time.Millisecond)
			mustSucceed(t, a.send(t.Context(), sequenced(sequence, 1)))
		}
		mustExpect(t, <-s.answer, 3)
		if s.took != wait {
			t.Errorf("refused after %v", s.took)
		}
	})
}

func TestP5APredecessorThatOnlyRepeatsLetsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		a := newRunning(t, log, Config{SequenceWait: time.Second})
		mustSucceed(t, a.send(t.Context(), sequenced(0, 1)))
		log.arrive(0) // as before the commit of that request
		s := a.send(t.Context(), sequenced(1, 1))
		log.arrive(1)
		mustBeOpen(t, s)
		if r := mustSucceed(t, a.send(t.Context(), sequenced(0, 1))); !r.Repeated {
			t.Error("the predecessor is not a repeat")
		}
		mustSucceed(t, s)
		if s.took != 0 {
			t.Errorf("took %v", s.took)
		}
	})
}

func TestP5APredecessorAtAnotherProxyIsSeenInTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		a := newRunning(t, log, Config{SequenceWait: time.Second})
		s := a.send(t.Context(), sequenced(4, 1))
		log.arrive(4)
		mustSucceed(t, s)
	})
}

func TestOnlyWhatIsEarlyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		a := newRunning(t, log, Config{SequenceWait: time.Second})
		mustSucceed(t, a.send(t.Context(), sequenced(0, 3)))
		overlap, part := a.send(t.Context(), sequenced(2, 2)), a.send(t.Context(), sequenced(1, 1))
		mustExpect(t, <-overlap.answer, 3)
		mustBeKind(t, (<-part.answer).Err, eos.DuplicateSequence)
		if overlap.took != 0 || part.took != 0 {
			t.Errorf("waited %v and %v", overlap.took, part.took)
		}
		impatient := newRunning(t, log, Config{})
		s := impatient.send(t.Context(), sequenced(9, 1))
		mustExpect(t, <-s.answer, 3)
		if s.took != 0 {
			t.Errorf("waited %v with a wait of 0", s.took)
		}
	})
}

func TestTooManyEarlyOnesDoNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newRunning(t, newMemory(), Config{SequenceWait: time.Second, MaxQueued: 3})
		var waiting []*sent
		for sequence := range int64(3) {
			waiting = append(waiting, a.send(t.Context(), sequenced(sequence+1, 1)))
		}
		s := a.send(t.Context(), sequenced(4, 1))
		mustExpect(t, <-s.answer, 0)
		if s.took != 0 {
			t.Errorf("the one too many waited %v", s.took)
		}
		mustSucceed(t, a.send(t.Context(), sequenced(0, 1)))
		for _, s := range waiting {
			mustSucceed(t, s)
		}
	})
}

// TestEarlyAgainstAPlainList holds the set of early requests against a list
// that is searched from end to end.
func TestEarlyAgainstAPlainList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := early{byScope: map[scope][]*waiting{}}
		var plain []*waiting
		now := time.Unix(0, 0)
		at := scope{7, 1}
		var back []*waiting // were early once, and may be again
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got := len(set.byScope[at]); got != len(plain) {
					t.Fatalf("%d are early, want %d", got, len(plain))
				}
			},
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "passed")))
				var want []*waiting
				for _, w := range plain {
					if !now.Before(w.deadline) {
						want = append(want, w)
					}
				}
				got := set.over(now)
				if !slices.IsSortedFunc(got, func(a, b *waiting) int { return a.deadline.Compare(b.deadline) }) {
					t.Fatalf("not the oldest first: %s", names(got))
				}
				if len(got) != len(want) || slices.ContainsFunc(want, func(w *waiting) bool { return !slices.Contains(got, w) }) {
					t.Fatalf("got %s\nwant %s", names(got), names(want))
				}
				plain = slices.DeleteFunc(plain, func(w *waiting) bool { return slices.Contains(want, w) })
			},
			"one comes": func(t *rapid.T) {
				w := newWaiting(rapid.Int64Range(1, 12).Draw(t, "sequence"), rapid.IntRange(1, 3).Draw(t, "count"), 1)
				set.add(w, now.Add(10))
				plain = append(plain, w)
			},
			"one comes back": func(t *rapid.T) {
				back = slices.DeleteFunc(back, func(w *waiting) bool { return w.early || !now.Before(w.deadline) })
				if len(back) == 0 {
					t.Skip("none is gone")
				}
				w := rapid.SampledFrom(back).Draw(t, "w")
				before := w.deadline
				set.add(w, now.Add(10))
				if w.deadline != before {
					t.Fatalf("its deadline moved from %v to %v", before, w.deadline)
				}
				plain = append(plain, w)
			},
			"a predecessor": func(t *rapid.T) {
				next := rapid.Int64Range(1, 12).Draw(t, "next")
				slices.SortStableFunc(plain, func(a, b *waiting) int { return int(a.op.Append.Sequence - b.op.Append.Sequence) })
				var want []*waiting
				for end := next; len(want) < len(plain) && plain[len(want)].op.Append.Sequence <= end; {
					w := plain[len(want)]
					end = max(end, w.op.Append.Sequence+int64(w.op.Append.RecordCount))
					want = append(want, w)
				}
				if got := set.after(at, next); !slices.Equal(got, want) {
					t.Fatalf("got %s\nwant %s", names(got), names(want))
				}
				plain = slices.Delete(plain, 0, len(want))
				back = append(back, want...)
			},
		})
		if got := set.all(); len(got) != len(plain) || len(set.byScope) != 0 {
			t.Fatalf("%d are left, want %d", len(got), len(plain))
		}
	})
}

func names(list []*waiting) (s string) {
	for _, w := range list {
		s += fmt.Sprintf(" %d+%d", w.op.Append.Sequence, w.op.Append.RecordCount)
	}
	return s
}

func newWaiting(sequence int64, count int, size int64) *waiting {
	w := &waiting{
		op: &store.Op{Append: &store.Request{
			Append: sequenced(sequence, count), Topic: &store.Topic{ID: 1}, Partition: -1,
			Parts: []store.Part{{Packed: &store.Packed{Count: count, Size: size}}},
		}},
		outcome: make(chan store.Outcome, 1),
	}
	w.bytes = w.op.Bytes()
	return w
}

// mustExpect checks that a request was out of order, and the expected sequence.
func mustExpect(t *testing.T, o store.Outcome, sequence int64) {
	t.Helper()
	mustBeKind(t, o.Err, eos.OutOfOrder)
	var refusal *eos.Error
	if !errors.As(o.Err, &refusal) || *refusal.ExpectedSequence != sequence {
		t.Fatalf("got %v, want expected_sequence %d", o.Err, sequence)
	}
}

// BenchmarkTake takes one request while many others are early.
