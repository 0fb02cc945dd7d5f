package eos

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
	s.mustSave(t, c)
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
