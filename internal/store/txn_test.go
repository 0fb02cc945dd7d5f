package store

import (
	"context"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var nobody = Producer{ID: eos.NoProducer}

// anyone is a caller without producer headers.
var anyone = Caller{ProducerID: eos.NoProducer}

// put returns a PUT that begins a transaction of p and produces these values
// to topic "t".
func put(id string, p Producer, values ...string) Put {
	f := eos.NewFingerprinter()
	f.Text(id)
	f.Int(p.ID)
	f.Records(records(values...))
	put := Put{Begin: eos.Begin{ID: id, ProducerID: p.ID, Epoch: p.Epoch, Fingerprint: f.Sum()}}
	if len(values) > 0 {
		put.Produce = []TopicRecords{{"t", records(values...)}}
	}
	return put
}

// oneShot returns a PUT that is a whole transaction.
func oneShot(id string, p Producer, values ...string) Put {
	whole := put(id, p, values...)
	whole.Commit = true
	whole.Fingerprint[0] ^= 1
	return whole
}

func mustPut(t testing.TB, s *Store, put Put) *TransactionState {
	t.Helper()
	state, err := s.PutTransaction(context.Background(), put)
	if err != nil {
		t.Fatalf("put transaction %s: %v", put.ID, err)
	}
	return state
}

func mustBegin(t testing.TB, s *Store, id string, p Producer) {
	t.Helper()
	mustPut(t, s, put(id, p))
}

func mustCommit(t testing.TB, s *Store, id string) *TransactionState {
	t.Helper()
	state, err := s.Commit(context.Background(), id, anyone)
	if err != nil {
		t.Fatalf("commit %s: %v", id, err)
	}
	return state
}

func mustAbort(t testing.TB, s *Store, id string) *TransactionState {
	t.Helper()
	state, err := s.Abort(context.Background(), id, anyone)
	if err != nil {
		t.Fatalf("abort %s: %v", id, err)
	}
	return state
}

// mustSay wants the answer of a repeat to be the first one's.
func mustSay(t testing.TB, first, repeat *TransactionState) {
	t.Helper()
	ignore := cmpopts.IgnoreFields(TransactionState{}, "Repeated", "Logs", "ExpiresAt", "Fingerprint")
	if diff := cmp.Diff(first, repeat, ignore, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the repeat's answer (-first +repeat):\n%s", diff)
	}
	if !repeat.Repeated {
		t.Error("a repeat was done again")
	}
}

func offset(group string, partition int, at int64) GroupOffset {
	return GroupOffset{Group: group, Topic: "t", Partition: partition, Offset: at}
}

func from(o GroupOffset, seen int64) GroupOffset {
	o.From = &seen
	return o
}

// mustCommitted wants a group to have committed this offset for partition 0
// of "t", -1 for none.
func mustCommitted(t testing.TB, s *Store, group string, want int64) {
	t.Helper()
	const sql = `
		SELECT COALESCE((SELECT c.committed_offset
		                 FROM committed_offsets c
		                 JOIN partitions p USING (partition_id)
		                 JOIN topics USING (topic_id)
		                 WHERE topic = 't' AND partition = 0 AND group_id = $1), -1)`
	var got int64
	if err := s.pool.QueryRow(context.Background(), sql, group).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("group %s has committed offset %d, want %d", group, got, want)
	}
}

func TestT1AllOrNothing(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustTopic(t, a, "u", 1)
	mustProduce(t, a, plain("before").to(0))
	begin := put("tx", nobody, "a", "b")
	begin.Produce[0].Records[0].Partition, begin.Produce[0].Records[1].Partition = 0, 1
	begin.Produce = append(begin.Produce, TopicRecords{"u", records("c")})
	begin.Offsets = []GroupOffset{offset("g", 0, 1)}
	mustPut(t, a, begin)
	mustProduce(t, b, plain("d").to(0).in("tx"))
	if _, err := b.AddOffsets(t.Context(), "tx", anyone, []GroupOffset{offset("h", 0, 0)}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, b, "0:0 before")
	mustCommitted(t, b, "g", -1)

	state := mustCommit(t, b, "tx")
	want := []TopicShare{{"t", 0, 1, 2}, {"t", 1, 0, 1}, {"u", 0, 0, 1}}
	if diff := cmp.Diff(want, state.Appended); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
	mustHold(t, a, "0:0 before", "0:1 a", "0:2 d", "1:0 b")
	mustCommitted(t, a, "g", 1)
	mustCommitted(t, a, "h", 0)
	mustSay(t, state, mustCommit(t, a, "tx"))

	// One refused offset refuses all of a one-shot.
	whole := oneShot("one", nobody, "e")
	whole.Offsets = []GroupOffset{offset("i", 0, 1), from(offset("g", 0, 2), 0)}
	_, err := a.PutTransaction(t.Context(), whole)
	if got := mustRefuse(t, err, eos.OffsetMismatch); *got.CommittedOffset != 1 {
		t.Errorf("committed offset %d told, want 1", *got.CommittedOffset)
	}
	mustHold(t, b, "0:0 before", "0:1 a", "0:2 d", "1:0 b")
	mustCommitted(t, b, "i", -1)
	_, err = b.Transaction(t.Context(), "one")
	mustRefuse(t, err, eos.TransactionNotFound) // a refused PUT leaves its id unused
	whole.Offsets[1] = from(offset("g", 0, 2), 1)
	mustPut(t, b, whole)
	mustCommitted(t, b, "g", 2)
}

func TestT1OffsetsAreCheckedAgainstTheLog(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	mustProduce(t, a, plain("a"))
	begin := put("tx", nobody)
	begin.Offsets = []GroupOffset{offset("g", 0, 2)}
	_, err := a.PutTransaction(t.Context(), begin)
	if got := mustRefuse(t, err, eos.OffsetBeyondEnd); *got.HighWatermark != 1 {
		t.Errorf("high watermark %d told, want 1", *got.HighWatermark)
	}
	begin.Offsets = []GroupOffset{offset("g", 1, 0)}
	_, err = a.PutTransaction(t.Context(), begin)
	mustRefuse(t, err, eos.UnknownTopic)
}

func TestT2OpenTransactionDelaysNobody(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustPut(t, a, put("tx", nobody, "staged 1"))
	mustProduce(t, b, plain("plain 1"))
	mustHold(t, a, "0:0 plain 1")
	mustProduce(t, a, plain("staged 2").in("tx"))
	mustProduce(t, b, plain("plain 2"))
	mustPut(t, b, put("gone", nobody, "never"))
	mustAbort(t, a, "gone")
	mustCommit(t, b, "tx")
	mustProduce(t, b, plain("plain 3"))
	mustHold(t, b, "0:0 plain 1", "0:1 plain 2", "0:2 staged 1", "0:3 staged 2", "0:4 plain 3")
}
