package store

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// member returns what joins topic "t".
func member(id string) eos.Join { return eos.Join{MemberID: id, Topics: []string{"t"}} }

func mustJoin(t testing.TB, s *Store, j eos.Join) *MemberState {
	t.Helper()
	state, err := s.Join(context.Background(), "g", j)
	if err != nil {
		t.Fatalf("%s joins: %v", j.MemberID, err)
	}
	return state
}

// mustPoll polls without positions, and commits offsets of partitions 0, 1, … of
// "t", where they are not negative.
func mustPoll(t testing.TB, s *Store, id string, epoch int64, commits ...int64) *Polled {
	t.Helper()
	polled, err := poll(s, id, epoch, commits...)
	if err != nil {
		t.Fatalf("%s polls in epoch %d: %v", id, epoch, err)
	}
	return polled
}

func poll(s *Store, id string, epoch int64, commits ...int64) (*Polled, error) {
	p := &Poll{Group: "g", Member: id, Epoch: epoch}
	for i, o := range commits {
		if o >= 0 {
			p.Commits = append(p.Commits, offset("g", i, o))
		}
	}
	return s.Poll(context.Background(), p)
}

// has lists partitions of one topic.
func has(t testing.TB, list []TopicPartitions) []int {
	t.Helper()
	switch {
	case len(list) == 0:
		return nil
	case len(list) > 1:
		t.Fatalf("partitions of several topics: %v", list)
	}
	return list[0].Partitions
}

func mustHave(t testing.TB, who string, state *MemberState, partitions, revoking []int) {
	t.Helper()
	if got := has(t, state.Assignment); !slices.Equal(got, partitions) {
		t.Errorf("%s has partitions %v, want %v", who, got, partitions)
	}
	if got := has(t, state.Revoking); !slices.Equal(got, revoking) {
		t.Errorf("%s is to let go of %v, want %v", who, got, revoking)
	}
}

// settle polls, one after the other, until nothing moves any more. It returns
// what each has, by id.
func settle(t testing.TB, s *Store, epochs map[string]int64) map[string][]int {
	t.Helper()
	for range 100 {
		owned := map[string][]int{}
		stable := mustGroup(t, s).State == eos.GroupStable
		for id, epoch := range epochs {
			p := mustPoll(t, s, id, epoch)
			epochs[id], owned[id] = p.Epoch, has(t, p.Assignment)
		}
		if stable {
			return owned
		}
	}
	t.Fatal("the group does not settle")
	return nil
}

// silence lets the sessions of members be over.
func silence(t testing.TB, conn *pgx.Conn, ids ...string) {
	t.Helper()
	mustExec(t, conn, `UPDATE members SET expires_at = clock_timestamp() WHERE member_id = ANY ($1)`, ids)
	mustExec(t, conn, `UPDATE groups SET sweep_at = clock_timestamp() WHERE sweep_at IS NOT NULL`)
}

