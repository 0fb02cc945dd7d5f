package appender

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/google/go-cmp/cmp"
)

// In a bubble of synctest a goroutine that stays behind fails the test: no test
// here needs to look for leaks.

func TestRequestsDuringAFlushGoTogetherInTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{})
		a := newRunning(t, log, Config{})
		first := a.send(t.Context(), sequenced(0, 1))
		var others []*sent
		for sequence := range int64(5) {
			others = append(others, a.send(t.Context(), sequenced(sequence+1, 1)))
		}
		log.hold <- struct{}{}
		mustSucceed(t, first)
		mustBeOpen(t, others[0])
		log.hold <- struct{}{}
		for i, s := range others {
			if r := mustSucceed(t, s); r.NextSequence != int64(i)+2 {
				t.Errorf("request %d: next sequence %d", i+1, r.NextSequence)
			}
		}
		if diff := cmp.Diff([][]int64{{0}, {1, 2, 3, 4, 5}}, log.flushed()); diff != "" {
			t.Errorf("flushes:\n%s", diff)
		}
	})
}

func TestOneRequestIsNotHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newRunning(t, newMemory(), Config{SequenceWait: time.Second})
		s := a.send(t.Context(), sequenced(0, 1))
		mustSucceed(t, s)
		if s.took != 0 {
			t.Errorf("took %v", s.took)
		}
	})
}

func TestP3TwoAttemptsAtTheSameMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{})
		a := newRunning(t, log, Config{})
		a.send(t.Context(), anonymous())
		first, second := a.send(t.Context(), sequenced(0, 2)), a.send(t.Context(), sequenced(0, 2))
		close(log.hold)
		got, again := mustSucceed(t, first), mustSucceed(t, second)
		if got.Repeated || !again.Repeated {
			t.Errorf("repeated: %v, then %v", got.Repeated, again.Repeated)
		}
		if diff := cmp.Diff(got.Shares, again.Shares); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAStaleTopicIsRoutedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		a := newRunning(t, log, Config{})
		mustSucceed(t, a.send(t.Context(), sequenced(0, 1)))
		log.grow("a")
		mustSucceed(t, a.send(t.Context(), sequenced(1, 1)))
		if log.forgotten != 1 {
			t.Errorf("forgotten %d times", log.forgotten)
		}
		// A partition that was not there when the topic was last read.
		log.grow("a")
		if _, err := a.Append(t.Context(), "a", 3, anonymous(), values(1)); err != nil {
			t.Errorf("the new partition: %v", err)
		}
		_, err := a.Append(t.Context(), "a", 4, anonymous(), values(1))
		mustBeKind(t, err, eos.UnknownTopic)
		_, err = a.Append(t.Context(), "b", -1, anonymous(), values(1))
		mustBeKind(t, err, eos.UnknownTopic)
	})
}

func TestWhatIsWrongWithTheRequestIsToldAtOnce(t *testing.T) {
	t.Parallel()
	// Nothing runs: these must not wait for a flush.
	a := New(newMemory(), Config{})
	elsewhere := values(1)
	elsewhere[0].Partition = 1
	_, err := a.Append(t.Context(), "a", 0, anonymous(), elsewhere)
	mustBeKind(t, err, eos.InvalidRecord)
}

func TestP10InATransactionTheTopicIsContentOfAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.topics["b"] = &store.Topic{ID: 2, Name: "b", MaxRecordBytes: 1 << 20, PartitionIDs: []int64{20}}
		a := newRunning(t, log, Config{})
		seen := map[eos.Fingerprint]bool{}
		for _, topic := range []string{"a", "b"} {
			app := anonymous()
			app.Key, app.TransactionID = "k", "T1"
			app.Fingerprint = eos.FingerprintRecords(values(1))
			if _, err := a.Append(t.Context(), topic, -1, app, values(1)); err != nil {
				t.Fatal(err)
			}
		}
		for k := range log.first {
			seen[k.content] = true
		}
		if len(seen) != 2 {
			t.Errorf("%d fingerprints for the same records in two topics", len(seen))
		}
	})
}

func TestTooManyWaitingRequestsAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{})
		a := newRunning(t, log, Config{MaxQueued: 2})
		accepted := []*sent{a.send(t.Context(), anonymous())} // in the flush
		accepted = append(accepted, a.send(t.Context(), anonymous()), a.send(t.Context(), anonymous()))
		refused := <-a.send(t.Context(), anonymous()).answer
		mustBeKind(t, refused.Err, eos.Unavailable)
		close(log.hold)
		for _, s := range accepted {
			mustSucceed(t, s)
		}
		mustSucceed(t, a.send(t.Context(), anonymous()))
	})
}

func TestWhatIsToldOfAFlush(t *testing.T) {
	t.Parallel()
	type appended struct {
		Logs    []int64
		Records int
		Bytes   int64
	}
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold, log.takes = make(chan struct{}), 3*time.Millisecond
		var told []appended
		var requests []int
		var took []time.Duration
		a := newRunning(t, log, Config{
			Appended: func(logs []int64, records int, bytes int64) { told = append(told, appended{logs, records, bytes}) },
			Flushed:  func(d time.Duration, n int) { took, requests = append(took, d), append(requests, n) },
		})
		toPartition := func(p int) *sent {
			s := &sent{answer: make(chan store.Outcome, 1)}
			go func() {
				app := anonymous()
				app.RecordCount = 2
				result, err := a.Append(t.Context(), "a", p, app, values(2))
				s.answer <- store.Outcome{Result: result, Err: err}
			}()
			synctest.Wait()
			return s
		}
		all := []*sent{toPartition(1)}
		staged, keyless := sequenced(0, 4), sequenced(0, 4)
		staged.TransactionID = "T1"
		all = append(all, toPartition(0), a.send(t.Context(), staged), a.send(t.Context(), keyless), a.send(t.Context(), sequenced(9, 1)))
		close(log.hold)
		for _, s := range all {
			<-s.answer
		}
		synctest.Wait()
		// In the second: two records to partition 0, four staged, a repeat, and a refusal.
		if diff := cmp.Diff([]appended{{[]int64{11}, 2, 6}, {[]int64{10}, 6, 18}}, told); diff != "" {
			t.Errorf("Appended:\n%s", diff)
		}
		if diff := cmp.Diff([]int{1, 4}, requests); diff != "" {
			t.Errorf("Flushed:\n%s", diff)
		}
		if took[1] != log.takes {
			t.Errorf("Flushed took %v", took[1])
		}
		told = nil
		<-a.send(t.Context(), sequenced(9, 1)).answer
		synctest.Wait()
		if told != nil {
			t.Errorf("Appended without records: %v", told)
		}
	})
}

// TestManyProducersAtOnce is for the race detector: each producer has several
// requests in flight, sends them in any order, some twice, and leaves some.
func TestManyProducersAtOnce(t *testing.T) {
	t.Parallel()
	const producers, requests = 20, 30
	log := newMemory()
	a := New(log, Config{SequenceWait: time.Minute, Appended: func([]int64, int, int64) {}})
	ctx, cancel := context.WithCancel(t.Context())
	var run, clients sync.WaitGroup
	run.Go(func() { _ = a.Run(ctx) })
	for producer := range int64(producers) {
		for _, sequence := range rand.Perm(requests) {
			app := sequenced(int64(sequence), 1)
			app.ProducerID = producer
			for range 1 + rand.IntN(2) {
				clients.Go(func() {
					if r, err := a.Append(t.Context(), "a", -1, app, values(1)); err != nil || r.NextSequence != app.Sequence+1 {
						t.Errorf("producer %d, sequence %d: %+v, %v", producer, sequence, r, err)
					}
				})
			}
			clients.Go(func() {
				left, leave := context.WithCancel(t.Context())
				leave()
				_, _ = a.Append(left, "a", -1, app, values(1))
			})
		}
	}
	clients.Wait()
	cancel()
	run.Wait()
	for at, sequences := range log.order {
		if len(sequences) != requests || !slices.IsSorted(sequences) {
			t.Errorf("producer %d: %v", at.producer, sequences)
		}
	}
	if len(log.order) != producers {
		t.Errorf("%d producers wrote", len(log.order))
	}
}

func mustBeKind(t *testing.T, err error, kind *eos.Kind) {
	t.Helper()
	if !errors.Is(err, kind.Errorf("")) {
		t.Fatalf("got %v, want %s", err, kind.Code)
	}
}
