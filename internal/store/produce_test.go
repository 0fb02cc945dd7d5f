package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

func TestP1RequestIsAtomicOverPartitions(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	p := mustRegister(t, a, "")
	request := sequenced(p, 0, "a", "b", "c")
	request.records[0].Partition, request.records[1].Partition, request.records[2].Partition = 0, 1, 0
	got := mustProduce(t, a, request)
	want := Result{NextSequence: 3, Shares: []Share{
		{Partition: 0, BaseOffset: 0, RecordCount: 2, RecordIndexes: []int{0, 2}},
		{Partition: 1, BaseOffset: 0, RecordCount: 1, RecordIndexes: []int{1}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	mustRepeat(t, b, request, want)

	// The second partition's row cannot be stored: neither is the first one's.
	conn := newConn(t, b.pool.Config().ConnString())
	mustExec(t, conn, `ALTER TABLE batches ADD CHECK (body <> '"poison"')`)
	request = sequenced(p, 3, "d", "poison")
	request.records[0].Partition, request.records[1].Partition = 0, 1
	if _, err := produce(a, request); err == nil {
		t.Error("a request was stored without one of its parts")
	}
	mustHold(t, b, "0:0 a", "0:1 c", "1:0 b")
	next := sequenced(p, 3, "e")
	next.records[0].Partition = 0
	mustProduce(t, b, next)
}

func TestP1OneBadRequestDoesNotHarmItsGroup(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	topic, err := a.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	p := mustRegister(t, a, "")
	conn := newConn(t, a.pool.Config().ConnString())
	mustExec(t, conn, `ALTER TABLE batches ADD CHECK (body <> '"poison"')`)
	var group []*Request
	for _, r := range []ask{plain("a"), sequenced(p, 0, "b"), plain("poison"), sequenced(p, 5, "early"), keyed("k", "c"), keyed("k", "c"), sequenced(p, 1, "d")} {
		request, err := NewRequest(r.Append, topic, -1, r.records, 0)
		if err != nil {
			t.Fatal(err)
		}
		group = append(group, request)
	}
	outcomes := a.Append(t.Context(), group)
	for i, wantErr := range []bool{false, false, true, true, false, false, false} {
		if got := outcomes[i].Err; (got != nil) != wantErr {
			t.Errorf("outcome %d: %v, want an error: %v", i, got, wantErr)
		}
	}
	if got := expects(mustRefuse(t, outcomes[3].Err, eos.OutOfOrder)); got != 1 {
		t.Errorf("expected sequence %d, want 1", got)
	}
	if !outcomes[5].Result.Repeated || outcomes[5].Result.Shares[0].BaseOffset != outcomes[4].Result.Shares[0].BaseOffset {
		t.Errorf("the same key twice in a group: %+v, then %+v", outcomes[4].Result, outcomes[5].Result)
	}
	mustHold(t, b, "0:0 a", "0:1 b", "0:2 c", "0:3 d")
}

func TestP2OffsetsAreDenseUnderAllRefusals(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, a, "")
	var want []string
	for i := range 50 {
		s := []*Store{a, b}[i%2]
		produce(s, sequenced(p, int64(i+7), "early"))
		produce(s, keyed("k", fmt.Sprintf("reused %d", i)))
		value := fmt.Sprint(i)
		mustProduce(t, s, sequenced(p, int64(i), value))
		if i == 0 {
			want = append(want, "0:0 reused 0")
		}
		want = append(want, fmt.Sprintf("0:%d %s", len(want), value))
	}
	mustHold(t, b, want...)
}

// Whoever has seen an offset can read all below it: readers of both proxies
// follow while both write.
func TestP2RecordsBecomeVisibleInOffsetOrder(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	const each = 200
	write := func(s *Store) {
		for i := range each {
			if _, err := produce(s, plain(fmt.Sprint(i))); err != nil {
				t.Error(err)
				return
			}
		}
	}
	topic, err := a.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	read := func(s *Store) {
		for end := int64(0); end < 2*each; {
			page, err := fetch(context.Background(), s, topic, Position{0, 0}, 10_000, 10<<20)
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range page.Records {
				if r.Offset != int64(i) {
					t.Errorf("offset %d read where %d belongs", r.Offset, i)
					return
				}
			}
			if page.NextOffset < end {
				t.Errorf("read up to %d, then only up to %d", end, page.NextOffset)
				return
			}
			if end = page.NextOffset; t.Failed() {
				return
			}
		}
	}
	both(func() { both(func() { write(a) }, func() { write(b) }) },
		func() { both(func() { read(a) }, func() { read(b) }) })
}

func TestP3RetryReturnsFirstOffsets(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 3)
	p := mustRegister(t, a, "billing")
	first := sequenced(p, 0, "a", "b")
	answer := mustProduce(t, a, first)
	byKey := keyed("k", "c")
	keyAnswer := mustProduce(t, b, byKey)
	for i := range 20 { // Kafka's window is five
		mustProduce(t, a, sequenced(p, int64(2+i), "more"))
	}
	mustRepeat(t, a, first, answer)
	mustRepeat(t, b, first, answer)
	mustRepeat(t, a, byKey, keyAnswer)

	// Under a later epoch, and under the one that it fenced.
	newer := mustRegister(t, b, "billing")
	mustRepeat(t, a, first, answer)
	first.Epoch = newer.Epoch
	mustRepeat(t, b, first, answer)
	first.Epoch = newer.Epoch + 1
	_, err := produce(b, first)
	if got := mustRefuse(t, err, eos.InvalidProducerEpoch); *got.ProducerEpoch != newer.Epoch {
		t.Errorf("epoch %d told, want %d", *got.ProducerEpoch, newer.Epoch)
	}
	first.Epoch, first.TransactionalID = newer.Epoch, "another"
	_, err = produce(b, first)
	mustRefuse(t, err, eos.InvalidMapping)

	// While another transaction of the producer is open.
	mustBegin(t, a, "open", newer)
	first.TransactionalID = "billing"
	mustRepeat(t, b, first, answer)
}

func TestP9FencedProducer(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	old := mustRegister(t, a, "billing")
	mustProduce(t, a, sequenced(old, 0, "a"))
	mustBegin(t, a, "tx", old)
	current := mustRegister(t, b, "billing")

	told := func(err error) {
		t.Helper()
		if got := mustRefuse(t, err, eos.ProducerFenced); *got.ProducerEpoch != current.Epoch {
			t.Errorf("epoch %d told, want %d", *got.ProducerEpoch, current.Epoch)
		}
	}
	_, err := produce(a, sequenced(old, 1, "b"))
	told(err)
	_, err = produce(a, sequenced(old, 1, "b").in("tx"))
	told(err)
	_, err = a.Commit(t.Context(), "tx", Caller{old.ID, old.Epoch})
	told(err)
	_, err = a.PutTransaction(t.Context(), put("other", old))
	told(err)
	_, err = a.Commit(t.Context(), "tx", Caller{ProducerID: eos.NoProducer})
	if got := mustRefuse(t, err, eos.InvalidTxnState); got.AbortedBy != eos.AbortedByFencing {
		t.Errorf("aborted by %q", got.AbortedBy)
	}
	mustProduce(t, b, sequenced(current, 1, "c"))
	mustHold(t, a, "0:0 a", "0:1 c")
}

func TestP10KeysAreUniquePerTopic(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustTopic(t, a, "u", 1)
	request := keyed("k", "a")
	first := mustProduce(t, a, request)
	mustRepeat(t, b, request, first)
	mustRepeat(t, b, request.to(first.Shares[0].Partition), first) // whichever URL
	_, err := produce(b, keyed("k", "b"))
	mustRefuse(t, err, eos.KeyReused)
	other := keyed("k", "a")
	other.topic = "u"
	if mustProduce(t, b, other).Repeated {
		t.Error("a key of another topic was taken for this one's")
	}

	// In a transaction the key counts there, and until it is aborted.
	nobody := Producer{ID: eos.NoProducer}
	mustBegin(t, a, "tx", nobody)
	staged := mustProduce(t, a, request.in("tx"))
	if staged.Repeated || !staged.Staged {
		t.Errorf("the key in a transaction: %+v", staged)
	}
	again := mustProduce(t, b, request.in("tx"))
	if !again.Repeated {
		t.Error("the key in a transaction was stored twice")
	}
	_, err = produce(b, keyed("k", "b").in("tx"))
	mustRefuse(t, err, eos.KeyReused)
	if _, err := b.Abort(t.Context(), "tx", Caller{ProducerID: eos.NoProducer}); err != nil {
		t.Fatal(err)
	}
	_, err = produce(a, request.in("tx"))
	mustRefuse(t, err, eos.InvalidTxnState)
	if got := len(mustLog(t, b, "t")); got != 1 {
		t.Errorf("%d records, want 1", got)
	}
}

func TestP10SecondAttemptWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	// Somebody holds the partition; both attempts wait behind him.
	conn := newConn(t, a.pool.Config().ConnString())
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, "SELECT FROM partitions FOR UPDATE")
	results := make(chan Result, 2)
	for _, s := range []*Store{a, b} {
		go func() {
			r, err := produce(s, keyed("k", "a"))
			if err != nil {
				t.Error(err)
			}
			results <- r
		}()
	}
	watch := newConn(t, a.pool.Config().ConnString())
	mustWait(t, watch, `SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	mustExec(t, conn, "COMMIT")
	first, second := <-results, <-results
	if first.Repeated == second.Repeated || first.Shares[0].BaseOffset != second.Shares[0].BaseOffset {
		t.Errorf("answers %+v and %+v, want one and its repeat", first, second)
	}
	mustHold(t, a, "0:0 a")
}

func TestP11SameKeySamePartition(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 7)
	for i := range 40 {
		key := fmt.Sprint("key-", i)
		request := plain("x", "y")
		for j := range request.records {
			request.records[j].Key, request.records[j].Flags = []byte(key), 0
		}
		want := eos.PartitionOf([]byte(key), 7)
		for _, s := range []*Store{a, b} {
			if got := mustProduce(t, s, request).Shares; len(got) != 1 || got[0].Partition != want {
				t.Errorf("key %s went to %+v, want partition %d", key, got, want)
			}
		}
	}
}

func TestP13UnsafeServersAreRefused(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	if err := newStore(t, url).Check(t.Context()); err != nil {
		t.Fatalf("a safe server: %v", err)
	}
	conn := newConn(t, url)
	name := mustGet[string](t, conn, "SELECT current_database()")
	mustExec(t, conn, "ALTER DATABASE "+name+" SET synchronous_commit = off")
	err := newStore(t, url).Check(t.Context())
	want := &UnsafeError{"synchronous_commit", "off"}
	var got *UnsafeError
	if !errors.As(err, &got) || *got != *want {
		t.Errorf("Check: %v, want %v", err, want)
	}
}
