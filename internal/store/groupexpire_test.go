package store

import (
	"testing"
	"time"
)

// Members whose sessions are over count as expired, whoever removes them.
func TestExpiredMembersAreCounted(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	for i, remove := range []func() error{
		func() error { _, err := a.ExpireMembers(t.Context(), time.Time{}); return err },
		func() error {
			_, err := a.CommitOffsets(t.Context(), "g", "", 0, []GroupOffset{offset("g", 0, 0)})
			return err
		},
		func() error { _, err := a.ResetOffsets(t.Context(), "g", &Reset{Offset: new(int64(0))}); return err },
		func() error { return a.DeleteGroup(t.Context(), "g") },
	} {
		mustJoin(t, a, member("m1"))
		mustJoin(t, a, member("m2"))
		silence(t, conn, "m1", "m2")
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if n, want := a.Totals().ExpiredMembers, int64(2*(i+1)); n != want {
			t.Errorf("%d members expired, want %d", n, want)
		}
		if n := a.counts.members.Load(); n != 0 {
			t.Errorf("%d members are left", n)
		}
	}
}

// Only after a lost COMMIT is a held group waited for; and groups are locked in
// the order of their ids, as commits do, so that the two cannot block each other.
func TestExpiryBesideCommitsOfOffsets(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	watch, holder := newConn(t, direct.pool.Config().ConnString()), newConn(t, direct.pool.Config().ConnString())
	for _, group := range []string{"a", "b"} {
		mustJoinGroup(t, direct, group, member("m1"))
	}
	silence(t, watch, "m1")
	const lock = `SELECT FROM groups WHERE group_id = $1 FOR NO KEY UPDATE`
	answer := mustLose(t, proxy, func() error {
		_, err := s.ExpireMembers(t.Context(), time.Time{})
		return err
	}, func() {
		mustExec(t, watch, `UPDATE groups SET sweep_at = sweep_at - interval '1 minute' WHERE group_id = 'b'`) // first in that order
		mustExec(t, holder, `BEGIN`)
		mustExec(t, holder, lock, "a")
	})
	mustWait(t, watch, `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`)
	mustExec(t, holder, `SET LOCAL lock_timeout = '100ms'`)
	mustExec(t, holder, lock, "b") // or it waits for what waits for it
	mustExec(t, holder, `ROLLBACK`)
	if err := <-answer; err != nil {
		t.Errorf("expire: %v", err)
	}
}

// A try that was not done, but not lost either, waits for no group that is held.
func TestExpiryPassesOverHeldGroupsAgain(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	mustJoinGroup(t, direct, "a", member("m1"))
	mustJoinGroup(t, direct, "g", member("m1"))
	silence(t, newConn(t, direct.pool.Config().ConnString()), "m1")
	if _, err := s.Clock(t.Context()); err != nil { // a connection, to be broken
		t.Fatal(err)
	}
	proxy.CutAll()
	letGo := hold(t, direct, `SELECT FROM groups WHERE group_id = 'a' FOR UPDATE`)
	defer letGo()
	moved, err := s.ExpireMembers(t.Context(), time.Time{})
	if err != nil || len(moved) != 1 || moved[0].Group != "g" {
		t.Errorf("moved %v, %v; want g, which nobody holds", moved, err)
	}
}
