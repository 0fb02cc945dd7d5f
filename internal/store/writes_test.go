package store

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// A write is an operation that a COMMIT ends, and how to see that it was done
// exactly once. i counts its rounds from 0.
type write struct {
	prepare func(t testing.TB, direct *Store, i int)
	do      func(ctx context.Context, t testing.TB, s *Store, i int) error
	check   func(t testing.TB, direct *Store, i int)
}

// oneMore wants the log of "t" to hold one record for each round so far.
func oneMore(t testing.TB, direct *Store, i int) {
	t.Helper()
	if got := mustEnd(t, direct); got != int64(i+1) {
		t.Fatalf("%d records after round %d", got, i)
	}
}

// produceIn returns a do that produces, and wants the offset and sequence of
// the round.
func produceIn(request func(i int) ask, base func(i int) int64) func(context.Context, testing.TB, *Store, int) error {
	return func(ctx context.Context, t testing.TB, s *Store, i int) error {
		a := request(i)
		topic, err := s.Topic(context.WithoutCancel(ctx), "t")
		if err != nil {
			return err
		}
		r, err := NewRequest(a.Append, topic, -1, a.records, 0)
		if err != nil {
			return err
		}
		o := s.Append(ctx, []*Request{r})[0]
		if o.Err == nil && o.Result.Shares[0].BaseOffset != base(i) {
			t.Errorf("round %d: answered offset %d, want %d", i, o.Result.Shares[0].BaseOffset, base(i))
		}
		return o.Err
	}
}

func roundOf(i int) int64 { return int64(i) }

// ended returns a do that ends transaction "tx i", and wants a state.
func ended(end func(*Store, context.Context, string, Caller) (*TransactionState, error), want eos.State) func(context.Context, testing.TB, *Store, int) error {
	return func(ctx context.Context, t testing.TB, s *Store, i int) error {
		state, err := end(s, ctx, fmt.Sprint("tx ", i), anyone)
		if err == nil && state.State != want {
			t.Errorf("round %d: answered %s, want %s", i, state.State, want)
		}
		return err
	}
}

// stands wants transaction "tx i" to have a state, once nobody writes it.
func stands(want eos.State) func(testing.TB, *Store, int) {
	return func(t testing.TB, direct *Store, i int) {
		t.Helper()
		_, err := direct.pool.Exec(context.Background(), `SELECT FROM transactions WHERE transaction_id = $1 FOR SHARE`, fmt.Sprint("tx ", i))
		if err != nil {
			t.Fatal(err)
		}
		state, err := direct.Transaction(context.Background(), fmt.Sprint("tx ", i))
		if err != nil || state.State != want {
			t.Fatalf("round %d: %+v, %v; want %s", i, state, err, want)
		}
	}
}

func openOne(t testing.TB, direct *Store, i int) {
	mustPut(t, direct, put(fmt.Sprint("tx ", i), nobody, fmt.Sprint(i)))
}

