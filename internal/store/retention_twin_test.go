package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// keeper is what should be true of a topic of two partitions, of which records
// leave at random moments: a list of all that was ever stored.
type keeper struct {
	stored []*shown
	ends   [2]int64
	starts [2]int64
	next   map[scopeKey]int64
}

// shown is a request that was stored, and its first answer.
type shown struct {
	ask
	result  Result
	trimmed bool // its only batch is deleted
}

// same reports whether two requests have one identity.
func same(a, b ask) bool {
	if a.HasProducer() || b.HasProducer() {
		return a.ProducerID == b.ProducerID && a.partition == b.partition && a.Sequence == b.Sequence
	}
	return a.Key == b.Key
}

// expected returns the sequence that a refusal names, or -1.
func expected(err error) int64 {
	var refusal *eos.Error
	if !errors.As(err, &refusal) {
		return -1
	}
	return expects(refusal)
}

// judge wants an answer to a request to be right, and takes notice of it.
func (k *keeper) judge(t *rapid.T, a ask, key scopeKey, got Result, err error) {
	for _, s := range k.stored {
		switch {
		case !same(s.ask, a):
		case err == nil && got.Repeated && a.Fingerprint == s.Fingerprint && fmt.Sprint(got.Shares) == fmt.Sprint(s.result.Shares):
			return // also while what retention removed is not deleted
		case a.HasProducer() && s.trimmed && errors.Is(err, eos.DuplicateSequence.Errorf("")):
			return // P6
		case a.HasProducer() && a.Fingerprint != s.Fingerprint && errors.Is(err, eos.SequenceReused.Errorf("")) && a.RecordCount == s.RecordCount:
			return // P4
		case a.HasProducer() && a.RecordCount != s.RecordCount && expected(err) == k.next[key]:
			return // P6
		case !a.HasProducer() && a.Fingerprint != s.Fingerprint && errors.Is(err, eos.KeyReused.Errorf("")):
			return // P10
		default:
			t.Fatalf("%+v\nwas stored (trimmed %v): %+v\nnow:    %+v, %v", a.Identity, s.trimmed, s.result, got, err)
		}
	}
	next := k.next[key]
	if a.HasProducer() && a.Sequence != next {
		if expected(err) != next {
			t.Fatalf("%+v: %+v, %v; the next sequence is %d", a.Identity, got, err, next)
		}
		return
	}
	if err != nil || got.Repeated {
		t.Fatalf("%+v is new: %+v, %v", a.Identity, got, err)
	}
	for _, share := range got.Shares {
		if share.BaseOffset != k.ends[share.Partition] {
			t.Fatalf("%+v was put at %+v, and the ends are %v", a.Identity, share, k.ends)
		}
		k.ends[share.Partition] += int64(share.RecordCount)
	}
	if a.HasProducer() {
		k.next[key] = a.Sequence + int64(a.RecordCount)
	}
	k.stored = append(k.stored, &shown{ask: a, result: got})
}

