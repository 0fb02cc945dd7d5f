package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// races is how often each race is run: fewer times under the race detector,
// which looks for something else, and in short tests; a thousand times with
// EOS_TEST_FULL=1.
func races(usual int) int {
	switch {
	case os.Getenv("EOS_TEST_FULL") != "":
		return 1000
	case underRace || testing.Short():
		return usual / 5
	}
	return usual
}

// mustAgree wants two attempts at one request to have got one answer: one of
// them stored it, the other repeats.
func mustAgree(t testing.TB, what string, results [2]Result, errs [2]error) {
	t.Helper()
	if errs[0] != nil || errs[1] != nil {
		t.Fatalf("%s: errors %v and %v", what, errs[0], errs[1])
	}
	if results[0].Repeated == results[1].Repeated || fmt.Sprint(results[0].Shares) != fmt.Sprint(results[1].Shares) ||
		results[0].NextSequence != results[1].NextSequence {
		t.Fatalf("%s: answers %+v and %+v, want one and its repeat", what, results[0], results[1])
	}
}

func TestP3SameRequestAtTheSameMomentOnTwoProxies(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 4)
	p := mustRegister(t, a, "billing")
	rounds := races(1000)
	for i := range rounds {
		var request ask
		switch value := fmt.Sprint(i); i % 3 {
		case 0:
			request = sequenced(p, int64(i/3), value)
		case 1:
			request = keyed("key "+value, value)
		case 2: // over two partitions
			request = keyed("key "+value, value, value+"'")
			request.records[0].Partition, request.records[1].Partition = i%4, (i+1)%4
		}
		var results [2]Result
		var errs [2]error
		both(func() { results[0], errs[0] = produce(a, request) }, func() { results[1], errs[1] = produce(b, request) })
		mustAgree(t, fmt.Sprint("round ", i), results, errs)
	}
	if got, want := len(mustLog(t, a, "t")), rounds+rounds/3; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}

// Partitions were added meanwhile: the stores send the same keyless request to
// different partitions, whose locks do not meet.
func TestP3SameRequestWhilePartitionsAreAdded(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "")
	mustProduce(t, b, plain("warm"))
	rounds := races(1000)
	for i := range rounds {
		request := keyed(fmt.Sprint("key ", i), fmt.Sprint(i))
		if i%2 == 0 {
			request = sequenced(p, int64(i/2), fmt.Sprint(i))
		}
		var results [2]Result
		var errs [2]error
		var grown sync.WaitGroup
		switch i % 3 {
		case 0: // in the middle of the race
			grown.Go(func() { mustGrow(t, a, "t", 2+i/3) })
		case 1: // b does not know of it
			mustGrow(t, a, "t", 2+i/3)
		}
		both(func() { results[0], errs[0] = produce(a, request) }, func() { results[1], errs[1] = produce(b, request) })
		grown.Wait()
		mustAgree(t, fmt.Sprint("round ", i), results, errs)
	}
	conn := newConn(t, a.pool.Config().ConnString())
	if got := mustGet[int](t, conn, "SELECT count(*) FROM records"); got != rounds+1 {
		t.Errorf("%d records, want %d", got, rounds+1)
	}
}

// A thousand registrations against appends, begins and commits in flight:
// nothing of an old epoch is done once the registration was answered.
func TestP9RegistrationsAgainstWritesInFlight(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	stores := []*Store{a, b}
	var current atomic.Pointer[Producer]
	first := mustRegister(t, a, "billing")
	current.Store(&first)
	rounds := races(1000)

	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var done, fenced atomic.Int64
	count := func(err error) {
		if err == nil {
			done.Add(1)
		} else if errors.Is(err, eos.ProducerFenced.Errorf("")) {
			fenced.Add(1)
		} else if refusal := new(eos.Error); !errors.As(err, &refusal) || refusal.Effect != eos.EffectNone {
			t.Errorf("a write failed: %v", err)
		}
	}
	for w := range 4 {
		s := stores[w%2]
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				p := *current.Load()
				next := int64(0)
				for _, scope := range p.Next {
					if scope.Partition != nil && *scope.Partition == w%2 {
						next = scope.NextSequence
					}
				}
				value := fmt.Sprint("epoch ", p.Epoch)
				if w < 2 { // each in its own scope, sequence after sequence
					for ; ctx.Err() == nil; next++ {
						_, err := produce(s, sequenced(p, next, value).to(w))
						if count(err); err != nil {
							break
						}
					}
					continue
				}
				id := fmt.Sprint("tx ", w, " ", i)
				_, err := s.PutTransaction(context.Background(), put(id, p, value))
				if count(err); err != nil {
					continue
				}
				_, err = produce(s, plain(value).in(id))
				count(err)
				_, err = stores[i%2].Commit(context.Background(), id, Caller{p.ID, p.Epoch})
				count(err)
			}
		})
	}
	defer writers.Wait()
	defer stop()

	for i := range rounds {
		p, _, err := register(stores[i%2], "billing", "")
		if err != nil {
			t.Fatalf("registration %d: %v", i, err)
		}
		// The answer is there and the new epoch is not used yet: nobody may write.
		end := mustEnd(t, stores[(i+1)%2])
		if open, err := b.Producer(t.Context(), p.ID); err != nil || open.OpenTransaction != "" || open.Epoch != p.Epoch {
			t.Fatalf("round %d: after the answer: %+v, %v", i, open, err)
		}
		for range 3 {
			if now := mustEnd(t, a); now != end {
				t.Fatalf("round %d: the log grew from %d to %d after the registration was answered", i, end, now)
			}
		}
		current.Store(&p)
		for before := done.Load(); done.Load() < before+2 && !t.Failed(); { // let some work go under it
			mustEnd(t, a)
		}
	}
	stop()
	writers.Wait()
	if fenced.Load() == 0 || done.Load() < int64(rounds) {
		t.Errorf("%d writes done, %d fenced: no race", done.Load(), fenced.Load())
	}
	mustBeOrdered(t, a)
}

// mustBeOrdered wants the epochs in each partition never to fall, and every
// transaction's records to be there.
func mustBeOrdered(t testing.TB, s *Store) {
	t.Helper()
	last := map[byte]int{}
	for _, line := range mustLog(t, s, "t") {
		var partition, at, epoch int
		if _, err := fmt.Sscanf(line, "%d:%d epoch %d", &partition, &at, &epoch); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if epoch < last[line[0]] {
			t.Fatalf("epoch %d after epoch %d: %s", epoch, last[line[0]], line)
		}
		last[line[0]] = epoch
	}
}
