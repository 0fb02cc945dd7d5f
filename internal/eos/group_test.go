package eos

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// subscribes is a join with all defaults.
func subscribes(id string, topics ...string) Join { return Join{MemberID: id, Topics: topics} }

// static is a join with an instance_id.
func static(id, instance string, topics ...string) Join {
	return Join{MemberID: id, InstanceID: instance, Topics: topics}
}

// numbers are partitions of one topic.
func numbers(topic int64, numbers ...int) []Partition {
	var all []Partition
	for _, n := range numbers {
		all = append(all, Partition{topic, n})
	}
	return all
}

// is checks the head of an answer.
func is(t *testing.T, a Assignment, epoch int64, has ...Partition) {
	t.Helper()
	if diff := cmp.Diff(has, a.Partitions); a.MemberEpoch != epoch || diff != "" {
		t.Errorf("epoch %d, want %d; partitions:\n%s", a.MemberEpoch, epoch, diff)
	}
}

func epochFenced(now int64) *Error { return FencedMemberEpoch.Errorf("").AtMemberEpoch(now) }

// moving is a group in which a has partitions 0 to 3 of a topic, and b has
// joined after it.
func moving(t *testing.T) (s *shelf, topic int64, a, b Assignment) {
	t.Helper()
	s = newShelf()
	topic = s.topic("t", 4)
	a = s.join(t, start, subscribes("a", "t"))
	is(t, a, 1, numbers(topic, 0, 1, 2, 3)...)
	b = s.join(t, start, subscribes("b", "t"))
	is(t, b, 2)
	return s, topic, a, b
}

func TestG1APartitionMovesWhenItsOwnerLetGo(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	is(t, s.poll(t, start, "b", 2), 2) // nothing is free yet
	told := s.poll(t, start, "a", 1, numbers(topic, 0, 1, 2, 3)...)
	is(t, told, 3, numbers(topic, 0, 1)...)
	if diff := cmp.Diff(numbers(topic, 2, 3), told.Revoking); diff != "" {
		t.Error(diff)
	}
	is(t, s.poll(t, start, "b", 2), 2) // a has been told, and has not let go
	s.refused(t, "b", 2, PartitionNotOwned.Errorf("").AtPartition(Partition{topic, 2}), Partition{topic, 2})
	// The poll with the new epoch says so, and may commit for the last time.
	is(t, s.poll(t, start, "a", 3, numbers(topic, 0, 2)...), 3, numbers(topic, 0, 1)...)
	s.refused(t, "a", 3, PartitionNotOwned.Errorf("").AtPartition(Partition{topic, 2}), Partition{topic, 2})
	is(t, s.poll(t, start, "b", 2), 5, numbers(topic, 2, 3)...)
	if state := s.whole().State(); state != GroupStable {
		t.Error(state)
	}
}

func TestG1TheOldEpochCountsUntilTheNewOneIsUsed(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	told := s.poll(t, start, "a", 1)
	// The answer was lost: the same poll again gets the same head, and what was
	// done meanwhile can be committed, in both epochs.
	for range 3 {
		if diff := cmp.Diff(told, s.poll(t, start, "a", 1, numbers(topic, 0, 3)...)); diff != "" {
			t.Errorf("the repeat got another answer:\n%s", diff)
		}
	}
	for _, epoch := range []int64{1, 3} {
		if err := s.part("a").CheckCommit("a", epoch, numbers(topic, 0, 3)); err != nil {
			t.Error(err)
		}
	}
	s.poll(t, start, "a", 3)
	for _, p := range []Partition{{topic, 0}, {topic, 3}} {
		s.refused(t, "a", 1, epochFenced(3), p)
	}
	s.refused(t, "a", 4, epochFenced(3))
	s.refused(t, "a", 0, epochFenced(3))
}

func TestG1ATransactionUsesTheNewEpoch(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	s.poll(t, start, "a", 1)
	c, err := s.part("a").Commit("a", 3, numbers(topic, 0, 3)) // also of what it is to let go of
	if err != nil || len(c.Members) != 1 || c.Group != 0 || len(c.Owned) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	s.mustSave(t, c)
	s.refused(t, "a", 1, epochFenced(3), Partition{topic, 0})
	if c, err = s.part("a").Commit("a", 3, numbers(topic, 3)); err != nil || !c.Empty() {
		t.Errorf("the second use: %+v, %v", c, err) // and it let go of nothing
	}
}

func TestG1TheOldEpochDoesNotCountForWhatCameWithTheNewOne(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	s.poll(t, start, "a", 1)
	s.poll(t, start, "a", 3) // let go of 2 and 3
	s.leave(t, "b")
	a := s.poll(t, start, "a", 3)
	is(t, a, 6, numbers(topic, 0, 1, 2, 3)...)
	// What a polled of 2 in epoch 1 may have been done by b. In epoch 3 it had
	// no 2, so that whatever it commits of it is a leftover.
	s.refused(t, "a", 3, epochFenced(6).AtPartition(Partition{topic, 2}), Partition{topic, 2})
	s.refused(t, "a", 1, epochFenced(6), Partition{topic, 0})
	s.poll(t, start, "a", 3, Partition{topic, 1})
	s.poll(t, start, "a", 6, Partition{topic, 2})
}

