package store

import (
	"context"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// hold locks rows in a transaction of somebody who does not go on; the function
// that it returns lets them go.
func hold(t testing.TB, s *Store, sql string, args ...any) (letGo func()) {
	t.Helper()
	conn := newConn(t, s.pool.Config().ConnString())
	tx, err := conn.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// mustJoinGroup joins a member of any group.
func mustJoinGroup(t testing.TB, s *Store, group string, j eos.Join) {
	t.Helper()
	if _, err := s.Join(context.Background(), group, j); err != nil {
		t.Fatal(err)
	}
}

// A member whose row somebody holds, as a slow commit does, cannot be expired
// now; those of other groups can.
func TestG6HeldMemberHoldsUpNoOtherGroup(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	for _, group := range []string{"a", "g"} {
		mustJoinGroup(t, a, group, member("m1"))
	}
	silence(t, newConn(t, a.pool.Config().ConnString()), "m1")
	letGo := hold(t, a, `SELECT FROM members WHERE group_id = 'a' FOR UPDATE`)
	moved, err := a.ExpireMembers(t.Context(), time.Time{})
	if err != nil || len(moved) != 1 || moved[0].Group != "g" {
		t.Errorf("moved %v, %v; want g, which nobody holds", moved, err)
	}
	letGo()
	if moved := mustExpire(t, a); len(moved) != 1 || moved[0].Group != "a" {
		t.Errorf("then moved %v, want a", moved)
	}
}

// Nor is another group kept from picking up new partitions.
func TestG6HeldGroupHoldsUpNoOthersTopics(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	for _, group := range []string{"a", "g"} {
		mustJoinGroup(t, a, group, member("m1"))
	}
	r := a.NewRefresher()
	if _, err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustGrow(t, a, "t", 2)
	letGo := hold(t, a, `SELECT FROM groups WHERE group_id = 'a' FOR UPDATE`)
	moved, _ := r.Refresh(t.Context())
	if len(moved) != 1 || moved[0].Group != "g" {
		t.Errorf("moved %v, want g, which nobody holds", moved)
	}
	letGo()
	moved, err := r.Refresh(t.Context())
	if err != nil || len(moved) != 1 || moved[0].Group != "a" {
		t.Errorf("then moved %v, %v; want a", moved, err)
	}
}

// A partition whose row somebody holds keeps its records for now; those behind
// it do not.
func TestR1HeldPartitionHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	a, conn := newDue(t)
	letGo := hold(t, a, `SELECT FROM partitions WHERE partition = 0 FOR UPDATE`)
	if _, err := a.Retain(t.Context()); err != nil {
		t.Errorf("retain: %v", err)
	}
	starts := func() string {
		return mustGet[string](t, conn, `SELECT string_agg(log_start_offset::text, ' ' ORDER BY partition) FROM partitions`)
	}
	if got := starts(); got != "0 1 1" {
		t.Errorf("logs start at %s, want 0 1 1", got)
	}
	letGo()
	mustRetain(t, a, conn)
	if got := starts(); got != "1 1 1" {
		t.Errorf("then logs start at %s, want 1 1 1", got)
	}
}
