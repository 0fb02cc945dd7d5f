package appender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/google/go-cmp/cmp"
)

// One flush carries requests of every kind, and its COMMIT is lost: each caller
// is told the truth, the log is dense and holds what was acknowledged once,
// where it was told to be. A request without identity alone is of unknown
// effect, and stored at most once.
func TestP12EveryAnswerOfALostFlushIsTrue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults     []faults.Fault // of the first COMMIT of the flush, and of the next one
		rounds     int            // in full
		tookEffect bool           // the first COMMIT: then there is no second
	}{
		"before it took effect": {[]faults.Fault{faults.CutBefore}, 1000, false},
		"after it took effect":  {[]faults.Fault{faults.CutAfter}, 1000, true},
		"while it takes effect": {[]faults.Fault{faults.Late}, 200, true},
		"before, then after":    {[]faults.Fault{faults.CutBefore, faults.CutAfter}, 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLossy(t)
			rounds, overtaken := lostRounds(c.rounds), 0
			for i := range rounds {
				requests := l.requests(i)
				before := l.proxy.Commits()
				l.proxy.Arm(c.faults...)
				outcomes := l.send(l.behind, requests)
				if left := l.proxy.Armed(); left != 0 {
					t.Fatalf("round %d: %d faults met no COMMIT", i, left)
				}
				tookEffect := l.proxy.Commits() == before+1
				if tookEffect != c.tookEffect {
					if overtaken++; c.faults[0] != faults.Late { // whose locks may be had before it has them
						t.Fatalf("round %d: the first COMMIT took effect: %v", i, tookEffect)
					}
				}
				for n, r := range requests {
					l.check(i, r, outcomes[n], tookEffect)
				}
				l.repeat(i, requests, outcomes)
			}
			l.drain()
			t.Logf("%d flushes of %d or %d requests lost their COMMIT; %d late ones were overtaken", rounds, len(l.requests(3)), len(l.requests(4)), overtaken)
		})
	}
}

// lostRounds is how often a fault meets a flush: in full with EOS_TEST_FULL=1.
func lostRounds(full int) int {
	if os.Getenv("EOS_TEST_FULL") != "" {
		return full
	}
	return full * 3 / 100
}

// send sends requests in their order, so that one flush carries them all, and
// returns their outcomes.
func (l *lossy) send(log Log, requests []request) []store.Outcome {
	l.t.Helper()
	var flushes []int
	a := New(log, Config{Flushed: func(_ time.Duration, n int) { flushes = append(flushes, n) }})
	outcomes := make([]chan store.Outcome, len(requests))
	for i, r := range requests {
		outcomes[i] = make(chan store.Outcome, 1)
		go func() { outcomes[i] <- r.send(l.t.Context(), a, r.into) }()
		for queued := 0; queued <= i; runtime.Gosched() {
			a.mu.Lock()
			queued = a.queue.ops
			a.mu.Unlock()
			if len(outcomes[i]) > 0 {
				l.t.Fatalf("%s was not queued: %v", r.name, (<-outcomes[i]).Err)
			}
		}
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = a.Run(ctx) })
	run.Go(func() { _ = a.RunAside(ctx) })
	list := make([]store.Outcome, len(requests))
	for i := range outcomes {
		list[i] = <-outcomes[i]
	}
	cancel()
	run.Wait()
	if diff := cmp.Diff([]int{len(requests)}, flushes); diff != "" {
		l.t.Fatalf("the sizes of the flushes:\n%s", diff)
	}
	return list
}

