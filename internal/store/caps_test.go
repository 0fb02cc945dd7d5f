package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

func TestCaps(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	s := newStoreWith(t, url, Config{PoolSize: 2, Caps: Caps{
		Producers: 3, TransactionalIDs: 2, OpenTransactions: 2, Transactions: 4, TransactionBytes: 50, StagedBytes: 70,
	}})
	mustTopic(t, s, "t", 1)

	mustRegister(t, s, "a")
	if _, _, err := register(s, "b", "key"); err != nil {
		t.Fatal(err)
	}
	_, _, err := register(s, "c", "")
	mustRefuse(t, err, eos.QuotaExceeded)
	mustRegister(t, s, "a") // creates nothing
	if _, replayed, err := register(s, "b", "key"); err != nil || !replayed {
		t.Errorf("the repeat of a registration at the cap: %v, %v", replayed, err)
	}
	mustRegister(t, s, "")
	_, _, err = register(s, "", "")
	mustRefuse(t, err, eos.QuotaExceeded)

	forty := strings.Repeat("x", 38) // and two quotes
	mustBegin(t, s, "one", nobody)
	first := mustProduce(t, s, keyed("k", forty).in("one"))
	_, err = produce(s, plain(forty).in("one"))
	mustRefuse(t, err, eos.QuotaExceeded)
	mustRepeat(t, s, keyed("k", forty).in("one"), first)
	mustBegin(t, s, "two", nobody)
	if _, err := s.CountOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = produce(s, plain(forty).in("two"))
	mustRefuse(t, err, eos.QuotaExceeded)
	_, err = s.PutTransaction(t.Context(), put("three", nobody))
	mustRefuse(t, err, eos.QuotaExceeded)
	mustPut(t, s, put("two", nobody)) // begun already
	mustPut(t, s, oneShot("three", nobody, "y"))
	mustAbort(t, s, "two")
	mustBegin(t, s, "four", nobody)
	_, err = s.PutTransaction(t.Context(), oneShot("five", nobody))
	mustRefuse(t, err, eos.QuotaExceeded)
	_, err = s.Abort(t.Context(), "five", anyone)
	mustRefuse(t, err, eos.QuotaExceeded)
	mustCommit(t, s, "one")
	mustPut(t, s, oneShot("three", nobody, "y"))

	open, err := s.CountOpen(t.Context())
	if err != nil || open.Count != 1 || open.StagedBytes != 0 || open.OldestSeconds <= 0 {
		t.Errorf("open: %+v, %v", open, err)
	}
	mustHold(t, s, "0:0 y", "0:1 "+forty)

	// Another proxy learns of all this when it counts.
	other := newStoreWith(t, url, Config{PoolSize: 2, Caps: Caps{Producers: 3, Transactions: 4}})
	if err := other.Count(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _, err = register(other, "", "")
	mustRefuse(t, err, eos.QuotaExceeded)
	_, err = other.PutTransaction(t.Context(), put("five", nobody))
	mustRefuse(t, err, eos.QuotaExceeded)
}

// No caps: nothing is refused.
func TestNoCaps(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	for i := range 10 {
		mustRegister(t, a, fmt.Sprint(i))
		mustPut(t, a, put(fmt.Sprint(i), nobody, strings.Repeat("x", 1000)))
	}
	if open, err := a.CountOpen(t.Context()); err != nil || open.Count != 10 || open.StagedBytes != 10*1002 {
		t.Errorf("open: %+v, %v", open, err)
	}
}

// A quota that is reached while a PUT is being decided refuses all of it or
// nothing: the count is another goroutine's.
func TestT1QuotaReachedHalfWayThroughAPut(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	s := newStoreWith(t, url, Config{PoolSize: 4, Caps: Caps{StagedBytes: 1 << 20}})
	mustTopic(t, s, "t", 1)
	done := make(chan struct{})
	defer func() { <-done }()
	stop, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer close(done)
		for stop.Err() == nil {
			s.counts.stagedBytes.Store(1 << 20)
			s.counts.stagedBytes.Store(0)
		}
	}()
	refused := 0
	for i := range 200 {
		id := fmt.Sprint("tx", i)
		begin := put(id, nobody)
		for range 50 {
			begin.Produce = append(begin.Produce, TopicRecords{"t", records("a")})
		}
		_, err := s.PutTransaction(t.Context(), begin)
		if err == nil {
			continue
		}
		refused++
		mustRefuse(t, err, eos.QuotaExceeded)
		_, err = s.Transaction(t.Context(), id)
		mustRefuse(t, err, eos.TransactionNotFound)
	}
	if refused == 0 || refused == 200 {
		t.Errorf("%d of 200 refused: the quota was not reached half way", refused)
	}
}
