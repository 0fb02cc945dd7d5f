package eos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// crowd is n members m000, m001, … with the same topics.
func crowd(n int, topics ...int64) []subscriber {
	var all []subscriber
	for i := range n {
		all = append(all, subscriber{fmt.Sprintf("m%03d", i), topics})
	}
	return all
}

// settled is the state of a group in which everybody has what was assigned.
func settled(targets map[Partition]string) map[Partition]*Ownership {
	held := map[Partition]*Ownership{}
	for p, id := range targets {
		held[p] = &Ownership{Partition: p, Owner: id, Target: id}
	}
	return held
}

func loadsOf(subscribers []subscriber, targets map[Partition]string) map[string]int {
	loads := map[string]int{}
	for _, s := range subscribers {
		loads[s.id] = 0
	}
	for _, id := range targets {
		loads[id]++
	}
	return loads
}

// moved counts the partitions that change hands between two who both were and
// are there.
func moved(before, after map[Partition]string, there []subscriber) int {
	n := 0
	for p, id := range before {
		stays := slices.ContainsFunc(there, func(s subscriber) bool { return s.id == id })
		if stays && after[p] != "" && after[p] != id {
			n++
		}
	}
	return n
}

// checkDealt holds an assignment against what any must be: every partition of
// the subscribed topics has one taker, which subscribes to it.
func checkDealt(t testing.TB, subscribers []subscriber, topics map[int64]int, targets map[Partition]string) {
	t.Helper()
	may := map[string][]int64{}
	want := map[Partition]bool{}
	for _, s := range subscribers {
		may[s.id] = s.topics
		for _, topic := range s.topics {
			for number := range topics[topic] {
				want[Partition{topic, number}] = true
			}
		}
	}
	for p, id := range targets {
		if !want[p] || !slices.Contains(may[id], p.Topic) {
			t.Fatalf("%v went to %q, which subscribes to %v", p, id, may[id])
		}
	}
	if len(targets) != len(want) {
		t.Fatalf("%d of %d partitions were dealt out", len(targets), len(want))
	}
}

// chain returns members along which partitions could be handed on, each to the
// next, so that two members with loads further apart than one come nearer; nil
// when there are none. It tries every partition of everybody.
func chain(subscribers []subscriber, targets map[Partition]string) []string {
	loads := loadsOf(subscribers, targets)
	for _, source := range subscribers {
		paths := map[string][]string{source.id: {source.id}}
		for queue := []string{source.id}; len(queue) > 0; queue = queue[1:] {
			for p, holder := range targets {
				if holder != queue[0] {
					continue
				}
				for _, s := range subscribers {
					if paths[s.id] != nil || !slices.Contains(s.topics, p.Topic) {
						continue
					}
					paths[s.id] = append(slices.Clone(paths[holder]), s.id)
					if loads[s.id] <= loads[source.id]-2 {
						return paths[s.id]
					}
					queue = append(queue, s.id)
				}
			}
		}
	}
	return nil
}

func TestG2UniformBalancesOverSubscriptionsThatDiffer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		topics := map[int64]int{}
		for topic := range int64(1 + r.IntN(5)) {
			topics[topic] = r.IntN(9)
		}
		var subscribers []subscriber
		targets := map[Partition]string{}
		for step := range 12 {
			if len(subscribers) > 0 && r.IntN(3) == 0 {
				at := r.IntN(len(subscribers))
				subscribers = slices.Delete(subscribers, at, at+1)
			} else {
				s := subscriber{id: fmt.Sprintf("m%d", step)}
				for topic := range int64(len(topics)) {
					if r.IntN(2) == 0 {
						s.topics = append(s.topics, topic)
					}
				}
				subscribers = append(subscribers, s)
			}
			held := settled(targets)
			targets = assign(AssignUniform, subscribers, topics, held)
			checkDealt(t, subscribers, topics, targets)
			if path := chain(subscribers, targets); path != nil {
				t.Fatalf("seed %d, step %d: %v of %v could hand on along %v", seed, step, targets, subscribers, path)
			}
			// The same again, also in another order, is the same; and it stays.
			shuffled := slices.Clone(subscribers)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			if diff := cmp.Diff(targets, assign(AssignUniform, shuffled, topics, held)); diff != "" {
				t.Fatalf("seed %d: two answers to one question:\n%s", seed, diff)
			}
			if diff := cmp.Diff(targets, assign(AssignUniform, subscribers, topics, settled(targets))); diff != "" {
				t.Fatalf("seed %d: it does not stay where it is:\n%s", seed, diff)
			}
		}
	}
}

