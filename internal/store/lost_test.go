package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/google/go-cmp/cmp"
)

// A database behind a faults.Proxy: a store that goes through it, one that
// does not, and a producer with transactional id "billing".
func newFaulty(t testing.TB) (proxy *faults.Proxy, s, direct *Store, p Producer) {
	t.Helper()
	url := newDatabase(t)
	proxy = faults.New(t, url)
	s, direct = newStoreWith(t, proxy.URL(), Config{PoolSize: 2}), newStore(t, url)
	mustTopic(t, direct, "t", 1)
	return proxy, s, direct, mustRegister(t, direct, "billing")
}

// lostRounds is how often each fault meets each operation.
func lostRounds() int {
	switch {
	case os.Getenv("EOS_TEST_FULL") != "":
		return 100
	case underRace || testing.Short():
		return 10
	}
	return 40
}

func TestP12LostCommitIsSettled(t *testing.T) {
	t.Parallel()
	for name := range writes(Producer{}) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, s, direct, p := newFaulty(t)
			w := writes(p)[name]
			i := 0
			for range lostRounds() {
				for _, fault := range []faults.Fault{faults.CutBefore, faults.CutAfter, faults.Late} {
					if w.prepare != nil {
						w.prepare(t, direct, i)
					}
					proxy.Arm(fault)
					if err := w.do(t.Context(), t, s, i); err != nil {
						t.Fatalf("round %d, %s: %v", i, fault, err)
					}
					if proxy.Armed() != 0 {
						t.Fatalf("round %d: no COMMIT met %s", i, fault)
					}
					w.check(t, direct, i)
					i++
				}
			}
			if n := proxy.Cancels(); n != 0 {
				t.Errorf("%d cancel requests were sent", n)
			}
		})
	}
}

// A request without identity cannot be recognised: nobody can say what became
// of it, and it is never sent twice.
func TestP12LostPlainAppendIsUnknown(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	done := int64(0)
	for range lostRounds() {
		for _, fault := range []faults.Fault{faults.CutBefore, faults.CutAfter, faults.Late} {
			proxy.Arm(fault)
			_, err := produce(s, plain("x"))
			mustBeUnknown(t, err)
			if fault != faults.CutBefore {
				done++
			}
			mustProduce(t, direct, plain("y")) // waits for the lock of the lost one
			done++
			if got := mustEnd(t, direct); got != done {
				t.Fatalf("after %s: %d records, want %d", fault, got, done)
			}
		}
	}
}

// The lost flush carried several requests: each gets its own truth.
func TestP12LostGroup(t *testing.T) {
	t.Parallel()
	proxy, s, direct, p := newFaulty(t)
	topic, err := s.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	records := int64(0)
	for i := range 3 * lostRounds() {
		fault := []faults.Fault{faults.CutBefore, faults.CutAfter, faults.Late}[i%3]
		var group []*Request
		for _, a := range []ask{sequenced(p, int64(i), "s"), plain("p"), keyed(fmt.Sprint("k", i), "k"), sequenced(p, int64(i)+9, "early")} {
			r, err := NewRequest(a.Append, topic, -1, a.records, 0)
			if err != nil {
				t.Fatal(err)
			}
			group = append(group, r)
		}
		proxy.Arm(fault)
		o := s.Append(context.Background(), group)
		if o[0].Err != nil || o[2].Err != nil {
			t.Fatalf("%s: %v, %v", fault, o[0].Err, o[2].Err)
		}
		mustBeUnknown(t, o[1].Err)
		mustRefuse(t, o[3].Err, eos.OutOfOrder)
		if records += 2; fault != faults.CutBefore {
			records++
		}
		if got := mustEnd(t, direct); got != records {
			t.Fatalf("%s: %d records, want %d", fault, got, records)
		}
	}
}