// check holds what a request was told against what it must be told, and notes
// what must be in the log.
func (l *lossy) check(round int, r request, o store.Outcome, tookEffect bool) {
	l.t.Helper()
	about := fmt.Sprintf("round %d: %s", round, r.name)
	var refusal *eos.Error
	switch errors.As(o.Err, &refusal); {
	case r.refused != nil:
		if refusal == nil || refusal.Kind != r.refused || refusal.Effect != eos.EffectNone {
			l.t.Fatalf("%s: %v, want %s without effect", about, o.Err, r.refused.Code)
		}
		return
	case r.anonymous:
		if refusal == nil || refusal.Effect != eos.EffectUnknown {
			l.t.Fatalf("%s: %v, want unknown effect", about, o.Err)
		}
		switch {
		case tookEffect && r.into != "":
			l.staged[r.into] = append(l.staged[r.into], r.values...)
		case tookEffect:
			l.untold[r.values[0]] = 1
		}
		return
	case o.Err != nil:
		l.t.Fatalf("%s: %v", about, o.Err)
	}
	repeated := o.Result.Repeated
	if o.State != nil {
		repeated = o.State.Repeated
	}
	if repeated != r.again {
		l.t.Fatalf("%s: told as repeated: %v, want %v", about, repeated, r.again)
	}
	l.note(about, r, o)
}

// repeat sends what can be recognised once more, by another proxy: the answers
// are those that were told first, but for what has gone on since.
func (l *lossy) repeat(round int, requests []request, first []store.Outcome) {
	l.t.Helper()
	var again []request
	var want []store.Outcome
	for i, r := range requests {
		if !r.anonymous && r.refused == nil {
			again, want = append(again, r), append(want, first[i])
		}
	}
	for i, o := range l.send(l.direct, again) {
		if o.Err != nil {
			l.t.Fatalf("round %d: %s again: %v", round, again[i].name, o.Err)
		}
		if o.State == nil {
			want[i].Result.Repeated = true
			if diff := cmp.Diff(want[i].Result, o.Result); diff != "" {
				l.t.Fatalf("round %d: %s again (-first +repeat):\n%s", round, again[i].name, diff)
			}
			continue
		}
		told, now := want[i].State, o.State
		if !now.Repeated || now.State != told.State || cmp.Diff(told.Appended, now.Appended) != "" && len(told.Appended)+len(now.Appended) > 0 {
			l.t.Fatalf("round %d: %s again: %+v, first told: %+v", round, again[i].name, now, told)
		}
	}
}

// drain reads the whole log and holds it against what was told.
func (l *lossy) drain() {
	l.t.Helper()
	unknown := map[string]int{}
	for _, topic := range []string{"t", "u"} {
		read, err := l.direct.Topic(l.t.Context(), topic)
		if err != nil {
			l.t.Fatal(err)
		}
		for partition := range read.PartitionIDs {
			next := int64(0)
			for _, r := range mustReadAll(l.t, l.direct, read, partition) {
				at := place{topic, partition, r.Offset}
				if r.Offset != next {
					l.t.Fatalf("%+v where offset %d belongs", at, next)
				}
				next++
				want, known := l.told[at]
				switch got := string(r.Value); {
				case !known:
					unknown[got]++
				case got != want:
					l.t.Fatalf("%+v is %s, and was told to be %s", at, got, want)
				}
				delete(l.told, at)
			}
		}
	}
	if len(l.told) > 0 {
		l.t.Errorf("%d acknowledged records are not in the log: %v", len(l.told), l.told)
	}
	if diff := cmp.Diff(l.untold, unknown); diff != "" {
		l.t.Errorf("records that nobody was told of (-want +got):\n%s", diff)
	}
	if n := l.proxy.Cancels(); n != 0 {
		l.t.Errorf("%d cancel requests were sent", n)
	}
}

// mustReadAll returns all records of a partition.
func mustReadAll(t *testing.T, s *store.Store, topic *store.Topic, partition int) (records []store.Record) {
	t.Helper()
	r, err := s.NewReader(topic, store.Position{Partition: partition}, eos.MaxInteger, eos.MaxInteger)
	for more := true; err == nil && more; {
		more, err = r.Next(t.Context(), func(b *store.Batch, from, to int) error {
			kept := *b
			kept.Body = bytes.Clone(b.Body)
			for i := from; i < to; i++ {
				records = append(records, kept.Record(i))
			}
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return records
}
