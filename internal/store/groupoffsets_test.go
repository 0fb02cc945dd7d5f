package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

func TestG3OffsetsComeWithTheRecordsOrNever(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustProduce(t, a, plain("in 1", "in 2"))
	m := mustJoin(t, a, member("m1"))
	step := func(id string, seen, next int64) Put {
		whole := oneShot(id, nobody, id)
		o := from(offset("g", 0, next), seen)
		o.MemberID, o.MemberEpoch = "m1", m.Epoch
		whole.Offsets = []GroupOffset{o}
		return whole
	}
	first := mustPut(t, a, step("out 1", 0, 1))
	mustHold(t, b, "0:0 in 1", "0:1 in 2", "0:2 out 1")
	mustCommitted(t, b, "g", 1)
	_, err := b.PutTransaction(t.Context(), step("out 1 by a zombie", 0, 1))
	mustRefuse(t, err, eos.OffsetMismatch)
	mustSay(t, first, mustPut(t, b, step("out 1", 0, 1)))
	begun := step("out 2", 1, 2)
	begun.Commit = false
	mustPut(t, b, begun)
	mustCommitted(t, a, "g", 1)
	mustAbort(t, a, "out 2")
	mustHold(t, a, "0:0 in 1", "0:1 in 2", "0:2 out 1")
	mustCommitted(t, a, "g", 1)
	// What happened is told, whoever asks: the member has another epoch by now.
	m = mustJoin(t, b, member("m1"))
	mustSay(t, first, mustPut(t, a, step("out 1", 0, 1)))
}

