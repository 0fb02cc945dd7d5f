package judge

import (
	"cmp"
	"slices"
	"sort"
)

// rivals are members with epochs; sorted by time, each has the highest epoch so far, and the highest of another member.
type rivals struct {
	list []rival
	best [][2]rival
}

type rival struct {
	mark
	epoch  int64
	member string
}

func (r *rivals) add(x rival) { r.list = append(r.list, x) }

func (r *rivals) sort() {
	slices.SortFunc(
		r.list,
		func(a, b rival) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.line, b.line)) },
	)
	best := [2]rival{{epoch: -1}, {epoch: -1}}
	for _, x := range r.list {
		switch {
		case x.epoch > best[0].epoch && x.member != best[0].member:
			best[1], best[0] = best[0], x
		case x.epoch > best[0].epoch:
			best[0] = x
		case x.epoch > best[1].epoch && x.member != best[0].member:
			best[1] = x
		}
		r.best = append(r.best, best)
	}
}

// before returns the highest epoch that somebody else than member had before a time.
func (r *rivals) before(at int64, member string) rival {
	i := sort.Search(len(r.list), func(i int) bool { return r.list[i].at >= at })
	switch {
	case i == 0:
		return rival{epoch: -1}
	case r.best[i-1][0].member != member:
		return r.best[i-1][0]
	}
	return r.best[i-1][1]
}