// Two stores, whose caches are stale at random moments, with records that leave
// at random moments: nothing is stored twice, no offset is given twice, and
// where a producer stands is never forgotten.
func TestP8NothingIsStoredTwiceWhateverLeaves(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	stores := []*Store{a, b}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		topic := fmt.Sprint("leaves-", n)
		known := mustTopic(t, a, topic, 2)
		billing := fmt.Sprint("billing-", n)
		producers := []Producer{mustRegister(t, a, billing), mustRegister(t, a, "")}
		k := &keeper{next: map[scopeKey]int64{}}
		one := func(rt *rapid.T) *Store { return stores[rapid.IntRange(0, 1).Draw(rt, "store")] }
		send := func(rt *rapid.T, r ask) {
			key := scopeKey{producer: r.ProducerID, scope: int64(r.partition)}
			got, err := produce(one(rt), r)
			k.judge(rt, r, key, got, err)
		}
		to := func(rt *rapid.T, r ask) ask {
			r.topic = topic
			partition := rapid.IntRange(0, 1).Draw(rt, "partition")
			if rapid.IntRange(0, 2).Draw(rt, "path") == 0 {
				r.partition = partition
			}
			return at(r, partition)
		}
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 1, 2)
		rt.Repeat(map[string]func(*rapid.T){
			"fresh": func(rt *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(rt, "producer")
				p := producers[i]
				r := to(rt, sequenced(p, 0, values.Draw(rt, "values")...))
				r.Sequence = k.next[scopeKey{p.ID, int64(r.partition)}]
				send(rt, r)
			},
			"beside": func(rt *rapid.T) {
				p := producers[rapid.IntRange(0, 1).Draw(rt, "producer")]
				r := to(rt, sequenced(p, 0, "x"))
				r.Sequence = max(0, k.next[scopeKey{p.ID, int64(r.partition)}]+rapid.Int64Range(-4, 2).Draw(rt, "shift"))
				send(rt, r)
			},
			"keyed": func(rt *rapid.T) {
				send(rt, to(rt, keyed(rapid.SampledFrom([]string{"k", "l", "m"}).Draw(rt, "key"), values.Draw(rt, "values")...)))
			},
			"again": func(rt *rapid.T) {
				if len(k.stored) == 0 {
					rt.Skip("nothing was stored")
				}
				r := k.stored[rapid.IntRange(0, len(k.stored)-1).Draw(rt, "stored")].ask
				if r.ProducerID == producers[0].ID {
					r.Epoch = producers[0].Epoch
				}
				send(rt, r)
			},
			"register": func(rt *rapid.T) {
				p := mustRegister(t, one(rt), billing)
				got, want := map[scopeKey]int64{}, map[scopeKey]int64{}
				for _, scope := range p.Next {
					partition := -1
					if scope.Partition != nil {
						partition = *scope.Partition
					}
					got[scopeKey{p.ID, int64(partition)}] = scope.NextSequence
				}
				for key, next := range k.next {
					if key.producer == p.ID {
						want[key] = next
					}
				}
				if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
					rt.Fatalf("what registration tells (-want +got):\n%s", diff)
				}
				producers[0] = p
			},
			"leave": func(rt *rapid.T) {
				partition := rapid.IntRange(0, 1).Draw(rt, "partition")
				before := rapid.Int64Range(0, k.ends[partition]).Draw(rt, "before")
				s := one(rt)
				if err := s.DeleteRecords(context.Background(), known, partition, before); err != nil {
					rt.Fatal(err)
				}
			},
			"delete": func(rt *rapid.T) {
				mustTrim(t, one(rt), conn)
				for _, s := range stores {
					s.forgetAges() // what was deleted was raised long ago
				}
				k.readStarts(rt, a, topic)
				for _, s := range k.stored {
					s.trimmed = s.result.Shares[0].BaseOffset < k.starts[s.result.Shares[0].Partition]
				}
			},
			"": func(rt *rapid.T) { k.check(rt, conn, b, topic) },
		})
	})
}

func (k *keeper) readStarts(t *rapid.T, s *Store, topic string) {
	state, err := s.TopicState(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range state.Partitions {
		if p.HighWatermark != k.ends[i] || p.LogStartOffset < k.starts[i] || p.LogStartOffset > k.ends[i] {
			t.Fatalf("partition %d: %+v; it ends at %d and began at %d", i, p, k.ends[i], k.starts[i])
		}
		k.starts[i] = p.LogStartOffset
	}
}

// check wants the records that are left to be those that were answered.
func (k *keeper) check(t *rapid.T, conn *pgx.Conn, s *Store, topic string) {
	k.readStarts(t, s, topic)
	left := int64(0)
	for i := range k.ends {
		left += k.ends[i] - k.starts[i]
	}
	const sql = `SELECT count(*) FROM records WHERE topic = $1`
	var got int64
	if err := conn.QueryRow(context.Background(), sql, topic).Scan(&got); err != nil || got != left {
		t.Fatalf("%d records are shown, %v; want %d", got, err, left)
	}
}