// writes returns every operation that writes, on a database with topic "t".
// p is a registered producer with a transactional id.
func writes(p Producer) map[string]write {
	putIn := func(request func(i int) Put, want eos.State) func(context.Context, testing.TB, *Store, int) error {
		return func(ctx context.Context, t testing.TB, s *Store, i int) error {
			state, err := s.PutTransaction(ctx, request(i))
			if err == nil && state.State != want {
				t.Errorf("round %d: answered %s, want %s", i, state.State, want)
			}
			return err
		}
	}
	all := map[string]write{
		"sequenced append": {
			do:    produceIn(func(i int) ask { return sequenced(p, int64(i), fmt.Sprint(i)) }, roundOf),
			check: oneMore,
		},
		"keyed append": {
			do:    produceIn(func(i int) ask { return keyed(fmt.Sprint("k", i), fmt.Sprint(i)) }, roundOf),
			check: oneMore,
		},
		"staged append": {
			prepare: func(t testing.TB, direct *Store, i int) { mustBegin(t, direct, fmt.Sprint("tx ", i), p) },
			do: produceIn(func(i int) ask { return sequenced(p, int64(i), fmt.Sprint(i)).in(fmt.Sprint("tx ", i)) },
				func(int) int64 { return 0 }), // within its transaction
			check: func(t testing.TB, direct *Store, i int) {
				mustCommit(t, direct, fmt.Sprint("tx ", i))
				oneMore(t, direct, i)
			},
		},
		"begin": {
			do: putIn(func(i int) Put { return put(fmt.Sprint("tx ", i), nobody, fmt.Sprint(i)) }, eos.StateOngoing),
			check: func(t testing.TB, direct *Store, i int) {
				mustCommit(t, direct, fmt.Sprint("tx ", i))
				oneMore(t, direct, i)
			},
		},
		"one-shot": {
			do:    putIn(func(i int) Put { return oneShot(fmt.Sprint("tx ", i), p, fmt.Sprint(i)) }, eos.StateCommitted),
			check: oneMore,
		},
		"commit":           {prepare: openOne, do: ended((*Store).Commit, eos.StateCommitted), check: oneMore},
		"abort":            {prepare: openOne, do: ended((*Store).Abort, eos.StateAborted), check: stands(eos.StateAborted)},
		"abort of unknown": {do: ended((*Store).Abort, eos.StateAborted), check: stands(eos.StateAborted)},
		"timeout": {
			prepare: func(t testing.TB, direct *Store, i int) {
				openOne(t, direct, i)
				if _, err := direct.pool.Exec(context.Background(), `UPDATE transactions SET expires_at = clock_timestamp() WHERE state = 'ongoing'`); err != nil {
					t.Fatal(err)
				}
			},
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				n, err := s.AbortExpired(ctx, 10)
				if err == nil && n != 1 {
					t.Errorf("round %d: %d aborted", i, n)
				}
				return err
			},
			check: stands(eos.StateAborted),
		},
		"offsets": {
			prepare: func(t testing.TB, direct *Store, i int) {
				mustProduce(t, direct, plain("x"))
				mustBegin(t, direct, fmt.Sprint("tx ", i), nobody)
			},
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				state, err := s.AddOffsets(ctx, fmt.Sprint("tx ", i), anyone, []GroupOffset{from(offset("g", 0, int64(i+1)), int64(i))})
				if err == nil && state.Repeated {
					t.Errorf("round %d: the first request is told to be a repeat", i)
				}
				return err
			},
			check: func(t testing.TB, direct *Store, i int) {
				mustCommit(t, direct, fmt.Sprint("tx ", i))
				mustCommitted(t, direct, "g", int64(i+1))
			},
		},
		"registration": {
			do: func(ctx context.Context, t testing.TB, s *Store, _ int) error {
				got, _, err := register(s, "billing", "")
				if err != nil {
					return err
				}
				now, err := s.Producer(context.WithoutCancel(ctx), p.ID)
				if err == nil && now.Epoch != got.Epoch {
					t.Errorf("answered epoch %d, which is fenced by %d", got.Epoch, now.Epoch)
				}
				return err
			},
			check: func(testing.TB, *Store, int) {},
		},
		"registration with a key": {
			do: func(_ context.Context, t testing.TB, s *Store, i int) error {
				got, _, err := register(s, "billing", fmt.Sprint("k", i))
				if err == nil && got.Epoch != int64(i+1) {
					t.Errorf("round %d: answered epoch %d, want %d", i, got.Epoch, i+1)
				}
				return err
			},
			check: func(t testing.TB, direct *Store, i int) {
				if now, err := direct.Producer(context.Background(), p.ID); err != nil || now.Epoch != int64(i+1) {
					t.Fatalf("round %d: %+v, %v", i, now, err)
				}
			},
		},
		"registration of a new producer": {
			do: func(ctx context.Context, _ testing.TB, s *Store, _ int) error {
				got, _, err := register(s, "", "")
				if err == nil {
					_, err = s.Producer(context.WithoutCancel(ctx), got.ID)
				}
				return err
			},
			check: func(testing.TB, *Store, int) {},
		},
		"create topic": {
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				_, created, err := s.CreateTopic(ctx, fmt.Sprint("t", i), Settings{}, 1<<20)
				if err == nil && !created {
					t.Errorf("round %d: answered that the topic was there", i)
				}
				return err
			},
			check: func(t testing.TB, direct *Store, i int) { mustState(t, direct, fmt.Sprint("t", i), 1) },
		},
		"update topic": {
			do: func(ctx context.Context, _ testing.TB, s *Store, i int) error {
				count := i + 2
				_, err := s.UpdateTopic(ctx, "t", Settings{PartitionCount: &count})
				return err
			},
			check: func(t testing.TB, direct *Store, i int) { mustState(t, direct, "t", i+2) },
		},
		"delete topic": {
			prepare: func(t testing.TB, direct *Store, i int) { mustTopic(t, direct, fmt.Sprint("t", i), 2) },
			do: func(ctx context.Context, _ testing.TB, s *Store, i int) error {
				return s.DeleteTopic(ctx, fmt.Sprint("t", i))
			},
			check: func(t testing.TB, direct *Store, i int) {
				_, err := direct.TopicState(context.Background(), fmt.Sprint("t", i))
				mustRefuse(t, err, eos.UnknownTopic)
			},
		},
	}
	maps.Copy(all, groupWrites())
	return all
}

func mustState(t testing.TB, s *Store, topic string, partitions int) {
	t.Helper()
	state, err := s.TopicState(context.Background(), topic)
	if err != nil || len(state.Partitions) != partitions {
		t.Fatalf("topic %s: %+v, %v; want %d partitions", topic, state, err, partitions)
	}
}
