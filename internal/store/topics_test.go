package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

func TestCreateUpdateAndListTopics(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	two, bytes := 2, int64(5000)
	state, created, err := a.CreateTopic(t.Context(), "u", Settings{PartitionCount: &two}, 77)
	if err != nil || !created || len(state.Partitions) != 2 || state.MaxRecordBytes != 77 || state.RetentionMS != DefaultRetentionMS {
		t.Errorf("created: %+v, %v, %v", state, created, err)
	}
	for _, same := range []Settings{{}, {PartitionCount: &two}} {
		if _, created, err := b.CreateTopic(t.Context(), "u", same, 1<<20); err != nil || created {
			t.Errorf("created again: %v, %v", created, err)
		}
	}
	_, _, err = b.CreateTopic(t.Context(), "u", Settings{RetentionBytes: &bytes}, 77)
	mustRefuse(t, err, eos.TopicExists)
	if state, err = b.UpdateTopic(t.Context(), "u", Settings{RetentionBytes: &bytes}); err != nil || state.RetentionBytes != bytes || len(state.Partitions) != 2 {
		t.Errorf("updated: %+v, %v", state, err)
	}
	one := 1
	_, err = a.UpdateTopic(t.Context(), "u", Settings{PartitionCount: &one})
	mustRefuse(t, err, eos.InvalidPartitions)
	_, err = a.UpdateTopic(t.Context(), "v", Settings{})
	mustRefuse(t, err, eos.UnknownTopic)
	mustProduce(t, b, plain("abc").to(0))
	if state, err = a.TopicState(t.Context(), "t"); err != nil || cmp.Diff([]PartitionState{{HighWatermark: 1, Bytes: 5}}, state.Partitions) != "" {
		t.Errorf("state: %+v, %v", state, err)
	}
	list, more, err := a.Topics(t.Context(), "", 1)
	if err != nil || !more || len(list) != 1 || list[0].Name != "t" {
		t.Errorf("list: %+v, %v, %v", list, more, err)
	}
	list, more, err = a.Topics(t.Context(), "t", 1)
	if err != nil || more || len(list) != 1 || list[0].Name != "u" || list[0].PartitionCount != 2 {
		t.Errorf("list: %+v, %v, %v", list, more, err)
	}
}

// A deleted topic takes everything with it; one of the same name is another.
func TestDeletedTopicIsGone(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	old := mustKnow(t, b)
	p := mustRegister(t, a, "billing")
	for i := range 10 {
		mustProduce(t, a, sequenced(p, int64(i), "s"))
	}
	mustProduce(t, a, keyed("k", "a"))
	mustPut(t, a, put("open", nobody, "staged"))
	whole := oneShot("one", nobody)
	whole.Offsets = []GroupOffset{offset("g", 0, 0)}
	mustPut(t, a, whole)
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, b.DeleteTopic(t.Context(), "t"), eos.UnknownTopic)
	_, err := fetch(t.Context(), b, old, Position{0, 0}, 1, 1)
	mustRefuse(t, err, eos.UnknownTopic)
	if ends, err := b.Ends(t.Context(), old.PartitionIDs); err != nil || len(ends) != 0 {
		t.Errorf("ends: %v, %v", ends, err)
	}
	_, err = b.Receipt(t.Context(), p.ID, old, -1, 0)
	mustRefuse(t, err, eos.NotFound)

	mustTopic(t, a, "t", 2)
	mustCommitted(t, b, "g", -1)
	if got := mustRegister(t, b, "billing").Next; len(got) != 0 {
		t.Errorf("sequences of the deleted topic: %+v", got)
	}
	p.Epoch++
	if mustProduce(t, b, sequenced(p, 0, "new")).Repeated || mustProduce(t, b, keyed("k", "b")).Repeated {
		t.Error("an identity of the deleted topic was found")
	}
	_, err = a.Commit(t.Context(), "open", anyone)
	mustRefuse(t, err, eos.UnknownTopic)
	mustAbort(t, b, "open")

	conn := newConn(t, a.pool.Config().ConnString())
	swept := 0
	for {
		n, err := []*Store{a, b}[swept%2].Sweep(t.Context(), 3)
		if err != nil || n > 3+1 {
			t.Fatalf("sweep of at most 3: %d, %v", n, err)
		}
		if n == 0 {
			break
		}
		swept++
	}
	if n := mustGet[int](t, conn, "SELECT count(*) FROM batches"); n != 2 || swept < 4 {
		t.Errorf("%d batches left after %d sweeps, want the 2 of the new topic", n, swept)
	}
	mustBeEmptyOf(t, a, "dropped_logs", "stagings")
	if got := len(mustLog(t, b, "t")); got != 2 {
		t.Errorf("%d records, want 2", got)
	}
}

