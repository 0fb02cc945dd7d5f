package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

func TestT3CommitAgainstAbort(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	committed := 0
	for i := range races(1000) {
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
	rounds := races(200)
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
	for i := range races(300) {
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
	rounds := races(1000)
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
	for i := range races(200) {
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

// The transaction begins while its commit waits for a lock of something else:
// then the commit has locked neither it nor its partitions.
func TestT1CommitMeetsTheBeginOfItsTransaction(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	topic := mustKnow(t, a)
	conn, watch := newConn(t, a.pool.Config().ConnString()), newConn(t, a.pool.Config().ConnString())
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, "SELECT FROM partitions WHERE partition_id = $1 FOR UPDATE", topic.PartitionIDs[0])
	ops := []*Op{mustOp(t, a, plain("x").to(0)), mustOp(t, a, Commit{"tx", anyone})}
	done := make(chan []Outcome)
	go func() { done <- a.FlushPatiently(context.Background(), ops) }()
	mustWait(t, watch, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	mustBegin(t, b, "tx", nobody)
	mustProduce(t, b, plain("y").in("tx").to(1))
	mustExec(t, conn, "ROLLBACK")
	got := <-done
	if got[0].Err != nil {
		t.Error(got[0].Err)
	}
	if got[1].Err != nil || got[1].State.State != eos.StateCommitted {
		t.Errorf("the commit: %+v, %v", got[1].State, got[1].Err)
	}
	mustHold(t, b, "0:0 x", "1:0 y")
}