func TestG1AJoinRaisesTheEpochAtOnce(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	again := s.join(t, start, subscribes("a", "t"))
	is(t, again, 3, numbers(topic, 0, 1)...) // the rest is free at once: epoch 1 is stale
	if again.Created {
		t.Error("the second join created it")
	}
	s.refused(t, "a", 1, epochFenced(3), Partition{topic, 0})
	s.refused(t, "a", 2, epochFenced(3))
	is(t, s.poll(t, start, "b", 2), 4, numbers(topic, 2, 3)...)
}

func TestG1AJoinLetsGoOfWhatItWasToldToLetGoOf(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	s.poll(t, start, "a", 1) // it is told to let go of 2 and 3
	s.leave(t, "b")          // which are its own again, by then
	is(t, s.join(t, start, subscribes("a", "t")), 5, numbers(topic, 0, 1, 2, 3)...)
	if c := s.expire(t, start.Add(DefaultRebalanceTimeout)); len(c.Left) != 1 {
		t.Errorf("expired %v; its session is over", c.Left)
	}
}

func TestG1AnIdThatIsUsedAgainIsAboveItsOldEpochs(t *testing.T) {
	t.Parallel()
	s := newShelf()
	topic := s.topic("t", 1)
	last := int64(0)
	for range 3 {
		a := s.join(t, start, subscribes("a", "t"))
		if a.MemberEpoch <= last {
			t.Fatalf("epoch %d after %d", a.MemberEpoch, last)
		}
		if last > 0 { // a transaction of then, that comes now
			s.refused(t, "a", last, epochFenced(a.MemberEpoch), Partition{topic, 0})
		}
		last = a.MemberEpoch
		s.leave(t, "a")
		s.refused(t, "a", last, UnknownMember.Errorf(""), Partition{topic, 0})
	}
}

func TestG1StrangersAreRefused(t *testing.T) {
	t.Parallel()
	s, topic, _, _ := moving(t)
	s.refused(t, "nobody", 1, UnknownMember.Errorf(""), Partition{topic, 0})
	s.refused(t, "b", 2, PartitionNotOwned.Errorf("").AtPartition(Partition{topic, 0}), Partition{topic, 0})
	s.refused(t, "a", 1, PartitionNotOwned.Errorf("").AtPartition(Partition{topic, 4}), Partition{topic, 4})
	s.refused(t, "a", 1, PartitionNotOwned.Errorf("").AtPartition(Partition{topic + 1, 0}), Partition{topic, 0}, Partition{topic + 1, 0})
	if _, err := s.whole().Leave("nobody"); !errors.Is(err, UnknownMember.Errorf("")) {
		t.Error(err)
	}
	checkRefusal(t, s.whole().CheckEmpty(), NonEmptyGroup.Errorf(""))
	s.leave(t, "a")
	s.leave(t, "b")
	checkRefusal(t, s.whole().CheckEmpty(), nil)
	if len(s.rows) > 0 || s.whole().State() != GroupEmpty {
		t.Errorf("%s, with %v", s.whole().State(), s.rows)
	}
}

func TestG4ALateDuplicateCannotRewind(t *testing.T) {
	t.Parallel()
	ten := int64(10)
	for _, c := range []struct {
		committed *int64
		offset    int64
		stands    int64
		changed   bool
	}{{nil, 0, 0, true}, {nil, 7, 7, true}, {&ten, 11, 11, true}, {&ten, 10, 10, false}, {&ten, 9, 10, false}, {&ten, 0, 10, false}} {
		stands, changed := Advance(c.committed, c.offset)
		if stands != c.stands || changed != c.changed {
			t.Errorf("%d over %v: %d, %t", c.offset, c.committed, stands, changed)
		}
	}
}

func TestG6APollThatChangesNothingWritesNothing(t *testing.T) {
	t.Parallel()
	s, topic, a, b := moving(t)
	answers := map[string]Assignment{"a": a, "b": b}
	s.settle(t, start, answers)
	epoch := answers["a"].MemberEpoch
	writes, last := 0, start
	for now := start; now.Before(start.Add(10 * DefaultSessionTimeout)); now = now.Add(time.Second) {
		_, c, err := s.part("a").Poll(now, "a", epoch, numbers(topic, 0))
		switch {
		case err != nil:
			t.Fatal(err)
		case c.Empty():
			if now.Sub(last) >= DefaultSessionTimeout/heartbeatShare {
				t.Fatalf("nothing was written for %s", now.Sub(last))
			}
		case !c.OnlyDeadline() || c.Extended.MemberID != "a":
			t.Fatalf("%+v", c)
		default:
			writes, last = writes+1, now
			s.mustSave(t, c)
		}
	}
	if writes > 10*heartbeatShare {
		t.Errorf("%d writes in 10 sessions, %d are enough", writes, 10*heartbeatShare)
	}
}
