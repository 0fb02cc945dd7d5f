package eos

import (
	"cmp"
	"slices"
)

// nobody is the index of no member.
const nobody = -1

// unit is what moves as a whole: a partition, or co-partitioned ones.
type unit struct {
	pool   int
	holder int // the member that is to have it, or nobody
	owner  int // the member that has it in fact, or nobody
}

// balance deals units out to members. The units of a pool may go to the same
// members, the pool's takers. All are indexes; earlier ones come first wherever
// nothing else decides.
type balance struct {
	units []unit
	pools [][]int         // pool → its takers
	mayOf [][]int         // member → the pools that it may have units of
	held  []map[int][]int // member → pool → the units that it holds
	loads []int           // member → how many that are
	done  []bool          // member → nothing that it holds can go to anybody with two less
}

func newBalance(members int) *balance {
	b := &balance{
		mayOf: make([][]int, members), held: make([]map[int][]int, members),
		loads: make([]int, members), done: make([]bool, members),
	}
	for i := range b.held {
		b.held[i] = map[int][]int{}
	}
	return b
}

// addPool begins a pool, which the units that follow belong to.
func (b *balance) addPool(takers []int) {
	for _, m := range takers {
		b.mayOf[m] = append(b.mayOf[m], len(b.pools))
	}
	b.pools = append(b.pools, takers)
}

func (b *balance) addUnit(holder, owner int) {
	b.units = append(b.units, unit{pool: len(b.pools) - 1, holder: nobody, owner: owner})
	if holder != nobody {
		b.give(len(b.units)-1, holder)
	}
}

func (b *balance) give(u, to int) {
	pool := b.units[u].pool
	b.units[u].holder = to
	b.held[to][pool] = append(b.held[to][pool], u)
	b.loads[to]++
}

// run gives every unit a holder, then moves units from the most loaded members
// along the shortest paths that lead to members with at least two less. When no
// path is left, the loads are as equal as the pools allow, and not only between
// neighbours (Harvey, Ladner, Lovász, Tamir: Semi-matchings for bipartite
// graphs and load balancing, 2003).
func (b *balance) run() {
	b.giveFree()
	for {
		most, least := nobody, nobody
		for m := range b.loads {
			if !b.done[m] && (most == nobody || b.loads[m] > b.loads[most]) {
				most = m
			}
			if least == nobody || b.loads[m] < b.loads[least] {
				least = m
			}
		}
		if most == nobody || b.loads[most] < b.loads[least]+2 {
			return
		}
		b.relieve(most)
	}
}

// giveFree gives the units without a holder to the taker that has least, those
// first that the fewest can take.
func (b *balance) giveFree() {
	var free []int
	for u := range b.units {
		if b.units[u].holder == nobody {
			free = append(free, u)
		}
	}
	slices.SortStableFunc(free, func(x, y int) int {
		return cmp.Compare(len(b.pools[b.units[x].pool]), len(b.pools[b.units[y].pool]))
	})
	for _, u := range free {
		least := nobody
		for _, m := range b.pools[b.units[u].pool] {
			if least == nobody || b.loads[m] < b.loads[least] {
				least = m
			}
		}
		b.give(u, least)
	}
}

// hop is how the search came to a member: from another one, by a pool that both
// may have units of.
type hop struct{ from, pool int }

// relieve moves one unit of a member along each hop of the shortest path to a
// member with at least two less. When there is none, none will be: nobody that
// was met can be relieved, and nobody else through them, because sources come
// in falling order of their loads.
func (b *balance) relieve(source int) {
	hops := map[int]hop{source: {nobody, nobody}}
	opened := make([]bool, len(b.pools))
	for level := []int{source}; len(level) > 0; {
		var next []int
		end := nobody
		for _, from := range level {
			for _, pool := range b.mayOf[from] {
				if opened[pool] || len(b.held[from][pool]) == 0 {
					continue
				}
				opened[pool] = true
				for _, m := range b.pools[pool] {
					if _, met := hops[m]; met || b.done[m] {
						continue
					}
					hops[m] = hop{from, pool}
					next = append(next, m)
					if b.loads[m] <= b.loads[source]-2 && (end == nobody || b.loads[m] < b.loads[end]) {
						end = m
					}
				}
			}
		}
		if end != nobody {
			for to := end; to != source; to = hops[to].from {
				b.move(hops[to].from, to, hops[to].pool)
			}
			return
		}
		level = next
	}
	for m := range hops {
		b.done[m] = true
	}
}

// move takes from a member the unit of a pool that costs least to move: one
// that the other member owns in fact, else one that its holder does not, else
// the last.
func (b *balance) move(from, to, pool int) {
	units := b.held[from][pool]
	best, cost := 0, 3
	for i, u := range units {
		c := 2
		switch b.units[u].owner {
		case to:
			c = 0
		case from:
		default:
			c = 1
		}
		if c <= cost {
			best, cost = i, c
		}
	}
	u := units[best]
	b.held[from][pool] = slices.Delete(units, best, best+1)
	b.loads[from]--
	b.give(u, to)
}
