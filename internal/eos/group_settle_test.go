package eos

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestG2ADeadMembersPartitionsAreTakenOver(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]time.Duration{
		"just before its deadline would have been written": 11 * time.Second,
		"when its deadline has just been written":          12 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, topic, a, b := moving(t)
			answers := map[string]Assignment{"a": a, "b": b}
			s.settle(t, start, answers)
			died := start.Add(silent)
			s.poll(t, died, "b", answers["b"].MemberEpoch)
			now, c := died, Change{}
			for ; len(c.Left) == 0; now = now.Add(500 * time.Millisecond) {
				s.poll(t, now, "a", answers["a"].MemberEpoch)
				if c = s.expire(t, now); now.After(died.Add(2 * DefaultSessionTimeout)) {
					t.Fatal("b lives for ever")
				}
			}
			if after := now.Sub(died); after < DefaultSessionTimeout || after > DefaultSessionTimeout+DefaultSessionTimeout/3 {
				t.Errorf("b was removed %s after it was heard of", after)
			}
			if diff := cmp.Diff([]string{"a", "b"}, c.Wake); diff != "" {
				t.Error(diff)
			}
			got := s.poll(t, now, "a", answers["a"].MemberEpoch)
			if diff := cmp.Diff(numbers(topic, 0, 1, 2, 3), got.Partitions); diff != "" {
				t.Error(diff)
			}
		})
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