func TestG2ChainsOfDifferentSubscriptionsBalance(t *testing.T) {
	t.Parallel()
	// Each neighbours' loads are within one; only both moves together help.
	subscribers := []subscriber{{"a", []int64{1}}, {"b", []int64{1, 2}}, {"c", []int64{2}}}
	topics := map[int64]int{1: 4, 2: 5}
	before := map[Partition]string{}
	for n := range 4 {
		before[Partition{1, n}] = "a"
	}
	for n := range 5 {
		before[Partition{2, n}] = "c"
		if n < 3 {
			before[Partition{2, n}] = "b"
		}
	}
	after := assign(AssignUniform, subscribers, topics, settled(before))
	if diff := cmp.Diff(map[string]int{"a": 3, "b": 3, "c": 3}, loadsOf(subscribers, after)); diff != "" {
		t.Error(diff)
	}
	if n := moved(before, after, subscribers); n != 2 {
		t.Errorf("%d partitions moved, two are enough", n)
	}
}

func TestG2JoiningAndLeavingMoveOnlyAShare(t *testing.T) {
	t.Parallel()
	for _, assignor := range []string{AssignUniform, AssignRange} {
		for _, c := range []struct{ members, partitions int }{{1, 7}, {2, 7}, {3, 3}, {3, 2}, {10, 100}, {100, 1000}, {7, 1000}} {
			t.Run(fmt.Sprintf("%s/%d of %d", assignor, c.members, c.partitions), func(t *testing.T) {
				t.Parallel()
				topics := map[int64]int{1: c.partitions}
				many, more := crowd(c.members, 1), crowd(c.members+1, 1)
				before := assign(assignor, many, topics, nil)
				joined := assign(assignor, more, topics, settled(before))
				share := c.partitions / (c.members + 1)
				if n := moved(before, joined, more); n != share {
					t.Errorf("a join moved %d partitions, the share is %d", n, share)
				}
				// Anybody may leave: what the others have, they keep.
				rest := slices.Delete(slices.Clone(more), c.members/2, c.members/2+1)
				left := assign(assignor, rest, topics, settled(joined))
				if n := moved(joined, left, rest); n != 0 {
					t.Errorf("%d partitions of others moved when a member left", n)
				}
				for _, targets := range []map[Partition]string{before, joined, left} {
					loads := slices.Collect(maps.Values(loadsOf(nil, targets)))
					if slices.Max(loads)-slices.Min(loads) > 1 {
						t.Errorf("loads %v", loads)
					}
				}
			})
		}
	}
}

func TestG2ARebalanceThatIsCalledOffMovesNothing(t *testing.T) {
	t.Parallel()
	topics := map[int64]int{1: 100}
	var before map[Partition]string
	for n := range 3 { // one after the other, so that they do not have what a first assignment gives
		before = assign(AssignUniform, crowd(n+1, 1), topics, settled(before))
	}
	held := settled(before)
	for p, id := range assign(AssignUniform, crowd(4, 1), topics, held) {
		held[p].Target = id // and nobody has let go of anything yet
	}
	after := assign(AssignUniform, crowd(3, 1), topics, held)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

func TestG2WhatMovesIsWhatCostsLeast(t *testing.T) {
	t.Parallel()
	// All is to be member 0's, which owns the first and the last.
	b := newBalance(2)
	b.addPool([]int{0, 1})
	for _, owner := range []int{0, nobody, 1, 0} {
		b.addUnit(0, owner)
	}
	b.run()
	var holders []int
	for _, u := range b.units {
		holders = append(holders, u.holder)
	}
	if diff := cmp.Diff([]int{0, 1, 1, 0}, holders); diff != "" {
		t.Error(diff)
	}
}

func TestG2ADeletedTopicLeavesAndANewOneIsDealtOut(t *testing.T) {
	t.Parallel()
	for _, assignor := range []string{AssignUniform, AssignRange} {
		before := assign(assignor, crowd(4, 1, 2), map[int64]int{1: 8, 2: 8}, nil)
		without := assign(assignor, crowd(4, 2), map[int64]int{2: 8}, settled(before))
		checkDealt(t, crowd(4, 2), map[int64]int{2: 8}, without)
		more := assign(assignor, crowd(4, 2, 3), map[int64]int{2: 12, 3: 4}, settled(without))
		checkDealt(t, crowd(4, 2, 3), map[int64]int{2: 12, 3: 4}, more)
		if n := moved(without, more, crowd(4)); n != 0 {
			t.Errorf("%s: %d partitions moved because of new ones", assignor, n)
		}
	}
}

func TestRangeKeepsCoPartitionedTopicsTogether(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		topics := map[int64]int{1: 6, 2: 6, 3: 6, 4: 4, 5: 4}
		subscribers := crowd(3, 1, 2, 3, 4, 5)
		targets := assign(AssignUniform, subscribers, topics, nil) // and then they change their mind
		for range 8 {
			subscribers = crowd(1+r.IntN(8), 1, 2, 3, 4, 5)
			targets = assign(AssignRange, subscribers, topics, settled(targets))
			checkDealt(t, subscribers, topics, targets)
			for _, set := range [][]int64{{1, 2, 3}, {4, 5}} {
				loads := map[string]int{}
				for number := range topics[set[0]] {
					id := targets[Partition{set[0], number}]
					loads[id]++
					for _, topic := range set {
						if other := targets[Partition{topic, number}]; other != id {
							t.Fatalf("seed %d: partition %d of topics %v went to %s and %s", seed, number, set, id, other)
						}
					}
				}
				for _, s := range subscribers {
					if n := topics[set[0]]; loads[s.id] < n/len(subscribers) || loads[s.id] > (n+len(subscribers)-1)/len(subscribers) {
						t.Fatalf("seed %d: %s has %d of %d partitions among %d", seed, s.id, loads[s.id], n, len(subscribers))
					}
				}
			}
		}
	}
}

