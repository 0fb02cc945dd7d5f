package appender

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

func keyed(key string) eos.Append {
	a := anonymous()
	a.Key, a.Fingerprint = key, eos.FingerprintRecords(values(1))
	return a
}

// What somebody else's lock holds up is set aside; everything else goes on, and
// it is written when the lock is free.
func TestALockHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.locked = "locked"
		a := newRunning(t, log, Config{})
		held := a.send(t.Context(), keyed("locked"))
		mustBeOpen(t, held)
		for i := range 3 {
			mustSucceed(t, a.send(t.Context(), sequenced(int64(i), 1)))
		}
		mustBeOpen(t, held)
		log.patience <- struct{}{}
		mustSucceed(t, held)
	})
}

func TestTooMuchThatIsLockedIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.locked = "locked"
		a := newRunning(t, log, Config{})
		var held []*sent
		for range maxAside + 1 { // one is RunAside's
			held = append(held, a.send(t.Context(), keyed("locked")))
		}
		o := <-a.send(t.Context(), keyed("locked")).answer
		mustBeKind(t, o.Err, eos.Unavailable)
		for range held {
			log.patience <- struct{}{}
		}
		for _, s := range held {
			mustSucceed(t, s)
		}
	})
}

// One topic that is flooded delays another by at most one flush.
func TestTopicsTakeTurns(t *testing.T) {
	t.Parallel()
	q := newQueue()
	for i := range 3 * maxGroup {
		q.add(&waiting{op: &store.Op{Append: &store.Request{Topic: &store.Topic{ID: 1}, Append: sequenced(int64(i), 1)}}})
	}
	var others []*waiting
	for topic := range int64(maxGroup / 2) {
		w := &waiting{op: &store.Op{Append: &store.Request{Topic: &store.Topic{ID: topic + 2}}}}
		others = append(others, w)
		q.add(w)
	}
	g := &group{}
	q.fill(g)
	if len(g.waiting) != maxGroup {
		t.Fatalf("the group has %d", len(g.waiting))
	}
	seen := map[*waiting]bool{}
	last := int64(-1)
	for _, w := range g.waiting {
		seen[w] = true
		if w.op.Append.Topic.ID == 1 {
			if w.op.Append.Sequence != last+1 {
				t.Fatalf("sequence %d after %d", w.op.Append.Sequence, last)
			}
			last++
		}
	}
	for i, w := range others {
		if !seen[w] {
			t.Fatal(fmt.Sprint("topic ", i+2, " has to wait for the flooded one"))
		}
	}
	if q.ops != 3*maxGroup+len(others)-maxGroup {
		t.Errorf("%d are left", q.ops)
	}
}

func TestTooManyWaitingBytesAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{})
		a := newRunning(t, log, Config{MaxQueuedBytes: 50})
		a.send(t.Context(), anonymous()) // in the flush
		a.send(t.Context(), anonymous())
		a.send(t.Context(), anonymous())
		o := <-a.send(t.Context(), anonymous()).answer
		mustBeKind(t, o.Err, eos.Unavailable)
		close(log.hold)
	})
}
