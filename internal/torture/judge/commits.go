package judge

import (
	"cmp"
	"slices"
	"sort"
)

// carried are the attempts that put offsets of one partition into one transaction.
type carried struct {
	first                           *offsetWrite
	sameOffset, sameOwner, sameFrom bool
}

// settleWrites finds what became of the offsets in transactions: they are committed when it is. Where several requests,
// or attempts, say different things, it is not known which of them stands, or in whose name.
func (b *book) settleWrites(s *share) {
	txns := map[*txn]*carried{}
	for i := range s.writes {
		w := &s.writes[i]
		if w.txn == nil {
			continue
		}
		w.invoked = w.txn.commitSent.at
		if w.txn.commitSent.line == 0 {
			w.invoked = never
		}
		c := txns[w.txn]
		if c == nil {
			txns[w.txn] = &carried{w, true, true, true}
			continue
		}
		c.sameOffset = c.sameOffset && w.offset == c.first.offset
		c.sameFrom = c.sameFrom && w.from == c.first.from
		c.sameOwner = c.sameOwner && w.member == c.first.member && w.epoch == c.first.epoch
	}
	for t, c := range txns {
		if !c.sameFrom {
			c.first.from = -1
		}
		switch {
		case t.committed.line == 0 || !c.sameOffset:
		case c.sameOwner:
			c.first.acked, c.first.ackLine = t.committed.at, t.committed.line
		default:
			s.acked.add(t.committed, c.first.offset)
		}
	}
	for i := range s.writes {
		w := &s.writes[i]
		if !w.accepted() {
			continue
		}
		s.acked.add(mark{w.acked, w.ackLine}, w.offset)
		if w.member != "" {
			s.commits.add(rival{mark{w.acked, w.ackLine}, w.epoch, w.member})
		}
	}
	slices.SortStableFunc(s.writes, func(a, b offsetWrite) int { return cmp.Compare(a.offset, b.offset) })
	for i := range s.reads {
		r := &s.reads[i]
		s.seen.add(mark{r.returned, r.line}, r.offset)
	}
	s.acked.sort()
	s.seen.sort()
	s.settleFree()
}

// settleFree sorts, where offsets may be set back, those that were committed by when that was acknowledged: each with
// the one so far that was sent last.
func (s *share) settleFree() {
	if !s.free {
		return
	}
	for i := range s.writes {
		if w := &s.writes[i]; w.accepted() {
			s.newest = append(s.newest, *w)
		}
	}
	slices.SortFunc(s.newest, func(a, b offsetWrite) int { return cmp.Compare(a.acked, b.acked) })
	for i := 1; i < len(s.newest); i++ {
		if before := s.newest[i-1]; before.invoked > s.newest[i].invoked {
			acked := s.newest[i].acked
			s.newest[i] = before
			s.newest[i].until = acked
		} else {
			s.newest[i].until = s.newest[i].acked
		}
	}
	if len(s.newest) > 0 {
		s.newest[0].until = s.newest[0].acked
	}
}

// newestBefore returns, of what was acknowledged before a time, what was sent last.
func (s *share) newestBefore(at int64) *offsetWrite {
	i := sort.Search(len(s.newest), func(i int) bool { return s.newest[i].until >= at })
	if i == 0 {
		return &offsetWrite{invoked: -1, offset: -1}
	}
	return &s.newest[i-1]
}
