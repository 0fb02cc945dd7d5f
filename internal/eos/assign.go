package eos

import (
	"cmp"
	"maps"
	"slices"
)

// The assignors, which say how a group's partitions are dealt out.
const (
	// AssignUniform balances the partitions of all topics together.
	AssignUniform = "uniform"
	// AssignRange gives the same partition numbers of co-partitioned topics to
	// the same member: of topics with the same partition count and the same
	// subscribers.
	AssignRange = "range"
)

// subscriber is a member as an assignor sees it.
type subscriber struct {
	id     string
	topics []int64
}

// assign deals out every partition of the topics that somebody subscribes to.
// It answers the same to the same question, on any proxy. What members hold
// already stays where it is, but for what balance takes (G2): the loads of two
// members differ by more than one only where no chain of partitions that their
// subscriptions allow would bring them nearer. Range balances so, too, each set
// of co-partitioned topics by itself, so that a member that joins moves only
// its share, which Kafka's contiguous ranges do not do.
//
// A partition is held by its target, or, if that one has left, by its owner:
// so a rebalance that is called off moves nothing.
func assign(assignor string, subscribers []subscriber, topics map[int64]int, held map[Partition]*Ownership) map[Partition]string {
	subscribers = slices.SortedFunc(slices.Values(subscribers), func(a, b subscriber) int { return cmp.Compare(a.id, b.id) })
	d := &deal{topics: topics, held: held, members: map[string]int{}, to: map[Partition]string{}, subscribed: map[int64][]int{}}
	for i, s := range subscribers {
		d.ids = append(d.ids, s.id)
		d.members[s.id] = i
		for _, topic := range s.topics {
			d.subscribed[topic] = append(d.subscribed[topic], i)
		}
	}
	d.loads = make([]int, len(d.ids))
	if assignor == AssignRange {
		for _, together := range d.coPartitioned() {
			d.out([][]int64{together})
		}
		return d.to
	}
	var apart [][]int64
	for _, topic := range slices.Sorted(maps.Keys(d.subscribed)) {
		apart = append(apart, []int64{topic})
	}
	d.out(apart)
	return d.to
}

// deal is an assignment on its way.
type deal struct {
	topics     map[int64]int // partition counts
	held       map[Partition]*Ownership
	ids        []string // members by index, ascending
	members    map[string]int
	subscribed map[int64][]int // by topic; members ascending
	loads      []int           // partitions of each member, so far
	to         map[Partition]string
}

// coPartitioned returns the subscribed topics in sets of those with the same
// partition count and subscribers, by their lowest topic.
func (d *deal) coPartitioned() [][]int64 {
	var sets [][]int64
topics:
	for _, topic := range slices.Sorted(maps.Keys(d.subscribed)) {
		for i, set := range sets {
			if d.topics[set[0]] == d.topics[topic] && slices.Equal(d.subscribed[set[0]], d.subscribed[topic]) {
				sets[i] = append(set, topic)
				continue topics
			}
		}
		sets = append(sets, []int64{topic})
	}
	return sets
}

// out deals out sets of topics, all of them balanced together. The topics of a
// set have the same subscribers, and their partitions of one number stay
// together.
func (d *deal) out(sets [][]int64) {
	// On equal terms the member is served first that has least of other sets.
	order := make([]int, len(d.ids))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(d.loads[a], d.loads[b]) })
	place := make([]int, len(order))
	for at, member := range order {
		place[member] = at
	}
	b := newBalance(len(order))
	for _, set := range sets {
		var takers []int
		for _, member := range d.subscribed[set[0]] {
			takers = append(takers, place[member])
		}
		slices.Sort(takers)
		b.addPool(takers)
		for number := range d.topics[set[0]] {
			holder, owner := d.holder(set, number, place)
			b.addUnit(holder, owner)
		}
	}
	b.run()
	unit := 0
	for _, set := range sets {
		for number := range d.topics[set[0]] {
			member := order[b.units[unit].holder]
			for _, topic := range set {
				d.to[Partition{topic, number}] = d.ids[member]
			}
			d.loads[member] += len(set)
			unit++
		}
	}
}

// holder returns the places of the subscriber that holds, and of the one that
// owns, a set's partitions of one number: those of the first topic of which
// somebody does. It is nobody for both where nobody does.
func (d *deal) holder(set []int64, number int, place []int) (holder, owner int) {
	find := func(topic int64, id string) int {
		member, lives := d.members[id]
		if _, subscribed := slices.BinarySearch(d.subscribed[topic], member); !lives || !subscribed {
			return nobody
		}
		return place[member]
	}
	for _, topic := range set {
		row := d.held[Partition{topic, number}]
		if row == nil {
			continue
		}
		owner = find(topic, row.Owner)
		if holder = find(topic, row.Target); holder == nobody {
			holder = owner
		}
		if holder != nobody {
			return holder, owner
		}
	}
	return nobody, nobody
}
