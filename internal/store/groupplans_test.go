package store

import (
	"errors"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// groupOperations runs every operation on groups, on a database of buildLarge:
// eleven hundred groups, of which a thousand have ten members each.
func groupOperations(t *testing.T, s *Store, does func(operation string)) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	poll := func(p *Poll) *Polled {
		t.Helper()
		polled, err := s.Poll(ctx, p)
		must(err)
		return polled
	}
	does("join")
	join := eos.Join{MemberID: "a", Topics: []string{"t"}, AutoOffsetReset: eos.ResetLatest}
	first, err := s.Join(ctx, "workers", join)
	must(err)
	_, err = s.Join(ctx, "workers", eos.Join{MemberID: "b", InstanceID: "i", Topics: []string{"t"}})
	must(err)
	_, err = s.Join(ctx, "workers", eos.Join{MemberID: "c", InstanceID: "i", Pattern: "t|topic-1"})
	must(err)
	does("read poll")
	polled := poll(&Poll{Group: "workers", Member: "a", Epoch: first.Epoch, Heartbeat: true})
	polled = poll(&Poll{Group: "workers", Member: "a", Epoch: polled.Epoch})
	does("poll with a commit")
	poll(&Poll{Group: "workers", Member: "a", Epoch: polled.Epoch, Commits: []GroupOffset{{Topic: "t", Offset: 7}}})
	does("extension of a session")
	mustExec(t, newConn(t, s.pool.Config().ConnString()), `UPDATE members SET expires_at = clock_timestamp() WHERE group_id = 'workers' AND member_id = 'a'`)
	poll(&Poll{Group: "workers", Member: "a", Epoch: polled.Epoch})
	does("offsets of a member")
	_, err = s.CommitOffsets(ctx, "workers", "a", polled.Epoch, []GroupOffset{{Topic: "t", Offset: 8}})
	must(err)
	does("member's transaction")
	whole := oneShot("tx of a", nobody, "x")
	whole.Offsets = []GroupOffset{{Group: "workers", Topic: "t", Offset: 9, MemberID: "a", MemberEpoch: polled.Epoch}}
	mustPut(t, s, whole)
	mustBegin(t, s, "open tx of a", nobody)
	_, err = s.AddOffsets(ctx, "open tx of a", anyone, whole.Offsets)
	must(err)
	mustCommit(t, s, "open tx of a")
	does("wake")
	_, err = s.GroupEpochs(ctx, []string{"workers", "full-7"})
	must(err)
	_, err = s.Disturbed(ctx, []Waiting{{"workers", "a", polled.Epoch}, {"full-7", "m1", 10}})
	must(err)
	does("read group")
	_, err = s.GroupState(ctx, "full-7")
	must(err)
	does("read offsets")
	_, _, err = s.Offsets(ctx, "workers", TopicPartition{"t", 2}, 100)
	must(err)
	does("list groups")
	_, _, err = s.Groups(ctx, "full-5", 100)
	must(err)
	does("expiry of members")
	mustExec(t, newConn(t, s.pool.Config().ConnString()), `UPDATE groups SET sweep_at = clock_timestamp() WHERE group_id = 'full-7'`)
	mustExec(t, newConn(t, s.pool.Config().ConnString()), `UPDATE members SET expires_at = clock_timestamp() WHERE group_id = 'full-7' AND member_id = 'm1'`)
	moved, err := s.ExpireMembers(ctx, time.Time{})
	must(err)
	if len(moved) != 1 || moved[0].Group != "full-7" {
		t.Errorf("expired in %v, want full-7", moved)
	}
	does("read topics for groups")
	r := s.NewRefresher()
	_, err = r.Refresh(ctx)
	must(err)
	does("leave")
	_, err = s.Leave(ctx, "workers", "a")
	must(err)
	_, err = s.Leave(ctx, "workers", "c")
	must(err)
	does("offsets of a group")
	_, err = s.CommitOffsets(ctx, "workers", "", 0, []GroupOffset{{Topic: "t", Offset: 8}})
	must(err)
	does("reset of offsets")
	_, err = s.ResetOffsets(ctx, "workers", &Reset{At: Latest})
	must(err)
	does("expiry of groups")
	mustExec(t, newConn(t, s.pool.Config().ConnString()), `UPDATE groups SET idle_since = clock_timestamp() - interval '8 days' WHERE group_id = 'group-7'`)
	if n, err := s.ForgetGroups(ctx, 100); n < 100 || err != nil {
		t.Fatalf("forgot %d rows, %v", n, err)
	}
	does("delete group")
	must(s.DeleteGroup(ctx, "workers"))
	if _, err := s.GroupState(ctx, "workers"); !errors.Is(err, eos.GroupNotFound.Errorf("")) {
		t.Fatal(err)
	}
}