func mustExpire(t testing.TB, s *Store) []Moved {
	t.Helper()
	moved, err := s.ExpireMembers(context.Background(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

func mustGroup(t testing.TB, s *Store) *GroupState {
	t.Helper()
	g, err := s.GroupState(context.Background(), "g")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Whatever the older epoch, another member, or one that is gone commits, in
// whichever way, is refused and changes nothing.
func TestG1OnlyTheOwnerCommits(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	for i := range 2 {
		mustProduce(t, a, plain("x", "y", "z").to(i))
	}
	first := mustJoin(t, a, member("m1"))
	mustHave(t, "m1", first, []int{0, 1}, nil)
	second := mustJoin(t, b, member("m2"))
	mustHave(t, "m2", second, nil, nil)

	refused := func(what string, kind *eos.Kind, id string, epoch int64, partition int) {
		t.Helper()
		o := offset("g", partition, 1)
		_, err := a.Poll(t.Context(), &Poll{Group: "g", Member: id, Epoch: epoch, Commits: []GroupOffset{o}})
		mustRefuse(t, err, kind)
		_, err = b.CommitOffsets(t.Context(), "g", id, epoch, []GroupOffset{o})
		mustRefuse(t, err, kind)
		o.MemberID, o.MemberEpoch = id, epoch
		whole := oneShot("tx of "+what, nobody, "out")
		whole.Offsets = []GroupOffset{o}
		_, err = b.PutTransaction(t.Context(), whole)
		mustRefuse(t, err, kind)
		mustBegin(t, a, "open "+what, nobody)
		_, err = a.AddOffsets(t.Context(), "open "+what, anyone, []GroupOffset{o})
		mustRefuse(t, err, kind)
		mustAbort(t, a, "open "+what)
	}
	refused("m2, which has nothing", eos.PartitionNotOwned, "m2", second.Epoch, 1)
	refused("nobody", eos.UnknownMember, "m3", 1, 1)
	refused("an epoch that was never", eos.FencedMemberEpoch, "m1", first.Epoch+1, 0)

	told := mustPoll(t, b, "m1", first.Epoch)
	mustHave(t, "m1", &told.MemberState, []int{0}, []int{1})
	mustPoll(t, a, "m1", first.Epoch, 1, -1) // the answer may have been lost: it counts still
	letGo := mustPoll(t, a, "m1", told.Epoch, -1, 1)
	mustHave(t, "m1", &letGo.MemberState, []int{0}, nil)
	refused("m1, after it let go", eos.PartitionNotOwned, "m1", told.Epoch, 1)
	refused("m1, as it was", eos.FencedMemberEpoch, "m1", first.Epoch, 0)
	got := mustPoll(t, b, "m2", second.Epoch)
	mustHave(t, "m2", &got.MemberState, []int{1}, nil)
	if *got.Readable[0].Committed != 1 {
		t.Errorf("m2 begins at %d, where m1 had committed 1", *got.Readable[0].Committed)
	}

	rejoined := mustJoin(t, b, member("m1"))
	refused("m1, before it joined again", eos.FencedMemberEpoch, "m1", told.Epoch, 0)
	conn := newConn(t, a.pool.Config().ConnString())
	silence(t, conn, "m1")
	if moved := mustExpire(t, b); len(moved) != 1 || !slices.Contains(moved[0].Wake, "m2") {
		t.Errorf("the expiry wakes %v, want m2", moved)
	}
	refused("m1, whose session is over", eos.UnknownMember, "m1", rejoined.Epoch, 0)
	mustHold(t, a, "0:0 x", "0:1 y", "0:2 z", "1:0 x", "1:1 y", "1:2 z")
	want := []GroupOffset{offset("g", 0, 1), offset("g", 1, 1)}
	offsets, _, err := a.Offsets(t.Context(), "g", TopicPartition{Partition: -1}, 100)
	if diff := cmp.Diff(want, offsets); err != nil || diff != "" {
		t.Errorf("committed (-want +got): %v\n%s", err, diff)
	}
}

// What a transaction staged is checked again when it commits.
func TestG1StagedOffsetsAreCheckedAtCommit(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustProduce(t, a, plain("x"))
	m := mustJoin(t, a, member("m1"))
	stage := func(id string, epoch int64) {
		o := offset("g", 0, 1)
		o.MemberID, o.MemberEpoch = "m1", epoch
		mustPut(t, a, put(id, nobody, "out of "+id))
		if _, err := b.AddOffsets(t.Context(), id, anyone, []GroupOffset{o}); err != nil {
			t.Fatal(err)
		}
	}
	stage("early", m.Epoch)
	again := mustJoin(t, b, member("m1"))
	_, err := a.Commit(t.Context(), "early", anyone)
	if got := mustRefuse(t, err, eos.FencedMemberEpoch); *got.MemberEpoch != again.Epoch {
		t.Errorf("told epoch %d, want %d", *got.MemberEpoch, again.Epoch)
	}
	mustAbort(t, b, "early")
	stage("left", again.Epoch)
	if _, err := b.Leave(t.Context(), "g", "m1"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Commit(t.Context(), "left", anyone)
	mustRefuse(t, err, eos.UnknownMember)
	mustHold(t, a, "0:0 x")
	mustCommitted(t, a, "g", -1)

	// Without a member: only while there is none.
	begin := put("alone", nobody, "alone")
	begin.Offsets = []GroupOffset{offset("g", 0, 1)}
	mustPut(t, a, begin)
	mustJoin(t, b, member("m2"))
	_, err = a.Commit(t.Context(), "alone", anyone)
	mustRefuse(t, err, eos.NonEmptyGroup)
	if _, err := b.Leave(t.Context(), "g", "m2"); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, a, "alone")
	mustHold(t, b, "0:0 x", "0:1 alone")
	mustCommitted(t, b, "g", 1)
}

// After a crash the others have all partitions with their next polls, and a
// member that joins moves its share and no more.
func TestG2EveryPartitionHasAnOwner(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 12)
	epochs := map[string]int64{}
	for _, id := range []string{"m1", "m2", "m3"} {
		epochs[id] = mustJoin(t, a, member(id)).Epoch
	}
	before := settle(t, b, epochs)
	epochs["m4"] = mustJoin(t, b, member("m4")).Epoch
	after := settle(t, a, epochs)
	for id, list := range before {
		if len(list) != 4 || len(after[id]) != 3 {
			t.Errorf("%s had %v and has %v, want 4 and 3 of 12", id, list, after[id])
		}
		for _, p := range after[id] {
			if !slices.Contains(list, p) {
				t.Errorf("%s got partition %d, which m4 has no need of", id, p)
			}
		}
	}
	if g := mustGroup(t, a); g.State != eos.GroupStable || len(g.Members) != 4 {
		t.Errorf("group %+v", g)
	}

	silence(t, newConn(t, a.pool.Config().ConnString()), "m1", "m4")
	mustExpire(t, a)
	delete(epochs, "m1")
	delete(epochs, "m4")
	left := settle(t, b, epochs)
	if all := slices.Sorted(slices.Values(slices.Concat(left["m2"], left["m3"]))); len(slices.Compact(all)) != 12 {
		t.Errorf("after the crash partitions have owners: %v", left)
	}
	for id, list := range left {
		for _, p := range after[id] {
			if !slices.Contains(list, p) {
				t.Errorf("%s has lost partition %d to nobody's good", id, p)
			}
		}
	}
}

// Who was not heard because the database was away is not expired at once.
func TestG2ExpiryWaitsAfterAnOutage(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	mustJoin(t, a, member("m1"))
	conn := newConn(t, a.pool.Config().ConnString())
	silence(t, conn, "m1")
	back, err := a.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if moved, err := a.ExpireMembers(t.Context(), back); err != nil || len(moved) != 0 {
		t.Errorf("expired %v at once, %v", moved, err)
	}
	if moved, err := a.ExpireMembers(t.Context(), back.Add(-16*time.Second)); err != nil || len(moved) != 1 {
		t.Errorf("expired %v after a heartbeat's time, %v", moved, err)
	}
}

func TestG2NewTopicsAndPartitionsArePickedUp(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	all := member("m1")
	all.Topics, all.Pattern = nil, "t|u.*"
	epochs := map[string]int64{"m1": mustJoin(t, a, all).Epoch}
	r := b.NewRefresher()
	refresh := func() int {
		t.Helper()
		moved, err := r.Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(moved)
	}
	if n := refresh(); n != 0 {
		t.Errorf("%d groups moved by nothing", n)
	}
	mustTopic(t, a, "unseen", 2)
	mustTopic(t, a, "other", 2)
	mustGrow(t, a, "t", 3)
	if n := refresh(); n != 1 {
		t.Errorf("%d groups moved by new partitions, want 1", n)
	}
	want := []TopicPartitions{{"t", []int{0, 1, 2}}, {"unseen", []int{0, 1}}}
	if diff := cmp.Diff(want, mustPoll(t, a, "m1", epochs["m1"]).Assignment); diff != "" {
		t.Errorf("assignment (-want +got):\n%s", diff)
	}
	if n := refresh(); n != 0 {
		t.Errorf("%d groups moved by nothing", n)
	}
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	g := mustGroup(t, b)
	if diff := cmp.Diff(want[1:], g.Members[0].Assignment); diff != "" {
		t.Errorf("assignment without the deleted topic (-want +got):\n%s", diff)
	}
	refresh()
	if n := mustGet[int](t, newConn(t, a.pool.Config().ConnString()), `SELECT count(*) FROM group_partitions WHERE target_id IS NOT NULL`); n != 2 {
		t.Errorf("%d partitions have a target, want 2", n)
	}
}
