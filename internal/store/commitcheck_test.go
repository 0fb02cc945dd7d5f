package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// A commit that meets a change of its member on the way waits for it, and is
// refused: what it checks cannot change before it is written.
func TestG1CommitWaitsForAChangeOfItsMember(t *testing.T) {
	t.Parallel()
	commits := map[string]func(a *Store, o GroupOffset, id string, epoch int64) error{
		"poll": func(a *Store, o GroupOffset, id string, epoch int64) error {
			_, err := a.Poll(context.Background(), &Poll{Group: "g", Member: id, Epoch: epoch, Commits: []GroupOffset{o}})
			return err
		},
		"offsets": func(a *Store, o GroupOffset, id string, epoch int64) error {
			_, err := a.CommitOffsets(context.Background(), "g", id, epoch, []GroupOffset{o})
			return err
		},
		"one-shot": func(a *Store, o GroupOffset, id string, epoch int64) error {
			o.MemberID, o.MemberEpoch = id, epoch
			whole := oneShot("tx", nobody, "out")
			whole.Offsets = []GroupOffset{o}
			_, err := a.PutTransaction(context.Background(), whole)
			return err
		},
		"commit": func(a *Store, _ GroupOffset, _ string, _ int64) error { // of what was staged before
			_, err := a.Commit(context.Background(), "open", anyone)
			return err
		},
	}
	for name, commit := range commits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newPair(t, 1)
			mustProduce(t, a, plain("x"))
			m := mustJoin(t, a, member("m1"))
			o := offset("g", 0, 1)
			o.MemberID, o.MemberEpoch = "m1", m.Epoch
			begin := put("open", nobody, "out")
			begin.Offsets = []GroupOffset{o}
			mustPut(t, a, begin)

			holder, watch := newConn(t, a.pool.Config().ConnString()), newConn(t, a.pool.Config().ConnString())
			tx, err := holder.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), `UPDATE members SET member_epoch = member_epoch + 1`); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- commit(a, offset("g", 0, 1), "m1", m.Epoch) }()
			mustWait(t, watch, `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`)
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, <-done, eos.FencedMemberEpoch)
			mustHold(t, b, "0:0 x")
			mustCommitted(t, b, "g", -1)
		})
	}
}

// So do offsets without a member while somebody joins.
func TestG1OffsetsWithoutAMemberWaitForAJoin(t *testing.T) {
	t.Parallel()
	for name, commit := range map[string]func(a *Store) error{
		"offsets": func(a *Store) error {
			_, err := a.CommitOffsets(context.Background(), "g", "", 0, []GroupOffset{offset("g", 0, 1)})
			return err
		},
		"one-shot": func(a *Store) error {
			whole := oneShot("tx", nobody, "out")
			whole.Offsets = []GroupOffset{offset("g", 0, 1)}
			_, err := a.PutTransaction(context.Background(), whole)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newPair(t, 1)
			mustProduce(t, a, plain("x"))
			mustJoin(t, a, member("m1"))
			if _, err := a.Leave(t.Context(), "g", "m1"); err != nil {
				t.Fatal(err)
			}
			holder, watch := newConn(t, a.pool.Config().ConnString()), newConn(t, a.pool.Config().ConnString())
			tx, err := holder.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{
				`UPDATE groups SET idle_since = NULL, sweep_at = clock_timestamp() + interval '1 hour'`,
				`INSERT INTO members (group_id, member_id, topics, auto_offset_reset, session_timeout_ms, rebalance_timeout_ms,
				                      member_epoch, previous_epoch, expires_at)
				 VALUES ('g', 'm2', '{t}', 'earliest', 45000, 45000, 9, 0, clock_timestamp() + interval '1 hour')`,
			} {
				if _, err := tx.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			done := make(chan error, 1)
			go func() { done <- commit(a) }()
			mustWait(t, watch, `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`)
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, <-done, eos.NonEmptyGroup)
			mustHold(t, b, "0:0 x")
			mustCommitted(t, b, "g", -1)
		})
	}
}

// A refusal names the topic of the partition that it is about, whatever else
// looks like the topic's id.
func TestRefusalNamesItsTopicOnly(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 2)
	id := fmt.Sprintf("topic %d", mustKnow(t, a).ID)
	epochs := map[string]int64{id: mustJoin(t, a, member(id)).Epoch, "other": mustJoin(t, a, member("other")).Epoch}
	others := settle(t, a, epochs)["other"][0]
	want := fmt.Sprintf(`member %q does not own partition %d of topic "t"`, id, others)
	offsets := []GroupOffset{offset("g", others, 0)}
	_, err := a.CommitOffsets(t.Context(), "g", id, epochs[id], offsets)
	if refusal := mustRefuse(t, err, eos.PartitionNotOwned); refusal.Detail != want {
		t.Errorf("a commit: %s, want %s", refusal.Detail, want)
	}
	offsets[0].MemberID, offsets[0].MemberEpoch = id, epochs[id]
	whole := oneShot("tx", nobody, "x")
	whole.Offsets = offsets
	_, err = a.PutTransaction(t.Context(), whole)
	if refusal := mustRefuse(t, err, eos.PartitionNotOwned); refusal.Detail != want {
		t.Errorf("a transaction: %s, want %s", refusal.Detail, want)
	}
}