// Commits of one member through two proxies at once: each is told what stands,
// which never falls.
func TestG4CommitsAreLinearizable(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	const last = 40
	for range last {
		mustProduce(t, a, plain("x"))
	}
	m := mustJoin(t, a, member("m1"))
	offsets := rand.New(rand.NewPCG(1, 2)).Perm(last + 1) //nolint:gosec // a shuffle
	var wg sync.WaitGroup
	var mu sync.Mutex
	highest := int64(-1) // acknowledged
	for w, s := range []*Store{a, b, a, b} {
		wg.Go(func() {
			for i := w; i < len(offsets); i += 4 {
				mu.Lock()
				before := highest
				mu.Unlock()
				want := int64(offsets[i])
				var stands int64
				if i%2 == 0 {
					list, err := s.CommitOffsets(context.Background(), "g", "m1", m.Epoch, []GroupOffset{offset("g", 0, want)})
					if err != nil {
						t.Error(err)
						return
					}
					stands = list[0].Offset
				} else {
					p, err := poll(s, "m1", m.Epoch, want)
					if err != nil {
						t.Error(err)
						return
					}
					stands = *p.Readable[0].Committed
				}
				if stands < want || stands < before {
					t.Errorf("committed %d after %d was acknowledged: told that %d stands", want, before, stands)
				}
				mu.Lock()
				highest = max(highest, stands)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	mustCommitted(t, a, "g", last)

	// A transaction's, below: the records come, the offset stands.
	whole := oneShot("late", nobody, "late")
	o := offset("g", 0, 1)
	o.MemberID, o.MemberEpoch = "m1", m.Epoch
	whole.Offsets = []GroupOffset{o}
	mustPut(t, b, whole)
	mustCommitted(t, b, "g", last)
}

// Only the reset of an empty group moves an offset back.
func TestG4ResetOfAnEmptyGroup(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustProduce(t, a, plain("x", "y").to(0))
	m := mustJoin(t, a, member("m1"))
	mustPoll(t, a, "m1", m.Epoch, 2)
	_, err := b.ResetOffsets(t.Context(), "g", &Reset{At: Earliest})
	mustRefuse(t, err, eos.NonEmptyGroup)
	_, err = b.CommitOffsets(t.Context(), "g", "", 0, []GroupOffset{offset("g", 0, 1)})
	mustRefuse(t, err, eos.NonEmptyGroup)
	mustCommitted(t, b, "g", 2)

	silence(t, newConn(t, a.pool.Config().ConnString()), "m1") // nobody has swept it yet
	two, zero := int64(2), int64(0)
	want := []ResetOffset{{TopicPartition: TopicPartition{"t", 0}, From: &two}}
	for _, dry := range []bool{true, false} {
		got, err := b.ResetOffsets(t.Context(), "g", &Reset{At: Earliest, DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		got[0].id = 0
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(ResetOffset{})); diff != "" {
			t.Errorf("reset (-want +got):\n%s", diff)
		}
		if dry {
			mustCommitted(t, a, "g", 2)
			_, err := poll(a, "m1", m.Epoch)
			if err != nil {
				t.Errorf("a dry run has expired a member: %v", err)
			}
			silence(t, newConn(t, a.pool.Config().ConnString()), "m1")
		}
	}
	mustCommitted(t, a, "g", 0)
	_, err = poll(a, "m1", m.Epoch)
	mustRefuse(t, err, eos.UnknownMember)
	want[0].From, want[0].Offset = &zero, 1
	one := int64(1)
	if _, err := b.ResetOffsets(t.Context(), "g", &Reset{Offset: &one}); err != nil {
		t.Fatal(err)
	}
	mustCommitted(t, a, "g", 1)
}

// The first poll at the end of the log commits where it began: what comes
// between two polls is not skipped.
func TestLatestSkipsNothing(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustProduce(t, a, plain("before"))
	j := member("m1")
	j.AutoOffsetReset = eos.ResetLatest
	m := mustJoin(t, a, j)
	if p := mustPoll(t, a, "m1", m.Epoch); p.Readable[0].Offset != 1 {
		t.Errorf("begins at %d, want the end", p.Readable[0].Offset)
	}
	mustProduce(t, a, plain("between"))
	if p := mustPoll(t, b, "m1", m.Epoch); p.Readable[0].Offset != 1 || *p.Readable[0].Committed != 1 {
		t.Errorf("goes on at %+v, want 1", p.Readable[0])
	}

	// Retention passes the offset.
	mustProduce(t, a, plain("later"))
	mustExec(t, newConn(t, a.pool.Config().ConnString()), `DELETE FROM batches WHERE base_offset < 2`)
	mustExec(t, newConn(t, a.pool.Config().ConnString()), `UPDATE partitions SET log_start_offset = 2`)
	if p := mustPoll(t, b, "m1", m.Epoch); p.Readable[0].Offset != 3 || p.Readable[0].ResetFrom == nil || *p.Readable[0].ResetFrom != 1 {
		t.Errorf("after retention goes on at %+v, want 3, reset from 1", p.Readable[0])
	}
	mustCommitted(t, a, "g", 3)
}

// A deleted group that is used again begins above all epochs that it had.
func TestDeletedGroupBeginsAbove(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	last := int64(0)
	for range 5 {
		for range 3 {
			m := mustJoin(t, a, member("m1"))
			if m.Epoch <= last {
				t.Fatalf("epoch %d after %d", m.Epoch, last)
			}
			last = m.Epoch
		}
		mustRefuse(t, b.DeleteGroup(t.Context(), "g"), eos.NonEmptyGroup)
		if _, err := b.Leave(t.Context(), "g", "m1"); err != nil {
			t.Fatal(err)
		}
		if err := b.DeleteGroup(t.Context(), "g"); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, b.DeleteGroup(t.Context(), "g"), eos.GroupNotFound)
	}
}

// Who was in a group that is deleted is nobody in the one that has its name, also
// under its old member id on another proxy; groups of other names begin at 1.
func TestG1ZombieOfADeletedGroup(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	mustProduce(t, a, plain("x", "y"))
	for range 3 {
		mustJoin(t, a, member("m1"))
	}
	zombie := mustJoin(t, a, member("m1"))
	mustPoll(t, a, "m1", zombie.Epoch)
	if _, err := a.Leave(t.Context(), "g", "m1"); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteGroup(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if m, err := b.Join(t.Context(), "other", member("m1")); err != nil || m.Epoch != 1 {
		t.Errorf("the first epoch of another group: %+v, %v", m, err)
	}
	now := mustJoin(t, a, member("m1"))
	if now.Epoch <= zombie.Epoch {
		t.Errorf("epoch %d, after %d of the deleted group", now.Epoch, zombie.Epoch)
	}
	_, err := poll(b, "m1", zombie.Epoch, 2)
	mustRefuse(t, err, eos.FencedMemberEpoch)
	mustCommitted(t, b, "g", -1)

	// When nobody of it can be left, the name is as any other.
	if _, err := a.Leave(t.Context(), "g", "m1"); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteGroup(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		age    string
		forget int
	}{{"7 days 59 minutes", 0}, {"7 days 61 minutes", 1}} {
		mustExec(t, conn, `UPDATE group_epochs SET deleted_at = clock_timestamp() - $1::text::interval`, c.age)
		if n, err := b.ForgetGroups(t.Context(), 10); n != c.forget || err != nil {
			t.Errorf("%s after the deletion %d rows are forgotten, %v", c.age, n, err)
		}
	}
	if m := mustJoin(t, a, member("m1")); m.Epoch != 1 {
		t.Errorf("the first epoch is %d, of a name that nobody has", m.Epoch)
	}
}

// Without a committed offset the lag is from where the group would begin.
func TestLagWithoutACommittedOffset(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustProduce(t, a, plain("x"))
	mustProduce(t, a, plain("y", "z"))
	for _, reset := range []string{eos.ResetEarliest, eos.ResetLatest} {
		j := member("m1")
		j.AutoOffsetReset = reset
		mustJoinGroup(t, a, reset, j)
	}
	mustDelete(t, a, 0, 1)
	for group, want := range map[string]int64{eos.ResetEarliest: 2, eos.ResetLatest: 0} {
		state, err := b.GroupState(t.Context(), group)
		if err != nil || len(state.Partitions) != 1 {
			t.Fatalf("%+v, %v", state, err)
		}
		if p := state.Partitions[0]; p.Committed != nil || p.Lag() != want {
			t.Errorf("from %s the lag is %d, want %d: %+v", group, p.Lag(), want, p)
		}
	}
}

func TestDeadGroupsAreForgotten(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 10)
	conn := newConn(t, a.pool.Config().ConnString())
	for _, group := range []string{"dead", "young", "g"} {
		var offsets []GroupOffset
		for p := range 10 {
			offsets = append(offsets, offset(group, p, 0))
		}
		if _, err := a.CommitOffsets(t.Context(), group, "", 0, offsets); err != nil {
			t.Fatal(err)
		}
	}
	mustJoin(t, a, member("m1"))
	mustExec(t, conn, `UPDATE groups SET idle_since = clock_timestamp() - interval '7 days 61 minutes' WHERE group_id = 'dead'`)
	mustExec(t, conn, `UPDATE groups SET idle_since = clock_timestamp() - interval '7 days 59 minutes' WHERE group_id = 'young'`)
	mustExec(t, conn, `INSERT INTO replaced_members VALUES ('g', 'old', clock_timestamp() - interval '8 days'), ('g', 'new', clock_timestamp())`)
	total := 0
	for {
		n, err := b.ForgetGroups(t.Context(), 4)
		if err != nil || n > 5 {
			t.Fatalf("%d at once, %v", n, err)
		}
		if total += n; n == 0 {
			break
		}
	}
	if total != 12 {
		t.Errorf("%d rows forgotten, want 10 offsets, a group and a replaced member", total)
	}
	if _, _, err := a.Offsets(t.Context(), "dead", TopicPartition{}, 1); !errors.Is(err, eos.GroupNotFound.Errorf("")) {
		t.Errorf("the dead group: %v", err)
	}
	for _, group := range []string{"young", "g"} {
		if offsets, more, err := a.Offsets(t.Context(), group, TopicPartition{Partition: -1}, 10); err != nil || len(offsets) != 10 || more {
			t.Errorf("group %s has %d offsets, %v", group, len(offsets), err)
		}
	}

	// A commit keeps it, and by a transaction as well.
	whole := oneShot("tx", nobody, "x")
	whole.Offsets = []GroupOffset{offset("young", 0, 0)}
	mustPut(t, b, whole)
	idle := mustGet[time.Time](t, conn, `SELECT idle_since FROM groups WHERE group_id = 'young'`)
	if time.Since(idle) > time.Hour {
		t.Errorf("idle since %v, with a commit just now", idle)
	}
}

// A poll that commits what stands, and a heartbeat, write nothing.
func TestHeartbeatsWriteNothing(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	mustProduce(t, a, plain("x"))
	m := mustJoin(t, a, member("m1"))
	mustPoll(t, a, "m1", m.Epoch, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	const rows = `
		SELECT string_agg(x, ' ' ORDER BY x)
		FROM (SELECT xmin::text || ctid::text AS x FROM groups
		      UNION ALL SELECT xmin::text || ctid::text FROM members
		      UNION ALL SELECT xmin::text || ctid::text FROM group_partitions
		      UNION ALL SELECT xmin::text || ctid::text FROM committed_offsets) rows`
	before := mustGet[string](t, conn, rows)
	for range 20 {
		mustPoll(t, b, "m1", m.Epoch, 1)
		mustPoll(t, a, "m1", m.Epoch)
	}
	if after := mustGet[string](t, conn, rows); after != before {
		t.Errorf("rows before %s, after %s", before, after)
	}
}