// Appends in flight, on proxies that remember the old topic, against deletion
// and creation: what is acknowledged is in the topic that was there.
func TestDeletionAgainstAppends(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	for i := range 100 {
		var err error
		both(func() {
			if err := a.DeleteTopic(context.Background(), "t"); err != nil {
				t.Error(err)
			}
			if _, _, err := a.CreateTopic(context.Background(), "t", Settings{}, 1<<20); err != nil {
				t.Error(err)
			}
		}, func() { _, err = produce(b, keyed(fmt.Sprint("k", i), "x")) })
		if err != nil {
			mustRefuse(t, err, eos.UnknownTopic)
		}
		if got := len(mustLog(t, b, "t")); got > 1 {
			t.Fatalf("%d records in the new topic", got)
		}
	}
	conn := newConn(t, a.pool.Config().ConnString())
	for n := 1; n > 0; {
		var err error
		if n, err = a.Sweep(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
	}
	left := mustGet[int](t, conn, `SELECT count(*) FROM batches WHERE log_id NOT IN (SELECT partition_id FROM partitions)`)
	if left != 0 {
		t.Errorf("%d batches of no log", left)
	}
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	topic := mustKnow(t, b)
	p := mustRegister(t, a, "billing")
	mustProduce(t, a, plain("before").to(1))
	request := sequenced(p, 0, "a", "b", "c")
	for i := range request.records {
		request.records[i].Partition = i % 2
	}
	mustProduce(t, a, request)
	mustBegin(t, a, "tx", p)
	request.Sequence = 3
	mustProduce(t, b, request.in("tx"))
	mustProduce(t, b, sequenced(p, 0, "d").to(1).in("tx"))
	_, err := b.Receipt(t.Context(), p.ID, topic, -1, 3)
	mustRefuse(t, err, eos.NotFound) // not yet
	mustProduce(t, a, plain("between").to(0))
	mustCommit(t, a, "tx")
	for _, test := range []struct {
		partition int
		sequence  int64
		base      int64
		count     int
		shares    []Share
	}{
		{-1, 0, 0, 3, []Share{{0, 0, 2, []int{0, 2}}, {1, 1, 1, []int{1}}}},
		{-1, 2, 0, 3, []Share{{0, 0, 2, []int{0, 2}}, {1, 1, 1, []int{1}}}},
		{-1, 4, 3, 3, []Share{{0, 3, 2, []int{0, 2}}, {1, 2, 1, []int{1}}}},
		{1, 0, 0, 1, []Share{{1, 3, 1, nil}}},
	} {
		r, err := b.Receipt(t.Context(), p.ID, topic, test.partition, test.sequence)
		if err != nil {
			t.Errorf("receipt of %d: %v", test.sequence, err)
			continue
		}
		if r.AppendedAt.IsZero() || r.BaseSequence != test.base || r.RecordCount != test.count {
			t.Errorf("receipt of %d: %+v", test.sequence, r)
		}
		if diff := cmp.Diff(test.shares, r.Shares); diff != "" {
			t.Errorf("receipt of %d (-want +got):\n%s", test.sequence, diff)
		}
	}
	for partition, sequence := range map[int]int64{-1: 6, 0: 0, 1: 1} {
		_, err := b.Receipt(t.Context(), p.ID, topic, partition, sequence)
		mustRefuse(t, err, eos.NotFound)
	}
}
