package store

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

// records returns keyless records with JSON texts as values.
func records(values ...string) []eos.Record {
	list := make([]eos.Record, len(values))
	for i, v := range values {
		list[i] = eos.Record{Value: []byte(strconv.Quote(v)), Flags: eos.KeyNull, Timestamp: -1, Partition: -1}
	}
	return list
}

// An ask is a produce request before it is routed.
type ask struct {
	eos.Append
	topic     string
	partition int // of the path; -1: the topic's
	records   []eos.Record
}

func plain(values ...string) ask {
	list := records(values...)
	return ask{
		Append: eos.Append{
			Identity:    eos.Identity{ProducerID: eos.NoProducer, Fingerprint: eos.FingerprintRecords(list)},
			RecordCount: len(list),
		},
		topic: "t", partition: -1, records: list,
	}
}

func keyed(key string, values ...string) ask {
	a := plain(values...)
	a.Key = key
	return a
}

func sequenced(p Producer, sequence int64, values ...string) ask {
	a := plain(values...)
	a.ProducerID, a.Epoch, a.Sequence = p.ID, p.Epoch, sequence
	return a
}

// in returns the request in a transaction.
func (a ask) in(transaction string) ask {
	a.TransactionID = transaction
	return a
}

// to returns the request to one partition's URL.
func (a ask) to(partition int) ask {
	a.partition = partition
	return a
}

// produce does what the appender does with one request.
func produce(s *Store, a ask) (Result, error) {
	ctx := context.Background()
	random := rand.Uint64()
	for {
		topic, err := s.Topic(ctx, a.topic)
		if err != nil {
			return Result{}, err
		}
		r, err := NewRequest(a.Append, topic, a.partition, a.records, a.Keyless(random))
		if err != nil {
			return Result{}, err
		}
		o := s.Append(ctx, []*Request{r})[0]
		if !IsStale(o.Err) {
			return o.Result, o.Err
		}
		s.Forget(a.topic)
	}
}

func mustProduce(t testing.TB, s *Store, a ask) Result {
	t.Helper()
	r, err := produce(s, a)
	if err != nil {
		t.Fatalf("produce: %v", err)
	}
	return r
}

// mustRepeat sends a request that was sent before, and wants the same answer.
func mustRepeat(t testing.TB, s *Store, a ask, want Result) {
	t.Helper()
	want.Repeated = true
	if diff := cmp.Diff(want, mustProduce(t, s, a)); diff != "" {
		t.Errorf("the repeat's answer (-first +repeat):\n%s", diff)
	}
}