func TestRangeTellsTopicsWithOtherSubscribersApart(t *testing.T) {
	t.Parallel()
	subscribers := []subscriber{{"a", []int64{1, 2}}, {"b", []int64{1}}, {"c", []int64{2}}}
	topics := map[int64]int{1: 4, 2: 4}
	targets := assign(AssignRange, subscribers, topics, nil)
	checkDealt(t, subscribers, topics, targets)
	if diff := cmp.Diff(map[string]int{"a": 4, "b": 2, "c": 2}, loadsOf(subscribers, targets)); diff != "" {
		t.Error(diff)
	}
}

func TestRangeEvensOutWhatSetsLeaveOver(t *testing.T) {
	t.Parallel()
	subscribers := crowd(3, 1, 2)
	targets := assign(AssignRange, subscribers, map[int64]int{1: 4, 2: 5}, nil)
	if diff := cmp.Diff(map[string]int{"m000": 3, "m001": 3, "m002": 3}, loadsOf(subscribers, targets)); diff != "" {
		t.Error(diff)
	}
}

// TestAssignIsFast leaves an order of magnitude to slow machines and to the
// race detector; BenchmarkAssign measures.
func TestAssignIsFast(t *testing.T) {
	t.Parallel()
	held := settled(assign(AssignUniform, crowd(100, 1), map[int64]int{1: 1000}, nil))
	best := time.Hour
	for range 5 {
		start := time.Now()
		assign(AssignUniform, crowd(101, 1), map[int64]int{1: 1000}, held)
		best = min(best, time.Since(start))
	}
	if best > 50*time.Millisecond {
		t.Errorf("%s for 1,000 partitions and 101 members", best)
	}
}

func BenchmarkAssign(b *testing.B) {
	oneTopic, thousand := map[int64]int{1: 1000}, map[int64]int{}
	var all []int64
	for topic := range int64(1000) {
		thousand[topic] = 1
		all = append(all, topic)
	}
	big := map[int64]int{1: 10_000}
	mixed := crowd(100)
	for i := range mixed {
		for topic := int64(i % 7); topic < 1000; topic += int64(1 + i%7) {
			mixed[i].topics = append(mixed[i].topics, topic)
		}
	}
	for _, c := range []struct {
		name   string
		before []subscriber
		after  []subscriber
		topics map[int64]int
	}{
		{"first of 1000x100", nil, crowd(100, 1), oneTopic},
		{"join of 1000x100", crowd(100, 1), crowd(101, 1), oneTopic},
		{"leave of 1000x100", crowd(100, 1), crowd(99, 1), oneTopic},
		{"join of 1000 topics", crowd(100, all...), crowd(101, all...), thousand},
		{"mixed subscriptions, first", nil, mixed, thousand},
		{"mixed subscriptions, leave", mixed, mixed[:99], thousand},
		{"join of 10000x1000", crowd(1000, 1), crowd(1001, 1), big},
	} {
		for _, assignor := range []string{AssignUniform, AssignRange} {
			b.Run(assignor+"/"+c.name, func(b *testing.B) {
				held := settled(assign(assignor, c.before, c.topics, nil))
				for b.Loop() {
					assign(assignor, c.after, c.topics, held)
				}
			})
		}
	}
}