// The server's end of the lost connection stays open and holds its locks,
// until PostgreSQL ends it: the outcome is found out after that.
func TestP12AbandonedBackendIsWaitedOut(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sequenced append", "keyed append", "one-shot", "commit", "registration with a key"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, s, direct, p := newFaulty(t)
			w := writes(p)[name]
			if w.prepare != nil {
				w.prepare(t, direct, 0)
			}
			proxy.Arm(faults.Abandon)
			if err := w.do(t.Context(), t, s, 0); err != nil {
				t.Fatal(err)
			}
			w.check(t, direct, 0)
		})
	}
}

// A network that broke in the middle of a pipeline leaves a backend that no
// timeout of PostgreSQL before 17 ends. What it holds cannot be asked about:
// the outcome stays unknown until the connection dies.
func TestP12StalledBackendLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	request := keyed("k", "a")
	proxy.Arm(faults.Stall)
	_, err := produce(s, request)
	mustBeUnknown(t, err)
	_, err = produce(direct, request)
	mustRefuse(t, err, eos.Unavailable)
	proxy.CutAll()
	if mustProduce(t, s, request).Repeated {
		t.Error("a COMMIT that the server never saw took effect")
	}
	mustHold(t, direct, "0:0 a")
}

// The database stays away after the cut: unknown, never "failed".
func TestP12DatabaseAwayAfterCommit(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faults.Fault{"cut before": faults.CutBefore, "cut after": faults.CutAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, s, direct, _ := newFaulty(t)
			request := keyed("k", "a")
			proxy.Choose(func() faults.Fault {
				proxy.Refuse(true)
				return fault
			})
			if _, err := s.Topic(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			_, err := produce(s, request)
			mustBeUnknown(t, err)
			proxy.Choose(nil)
			proxy.Refuse(false)
			if got, want := mustProduce(t, s, request).Repeated, fault == faults.CutAfter; got != want {
				t.Errorf("repeated: %v, want %v", got, want)
			}
			mustHold(t, direct, "0:0 a")
		})
	}
}

// A request that never reached COMMIT has no effect, and says so.
func TestP12DatabaseAwayBeforeCommit(t *testing.T) {
	t.Parallel()
	proxy, s, direct, p := newFaulty(t)
	mustProduce(t, s, plain("warm"))
	proxy.Refuse(true)
	proxy.CutAll()
	for name, w := range writes(p) {
		err := w.do(t.Context(), t, s, 0)
		var refusal *eos.Error
		if !errors.As(err, &refusal) || refusal.Kind != eos.Unavailable || refusal.Effect != eos.EffectNone {
			t.Errorf("%s: %v, want %s without effect", name, err, eos.Unavailable.Code)
		}
	}
	proxy.Refuse(false)
	mustHold(t, direct, "0:0 warm")
}

// The append took effect, and its topic is deleted before that is found out:
// nothing is left to recognise it by. It is not done again in a topic of the
// same name, nor told to have had no effect.
func TestP12TopicIsDeletedAfterALostCommit(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"deleted": false, "made again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, s, direct, p := newFaulty(t)
			mustFlush(t, s, sequenced(p, 0, "a"))
			ops := []*Op{mustOp(t, s, sequenced(p, 1, "b")), mustOp(t, s, keyed("k", "c")), mustOp(t, s, sequenced(p, 9, "early"))}
			lost := make(chan struct{})
			proxy.Choose(func() faults.Fault {
				proxy.Refuse(true)
				close(lost)
				return faults.CutAfter
			})
			outcomes := make(chan []Outcome)
			go func() { outcomes <- s.Flush(context.Background(), ops, nil) }()
			<-lost
			if err := direct.DeleteTopic(t.Context(), "t"); err != nil { // waits for the lost one
				t.Fatal(err)
			}
			if again {
				mustTopic(t, direct, "t", 1)
			}
			proxy.Choose(nil)
			proxy.Refuse(false)
			got := <-outcomes
			mustBeUnknown(t, got[0].Err)
			mustBeUnknown(t, got[1].Err)
			if !IsStale(got[2].Err) { // it was refused, and has had no effect in any topic
				t.Errorf("the refused one: %v", got[2].Err)
			}
			if again {
				mustHold(t, direct)
			}
		})
	}
}

