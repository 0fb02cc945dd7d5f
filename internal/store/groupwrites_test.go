package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// groupWrites returns every operation of groups that a COMMIT ends, each round
// in a group of its own, on a database with topic "t".
func groupWrites() map[string]write {
	group := func(i int) string { return fmt.Sprint("g", i) }
	join := func(t testing.TB, s *Store, i int, j eos.Join) *MemberState {
		t.Helper()
		state, err := s.Join(context.Background(), group(i), j)
		if err != nil {
			t.Fatalf("round %d: %s joins: %v", i, j.MemberID, err)
		}
		return state
	}
	// one and its record; two of them are a group on its way.
	one := func(t testing.TB, direct *Store, i int) {
		mustProduce(t, direct, plain("x"))
		join(t, direct, i, member("m1"))
	}
	commit := func(i int) []GroupOffset { return []GroupOffset{offset(group(i), 0, 1)} }
	committed := func(t testing.TB, direct *Store, i int) { t.Helper(); mustCommitted(t, direct, group(i), 1) }
	members := func(want ...string) func(testing.TB, *Store, int) {
		return func(t testing.TB, direct *Store, i int) {
			t.Helper()
			g, err := direct.GroupState(context.Background(), group(i))
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, m := range g.Members {
				ids = append(ids, m.MemberID)
			}
			if !slices.Equal(ids, want) {
				t.Fatalf("round %d: members %v, want %v", i, ids, want)
			}
		}
	}
	empty := func(t testing.TB, direct *Store, i int) {
		mustProduce(t, direct, plain("x"))
		m := join(t, direct, i, member("m1"))
		if _, err := direct.CommitOffsets(context.Background(), group(i), "m1", m.Epoch, commit(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := direct.Leave(context.Background(), group(i), "m1"); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]write{
		"join": {
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				state, err := s.Join(ctx, group(i), member("m1"))
				if err != nil {
					return err
				}
				if !state.Created || len(state.Assignment) != 1 {
					t.Errorf("round %d: answered %+v", i, state)
				}
				_, err = s.Poll(context.WithoutCancel(ctx), &Poll{Group: group(i), Member: "m1", Epoch: state.Epoch})
				return err
			},
			check: members("m1"),
		},
		"join that replaces": {
			prepare: func(t testing.TB, direct *Store, i int) {
				old := member("m1")
				old.InstanceID = "i"
				join(t, direct, i, old)
			},
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				j := member("m2")
				j.InstanceID = "i"
				state, err := s.Join(ctx, group(i), j)
				if err == nil && (!state.Created || len(state.Assignment) != 1) {
					t.Errorf("round %d: answered %+v", i, state)
				}
				return err
			},
			check: members("m2"),
		},
		"leave": {
			prepare: one,
			do: func(ctx context.Context, _ testing.TB, s *Store, i int) error {
				_, err := s.Leave(ctx, group(i), "m1")
				return err
			},
			check: members(),
		},
		"poll that commits": {
			prepare: one,
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				p, err := s.Poll(ctx, &Poll{Group: group(i), Member: "m1", Epoch: 1, Commits: commit(i)})
				if err == nil && *p.Readable[0].Committed != 1 {
					t.Errorf("round %d: answered that %d stands", i, *p.Readable[0].Committed)
				}
				return err
			},
			check: committed,
		},
		"poll that commits and lets go": { // and then may not commit any more
			prepare: func(t testing.TB, direct *Store, i int) {
				one(t, direct, i)
				join(t, direct, i, member("m0")) // is to have no partition
				if _, err := direct.Leave(context.Background(), group(i), "m0"); err != nil {
					t.Fatal(err)
				}
				if _, err := direct.pool.Exec(context.Background(), `UPDATE group_partitions SET target_id = 'm0' WHERE group_id = $1`, group(i)); err != nil {
					t.Fatal(err)
				}
				told, err := direct.Poll(context.Background(), &Poll{Group: group(i), Member: "m1", Epoch: 1})
				if err != nil || len(told.Revoking) != 1 {
					t.Fatalf("round %d: %+v, %v", i, told, err)
				}
			},
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				g, err := s.GroupState(ctx, group(i))
				if err != nil {
					return err
				}
				p, err := s.Poll(ctx, &Poll{Group: group(i), Member: "m1", Epoch: g.Members[0].Epoch, Commits: commit(i)})
				if err == nil && len(p.Revoking)+len(p.Assignment) > 0 {
					t.Errorf("round %d: answered %+v", i, p)
				}
				return err
			},
			check: committed,
		},
		"offsets of a member": {
			prepare: one,
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				_, err := s.CommitOffsets(ctx, group(i), "m1", 1, commit(i))
				return err
			},
			check: committed,
		},
		"one-shot of a member": {
			prepare: one,
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				whole := oneShot(fmt.Sprint("tx ", i), nobody, "out")
				whole.Offsets = []GroupOffset{from(offset(group(i), 0, 1), 0)}
				whole.Offsets[0].MemberID, whole.Offsets[0].MemberEpoch = "m1", 1
				state, err := s.PutTransaction(ctx, whole)
				if err == nil && state.State != eos.StateCommitted {
					t.Errorf("round %d: answered %s", i, state.State)
				}
				return err
			},
			check: committed,
		},
		"offsets of a group": {
			prepare: func(t testing.TB, direct *Store, _ int) { mustProduce(t, direct, plain("x")) },
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				_, err := s.CommitOffsets(ctx, group(i), "", 0, commit(i))
				return err
			},
			check: committed,
		},
		"reset of offsets": {
			prepare: empty,
			do: func(ctx context.Context, t testing.TB, s *Store, i int) error {
				got, err := s.ResetOffsets(ctx, group(i), &Reset{At: Earliest})
				if err == nil && (len(got) != 1 || got[0].From == nil || *got[0].From != 1 || got[0].Offset != 0) {
					t.Errorf("round %d: answered %+v", i, got)
				}
				return err
			},
			check: func(t testing.TB, direct *Store, i int) { t.Helper(); mustCommitted(t, direct, group(i), 0) },
		},
		"delete group": {
			prepare: empty,
			do:      func(ctx context.Context, _ testing.TB, s *Store, i int) error { return s.DeleteGroup(ctx, group(i)) },
			check: func(t testing.TB, direct *Store, i int) {
				t.Helper()
				_, err := direct.GroupState(context.Background(), group(i))
				mustRefuse(t, err, eos.GroupNotFound)
				mustCommitted(t, direct, group(i), -1)
			},
		},
		"expiry of members": {
			prepare: func(t testing.TB, direct *Store, i int) {
				one(t, direct, i)
				for _, sql := range []string{`UPDATE members SET expires_at = '2000-01-01'`, `UPDATE groups SET sweep_at = '2000-01-01' WHERE sweep_at IS NOT NULL`} {
					if _, err := direct.pool.Exec(context.Background(), sql); err != nil {
						t.Fatal(err)
					}
				}
			},
			do: func(ctx context.Context, _ testing.TB, s *Store, _ int) error {
				_, err := s.ExpireMembers(ctx, time.Time{})
				return err
			},
			check: members(),
		},
	}
}
