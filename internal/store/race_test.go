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

// races is how often each race is run. With EOS_FULL=1 it is more than a
// thousand times also where a round takes long.
func races(t testing.TB, usual int) int {
	if os.Getenv("EOS_FULL") != "" {
		return 1000
	}
	if testing.Short() {
		return usual / 10
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
	rounds := races(t, 1000)
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
	if got, want := len(mustLog(t, a, "t")), rounds+(rounds)/3; got != want {
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
	rounds := races(t, 1000)
	for i := range rounds {
		request := keyed(fmt.Sprint("key ", i), fmt.Sprint(i))
		if i%2 == 0 {
			request = sequenced(p, int64(i/2), fmt.Sprint(i))
		}
		var results [2]Result
		var errs [2]error
		var grown sync.WaitGroup
		if i%3 == 0 { // in the middle of the race, up to the cap of partitions
			grown.Go(func() { mustGrow(t, a, "t", min(2+i/3, 500)) })
		} else if i%3 == 1 {
			mustGrow(t, a, "t", min(2+i/3, 500)) // b does not know of it
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
	rounds := races(t, 1000)

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

func TestT3CommitAgainstAbort(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	committed := 0
	for i := range races(t, 1000) {
		id := fmt.Sprint("tx ", i)
		begin := put(id, nobody, id, id+"'")
		begin.Produce[0].Records[0].Partition, begin.Produce[0].Records[1].Partition = 0, 1
		begin.Offsets = []GroupOffset{offset("g", 0, 0)}
		mustPut(t, a, begin)
		var commit, abort *TransactionState
		var commitErr, abortErr error
		both(func() { commit, commitErr = a.Commit(context.Background(), id, anyone) },
			func() { abort, abortErr = b.Abort(context.Background(), id, anyone) })
		switch {
		case commitErr == nil && abortErr != nil:
			mustRefuse(t, abortErr, eos.InvalidTxnState)
			mustSay(t, commit, mustCommit(t, b, id))
			committed++
		case abortErr == nil && commitErr != nil:
			if got := mustRefuse(t, commitErr, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByClient {
				t.Fatalf("aborted by %q", got.AbortedBy)
			}
			mustSay(t, abort, mustAbort(t, a, id))
		default:
			t.Fatalf("round %d: commit %v, abort %v: two fates, or none", i, commitErr, abortErr)
		}
		if got, want := mustEnd(t, a), int64(2*committed); got != want {
			t.Fatalf("round %d: %d records, want those of %d transactions", i, got, committed)
		}
	}
	t.Logf("%d committed", committed)
	mustBeEmptyOf(t, a, "stagings", "staged_offsets")
	conn := newConn(t, a.pool.Config().ConnString())
	if n := mustGet[int](t, conn, "SELECT count(*) FROM batches"); n != 2*committed {
		t.Errorf("%d batches, want %d", n, 2*committed)
	}
}

func TestT3TwoCommitsAtOnce(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	rounds := races(t, 200)
	for i := range rounds {
		id := fmt.Sprint("tx ", i)
		mustPut(t, a, put(id, nobody, id))
		var states [2]*TransactionState
		var errs [2]error
		both(func() { states[0], errs[0] = a.Commit(context.Background(), id, anyone) },
			func() { states[1], errs[1] = b.Commit(context.Background(), id, anyone) })
		if errs[0] != nil || errs[1] != nil {
			t.Fatalf("round %d: %v, %v", i, errs[0], errs[1])
		}
		if states[0].Repeated {
			states[0], states[1] = states[1], states[0]
		}
		mustSay(t, states[0], states[1])
	}
	if got := mustEnd(t, a); got != int64(rounds) {
		t.Errorf("%d records, want %d", got, rounds)
	}
}

// The same one-shot, the same begin, and an abort of an id that is only coming.
func TestT8SamePutAtTheSameMoment(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	records := 0
	for i := range races(t, 300) {
		id := fmt.Sprint("tx ", i)
		request := oneShot(id, nobody, id)
		if i%3 == 1 {
			request = put(id, nobody, id)
		}
		var states [2]*TransactionState
		var errs [2]error
		other := func() { states[1], errs[1] = b.PutTransaction(context.Background(), request) }
		if i%3 == 2 {
			other = func() { states[1], errs[1] = b.Abort(context.Background(), id, anyone) }
		}
		both(func() { states[0], errs[0] = a.PutTransaction(context.Background(), request) }, other)
		switch {
		case i%3 == 2:
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("round %d: put %v, abort %v: two fates, or none", i, errs[0], errs[1])
			}
			if errs[0] == nil {
				records++
			}
		case errs[0] != nil || errs[1] != nil:
			t.Fatalf("round %d: %v, %v", i, errs[0], errs[1])
		default:
			if states[0].Repeated {
				states[0], states[1] = states[1], states[0]
			}
			mustSay(t, states[0], states[1])
			if i%3 == 1 {
				mustCommit(t, b, id)
			}
			records++
		}
	}
	if got := mustEnd(t, a); got != int64(records) {
		t.Errorf("%d records, want %d", got, records)
	}
}

func TestT5TimeoutsAgainstCommits(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	rounds := races(t, 1000)
	committed := 0
	conn := newConn(t, a.pool.Config().ConnString())
	for i := range rounds {
		id := fmt.Sprint("tx ", i)
		mustPut(t, a, put(id, nobody, id))
		mustExec(t, conn, `UPDATE transactions SET expires_at = clock_timestamp() WHERE transaction_id = $1`, id)
		var commitErr, abortErr error
		var aborted int
		both(func() { _, commitErr = a.Commit(context.Background(), id, anyone) },
			func() { aborted, abortErr = b.AbortExpired(context.Background(), 10) })
		if abortErr != nil {
			t.Fatal(abortErr)
		}
		if (commitErr == nil) == (aborted == 1) {
			t.Fatalf("round %d: commit %v, %d aborted", i, commitErr, aborted)
		}
		if commitErr != nil {
			if got := mustRefuse(t, commitErr, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByTimeout {
				t.Fatalf("aborted by %q", got.AbortedBy)
			}
		} else {
			committed++
		}
		if got := mustEnd(t, a); got != int64(committed) {
			t.Fatalf("round %d: %d records, want %d", i, got, committed)
		}
	}
	t.Logf("%d of %d committed", committed, rounds)
}

// Registrations with a key: one answer, whoever comes first, one epoch.
func TestP3SameRegistrationAtTheSameMoment(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	for i := range races(t, 200) {
		id := []string{"", "same", fmt.Sprint("new ", i)}[i%3]
		var producers [2]Producer
		var replayed [2]bool
		var errs [2]error
		key := fmt.Sprint("key ", i)
		both(func() { producers[0], replayed[0], errs[0] = register(a, id, key) },
			func() { producers[1], replayed[1], errs[1] = register(b, id, key) })
		if errs[0] != nil || errs[1] != nil || replayed[0] == replayed[1] || fmt.Sprint(producers[0]) != fmt.Sprint(producers[1]) {
			t.Fatalf("round %d: %+v %v %v, %+v %v %v", i, producers[0], replayed[0], errs[0], producers[1], replayed[1], errs[1])
		}
		if id == "same" && producers[0].Epoch != int64(i/3) {
			t.Fatalf("round %d: epoch %d, want %d", i, producers[0].Epoch, i/3)
		}
	}
}
