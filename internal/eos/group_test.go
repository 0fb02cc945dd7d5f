package eos

import (
	"errors"
	"fmt"
	"slices"
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
	s.refused(t, "b", 2, PartitionNotOwned.Errorf(""), Partition{topic, 2})
	// The poll with the new epoch says so, and may commit for the last time.
	is(t, s.poll(t, start, "a", 3, numbers(topic, 0, 2)...), 3, numbers(topic, 0, 1)...)
	s.refused(t, "a", 3, PartitionNotOwned.Errorf(""), Partition{topic, 2})
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
	s.save(t, c)
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
	s.refused(t, "a", 3, epochFenced(6), Partition{topic, 2})
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
	s.refused(t, "b", 2, PartitionNotOwned.Errorf(""), Partition{topic, 0})
	s.refused(t, "a", 1, PartitionNotOwned.Errorf(""), Partition{topic, 4})
	s.refused(t, "a", 1, PartitionNotOwned.Errorf(""), Partition{topic, 0}, Partition{topic + 1, 0})
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

func TestG2ADeadMembersPartitionsAreTakenOver(t *testing.T) {
	t.Parallel()
	s, topic, a, b := moving(t)
	answers := map[string]Assignment{"a": a, "b": b}
	s.settle(t, start, answers)
	// b is silent from the worst moment on: its deadline has just been written.
	died := start.Add(10 * time.Second)
	bound := died.Add(DefaultSessionTimeout + DefaultSessionTimeout/3) // session timeout and one heartbeat
	s.poll(t, died.Add(2*time.Second), "b", answers["b"].MemberEpoch)
	died = died.Add(2 * time.Second)
	for now := died; ; now = now.Add(500 * time.Millisecond) {
		s.poll(t, now, "a", answers["a"].MemberEpoch)
		c := s.expire(t, now)
		if len(c.Left) == 0 {
			if now.After(bound) {
				t.Fatal("b lives for ever")
			}
			continue
		}
		if now.Before(died.Add(DefaultSessionTimeout)) {
			t.Errorf("b died %s after it was heard of", now.Sub(died))
		}
		if diff := cmp.Diff([]string{"a", "b"}, c.Wake); diff != "" {
			t.Error(diff)
		}
		got := s.poll(t, now, "a", answers["a"].MemberEpoch)
		if diff := cmp.Diff(numbers(topic, 0, 1, 2, 3), got.Partitions); diff != "" {
			t.Error(diff)
		}
		return
	}
}

func TestG2AMemberThatDoesNotLetGoIsRemoved(t *testing.T) {
	t.Parallel()
	s := newShelf()
	topic := s.topic("t", 2)
	j := subscribes("a", "t")
	j.RebalanceTimeout = time.Minute
	s.join(t, start, j)
	s.join(t, start, subscribes("b", "t"))
	s.poll(t, start, "a", 1) // and is told
	b := Assignment{MemberEpoch: 2}
	for now := start; now.Before(start.Add(time.Minute)); now = now.Add(10 * time.Second) {
		s.poll(t, now, "a", 1) // it lives, but still works on it
		b = s.poll(t, now, "b", b.MemberEpoch)
		if c := s.expire(t, now); !c.Empty() {
			t.Fatalf("after %s: %+v", now.Sub(start), c)
		}
	}
	c := s.expire(t, start.Add(time.Minute))
	if diff := cmp.Diff([]string{"a"}, c.Left); diff != "" {
		t.Fatal(diff)
	}
	s.refused(t, "a", 1, UnknownMember.Errorf(""), Partition{topic, 0})
	if b = s.poll(t, start.Add(time.Minute), "b", b.MemberEpoch); len(b.Partitions) != 2 {
		t.Errorf("b has %v", b.Partitions)
	}
}

func TestG2NewPartitionsAndTopicsArePickedUp(t *testing.T) {
	t.Parallel()
	s := newShelf()
	first := s.topic("ads-1", 2)
	a := s.join(t, start, Join{MemberID: "a", Pattern: `ads-\d+`})
	is(t, a, 1, numbers(first, 0, 1)...)
	if c := s.refresh(t); !c.Empty() {
		t.Errorf("nothing is new, and %+v changed", c)
	}
	s.topics["ads-1"] = topicRow{first, 3}
	s.topic("xads-2", 1) // the pattern is of the whole name
	second := s.topic("ads-2", 1)
	if diff := cmp.Diff([]string{"a"}, s.refresh(t).Wake); diff != "" {
		t.Error(diff)
	}
	a = s.poll(t, start, "a", 1)
	is(t, a, 3, append(numbers(first, 0, 1, 2), Partition{second, 0})...)
	// A topic that is deleted and created again is another one.
	delete(s.topics, "ads-1")
	again := s.topic("ads-1", 1)
	s.refresh(t)
	a = s.poll(t, start, "a", a.MemberEpoch)
	is(t, a, 5, Partition{second, 0})
	a = s.poll(t, start, "a", a.MemberEpoch)
	is(t, a, 6, Partition{second, 0}, Partition{again, 0})
	for p := range s.rows {
		if p.Topic == first {
			t.Errorf("a row is left of %v", p)
		}
	}
}

func TestG2ARebalanceOfAHundredSettlesInFewRounds(t *testing.T) {
	t.Parallel()
	s := newShelf()
	topic := s.topic("t", 1000)
	answers := map[string]Assignment{}
	id := func(i int) string { return fmt.Sprintf("m%03d", i) }
	for i := range 100 {
		answers[id(i)] = s.join(t, start, subscribes(id(i), "t"))
	}
	if rounds := s.settle(t, start, answers); rounds > 4 {
		t.Errorf("100 joins settled in %d rounds", rounds)
	}
	before := map[Partition]string{}
	for p, row := range s.rows {
		before[p] = row.Owner
	}
	// One more moves its share only, and nobody else is bothered.
	answers[id(100)] = s.join(t, start, subscribes(id(100), "t"))
	bothered := map[string]int64{}
	for member, a := range answers {
		bothered[member] = a.MemberEpoch
	}
	if rounds := s.settle(t, start, answers); rounds > 3 {
		t.Errorf("a join settled in %d rounds", rounds)
	}
	moved, told := 0, 0
	for p, row := range s.rows {
		if row.Owner != before[p] {
			moved++
		}
	}
	for member, a := range answers {
		if a.MemberEpoch != bothered[member] {
			told++
		}
	}
	if share := 1000 / 101; moved != share || told != share+1 {
		t.Errorf("%d partitions moved and %d members were told, the share is %d", moved, told, share)
	}
	has := 0
	for _, a := range answers {
		has += len(a.Partitions)
	}
	if g := s.whole(); has != 1000 || g.State() != GroupStable || len(g.Topics) != 1 || g.Topics[topic] != 1000 {
		t.Errorf("%s, %d partitions with somebody", g.State(), has)
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
			s.save(t, c)
		}
	}
	if writes > 10*heartbeatShare {
		t.Errorf("%d writes in 10 sessions, %d are enough", writes, 10*heartbeatShare)
	}
}

