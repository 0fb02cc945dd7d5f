package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/faults"
)

// TestT8SamePutWithFromOnTwoProxies: the attempt that waits must not take the
// offset that the other has just committed for somebody else's.
func TestT8SamePutWithFromOnTwoProxies(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	for i := range 200 {
		mustProduce(t, a, plain("x"))
		id := fmt.Sprint("tx ", i)
		request := oneShot(id, nobody, id)
		request.Offsets = []GroupOffset{from(offset("g", 0, int64(i+1)), int64(i))}
		var errs [2]error
		both(func() { _, errs[0] = a.PutTransaction(context.Background(), request) },
			func() { _, errs[1] = b.PutTransaction(context.Background(), request) })
		if errs[0] != nil || errs[1] != nil {
			t.Fatalf("round %d: %v | %v", i, errs[0], errs[1])
		}
	}
}

func TestP12LatePutWithFromIsSettled(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	for i := range 60 {
		mustProduce(t, direct, plain("x"))
		id := fmt.Sprint("tx ", i)
		request := oneShot(id, nobody)
		request.Offsets = []GroupOffset{from(offset("g", 0, int64(i+1)), int64(i))}
		proxy.Arm(faults.Late)
		if _, err := s.PutTransaction(context.Background(), request); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

func TestP12LostCreateOfATopicThatWasThere(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	mustTopic(t, direct, "old", 1)
	proxy.Arm(faults.CutAfter)
	_, created, err := s.CreateTopic(t.Context(), "old", Settings{}, 1<<20)
	if err != nil || created {
		t.Errorf("created %v, %v of a topic that was there", created, err)
	}
}