// The append took effect, and retention has removed all that tells of it before
// that is found out: nobody can deny that it happened.
func TestP12RecordsAreRemovedAfterALostCommit(t *testing.T) {
	t.Parallel()
	proxy, s, direct, p := newFaulty(t)
	mustFlush(t, s, sequenced(p, 0, "a"))
	conn := newConn(t, direct.pool.Config().ConnString())
	ops := []*Op{mustOp(t, s, sequenced(p, 1, "b")), mustOp(t, s, sequenced(p, 9, "early"))}
	var outcomes []Outcome
	settled := mustLose(t, proxy, func() error {
		outcomes = s.Flush(context.Background(), ops, nil)
		return nil
	}, func() {
		mustWait(t, conn, `2 = (SELECT count(*) FROM batches)`)
		mustDelete(t, direct, 0, 2)
		mustTrim(t, direct, conn)
	})
	<-settled
	mustBeUnknown(t, outcomes[0].Err)
	mustRefuse(t, outcomes[1].Err, eos.OutOfOrder)
	_, err := produce(s, sequenced(p, 1, "b")) // this attempt did nothing
	mustRefuse(t, err, eos.DuplicateSequence)
}

// The try whose COMMIT was lost took what comes again for new: it is a repeat
// all the same, of what another store has done.
func TestP12RepeatIsToldAfterALostCommit(t *testing.T) {
	t.Parallel()
	proxy, s, direct, p := newFaulty(t)
	mustFlush(t, s, sequenced(p, 0, "a"))
	mustProduce(t, direct, plain("elsewhere than the lost one would have been"))
	what := []any{keyed("k", "b"), put("tx", nobody, "c"), oneShot("one", nobody, "d"), sequenced(p, 1, "e")}
	first := mustFlush(t, direct, what...)
	for round := range 20 {
		s.writer.facts.clock.read = time.Now()
		proxy.Arm(faults.CutBefore)
		again := mustFlush(t, s, what...)
		for i, o := range again {
			if o.State != nil {
				mustSay(t, first[i].State, o.State)
				continue
			}
			first[i].Result.Repeated = true
			if diff := cmp.Diff(first[i].Result, o.Result); diff != "" {
				t.Fatalf("round %d, operation %d (-first +repeat):\n%s", round, i, diff)
			}
		}
		// So that the next try goes by the facts once more, and knows none of them.
		s.writer.facts = newFacts()
		mustFlush(t, s, keyed(fmt.Sprint("k", round), "f"), sequenced(p, int64(round+2), "g"))
	}
	if proxy.Armed() != 0 {
		t.Errorf("%d faults met no COMMIT", proxy.Armed())
	}
}

// What became of each COMMIT is counted: of one that was cut before or after it
// took effect, of one without identity, and of one that asks nobody.
func TestP12LostCommitsAreCountedByWhatBecameOfThem(t *testing.T) {
	t.Parallel()
	proxy, s, _, p := newFaulty(t)
	mustAppend := func(sequence int64) error {
		_, err := produce(s, sequenced(p, sequence, "x"))
		return err
	}
	proxy.Arm(faults.CutAfter)
	if err := mustAppend(0); err != nil {
		t.Fatal(err)
	}
	proxy.Arm(faults.CutBefore, faults.CutAfter)
	if err := mustAppend(1); err != nil {
		t.Fatal(err)
	}
	proxy.Arm(faults.CutAfter)
	_, err := produce(s, plain("x"))
	mustBeUnknown(t, err)
	proxy.Arm(faults.CutAfter)
	mustRegister(t, s, "another")
	want := [Fates]int64{FateDone: 2, FateNotDone: 1, FateEither: 1, FateUnknown: 1}
	if diff := cmp.Diff(want, s.Totals().LostCommits); diff != "" || proxy.Armed() != 0 {
		t.Errorf("%d faults left: %s", proxy.Armed(), diff)
	}
}