func TestG7AStaticMemberComesBackWithoutARebalance(t *testing.T) {
	t.Parallel()
	s := newShelf()
	topic := s.topic("t", 4)
	answers := map[string]Assignment{
		"a1": s.join(t, start, static("a1", "a", "t")),
		"b1": s.join(t, start, static("b1", "b", "t")),
	}
	s.settle(t, start, answers)
	had, other := answers["a1"], answers["b1"]
	a, c, err := s.whole().Join(start.Add(40*time.Second), s.resolve(static("a2", "a", "t")))
	if err != nil {
		t.Fatal(err)
	}
	s.save(t, c)
	if a.MemberEpoch != s.epoch || a.MemberEpoch <= had.MemberEpoch || !a.Created {
		t.Errorf("epoch %d after %d, created %t", a.MemberEpoch, had.MemberEpoch, a.Created)
	}
	if diff := cmp.Diff(had.Partitions, a.Partitions); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(c.Wake, "a1") || slices.Contains(c.Wake, "b1") {
		t.Errorf("woken: %v", c.Wake)
	}
	if diff := cmp.Diff(other, s.poll(t, start, "b1", other.MemberEpoch)); diff != "" {
		t.Errorf("the other one noticed:\n%s", diff)
	}
	// Whatever the old one still sends, it is told.
	fenced := FencedInstanceID.Errorf("")
	for _, epoch := range []int64{had.MemberEpoch, a.MemberEpoch, 99} {
		s.refused(t, "a1", epoch, fenced)
		s.refused(t, "a1", epoch, fenced, Partition{topic, 0})
	}
	_, err = s.whole().Leave("a1")
	checkRefusal(t, err, fenced)
	for _, j := range []Join{static("a1", "a", "t"), subscribes("a1", "t")} {
		_, _, err = s.whole().Join(start, s.resolve(j))
		checkRefusal(t, err, fenced)
	}
	s.poll(t, start, "a2", a.MemberEpoch, a.Partitions...)
}

func TestG7AStaticMemberIsReplacedWhileItsPartitionsMove(t *testing.T) {
	t.Parallel()
	s := newShelf()
	topic := s.topic("t", 4)
	s.join(t, start, static("a1", "a", "t"))
	s.join(t, start, subscribes("b", "t"))
	s.poll(t, start, "a1", 1) // told to let go of 2 and 3
	a := s.join(t, start, static("a2", "a", "t"))
	is(t, a, 4, numbers(topic, 0, 1)...)
	is(t, s.poll(t, start, "b", 2), 5, numbers(topic, 2, 3)...)
	// It leaves, or its session ends: free at once, as with everybody.
	s.leave(t, "a2")
	is(t, s.poll(t, start, "b", 5), 7, numbers(topic, 0, 1, 2, 3)...)
	is(t, s.join(t, start, static("a3", "a", "t")), 8)
}

func TestG7AnInstanceIDBelongsToItsMember(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.topic("t", 4)
	s.join(t, start, static("a1", "a", "t"))
	s.join(t, start, static("b1", "b", "t"))
	for _, j := range []Join{static("a1", "b", "t"), static("a1", "c", "t"), subscribes("a1", "t")} {
		_, c, err := s.whole().Join(start, s.resolve(j))
		checkRefusal(t, err, InvalidRequest.Errorf(""))
		if !c.Empty() {
			t.Errorf("%+v", c)
		}
	}
	if a := s.join(t, start, static("a1", "a", "t")); a.Created {
		t.Error("the same again created it")
	}
}
