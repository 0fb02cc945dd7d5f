package store

import (
	"context"
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// The time that members get after the database was away is each member's own: a
// long session keeps no dead member with a short one.
func TestG2TimeAfterAnOutageIsEachMembersOwn(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 2)
	short, long := member("short"), member("long")
	short.SessionTimeout, long.SessionTimeout = eos.MinSessionTimeout, eos.MaxSessionTimeout
	mustJoin(t, a, short)
	mustJoin(t, a, long)
	silence(t, newConn(t, a.pool.Config().ConnString()), "short", "long")
	back, err := a.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ExpireMembers(t.Context(), back.Add(-eos.MinSessionTimeout/3)); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, m := range mustGroup(t, a).Members {
		left = append(left, m.MemberID)
	}
	if !slices.Equal(left, []string{"long"}) {
		t.Errorf("members %v are left, want the one with the long session", left)
	}
}

// A topic grows while a join is on its way that has read it as it was, and the
// pass that sees the topic does not see the member.
func TestG2JoinOnItsWayWhileATopicGrows(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustJoinGroup(t, a, "other", member("m1")) // or nobody would look at topics
	r := b.NewRefresher()
	r.joinsFor = 0
	refresh := func() {
		t.Helper()
		if _, err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refresh()
	conn := newConn(t, a.pool.Config().ConnString())
	letGo := hold(t, a, `
		INSERT INTO members (group_id, member_id, topics, auto_offset_reset, session_timeout_ms, rebalance_timeout_ms, member_epoch, previous_epoch, expires_at)
		VALUES ('g', 'm1', '{t}', 'earliest', 1, 1, 1, 0, clock_timestamp())`)
	joined := make(chan error, 1)
	go func() {
		_, err := a.Join(context.Background(), "g", member("m1"))
		joined <- err
	}()
	mustWait(t, conn, `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`)
	mustGrow(t, b, "t", 3)
	refresh()
	letGo()
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	refresh()
	var has []int
	for epoch := mustGroup(t, a).Members[0].Epoch; ; {
		p := mustPoll(t, a, "m1", epoch)
		if has = nil; len(p.Assignment) > 0 {
			has = p.Assignment[0].Partitions
		}
		if p.Epoch == epoch {
			break
		}
		epoch = p.Epoch
	}
	if !slices.Equal(has, []int{0, 1, 2}) {
		t.Errorf("m1 has partitions %v of three", has)
	}
}
