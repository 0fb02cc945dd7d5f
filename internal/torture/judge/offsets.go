package judge

import (
	"cmp"
	"slices"
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// offsetWrite is an attempt to commit an offset.
type offsetWrite struct {
	offset         int64
	from           int64 // the committed offset that it goes on from; -1: it does not say
	invoked, acked int64 // acked: never, if it was not
	until          int64 // among those sorted by acked: that of its place
	line, ackLine  int32
	operation      int64
	member         string // empty: without
	epoch          int64
	outcome        history.Outcome
	settled        bool // it failed, and a repeat of it would, too
	txn            *txn // that carries it; nil: a poll, or PUT offsets
	op             *op  // of a transaction
}

func (w *offsetWrite) accepted() bool { return w.acked != never }

// offsetRead is a committed offset that was read; -1 is that there was none.
type offsetRead struct {
	offset            int64
	invoked, returned int64
	line              int32
}

// write takes down an attempt to commit an offset.
func (b *book) write(line int32, a *history.Attempt, c history.Commit, o *op) {
	s := b.groupOf(c.Group).share(b.partition(c.Topic, c.Partition))
	w := offsetWrite{
		offset: c.Offset, from: c.From, invoked: a.Invoked, acked: never, line: line, operation: a.Operation, member: b.lasting(c.Member),
		epoch: c.Epoch, outcome: a.Outcome, op: o,
	}
	if o != nil {
		w.txn = o.txn
	}
	if a.Outcome == history.OK && o == nil {
		w.acked, w.ackLine = a.Returned, line
	}
	if a.Outcome == history.Fail {
		w.settled = settled(&op{}, a)
	}
	if c.Member == "" && (a.Outcome != history.Fail || !w.settled) {
		s.free = true
	}
	s.writes = append(s.writes, w)
}

// listing is an answer that lists the committed offsets of a group: what it does not have is not committed.
type listing struct {
	parts             []int32
	invoked, returned int64
	line              int32
}

// offsets takes down a request about the committed offsets of a group.
func (b *book) offsets(line int32, a *history.Attempt) {
	g := b.groupOf(a.Offsets.Group)
	l := listing{invoked: a.Invoked, returned: a.Returned, line: line}
	none := a.Outcome == history.Fail && a.Code == "GROUP_ID_NOT_FOUND"
	defer func() {
		if a.Kind == history.KindOffsets && (a.Outcome == history.OK || none) {
			g.listings = append(g.listings, l)
		}
	}()
	for i := range a.Offsets.Offsets {
		c := a.Offsets.Offsets[i]
		c.Group = a.Offsets.Group
		switch {
		case a.Kind == history.KindSetOffsets:
			b.write(line, a, c, nil)
		case a.Outcome == history.OK:
			s := g.share(b.partition(c.Topic, c.Partition))
			s.reads = append(s.reads, offsetRead{c.Offset, a.Invoked, a.Returned, line})
			l.parts = append(l.parts, s.part.id)
		}
	}
}

// settleListings makes reads of -1 of what listings do not have.
func (g *group) settleListings() {
	for i := range g.listings {
		l := &g.listings[i]
		for _, s := range g.order {
			if len(s.writes) > 0 && !slices.Contains(l.parts, s.part.id) {
				s.reads = append(s.reads, offsetRead{-1, l.invoked, l.returned, l.line})
			}
		}
	}
}

// staged takes down the offsets that a request puts into a transaction.
func (b *book) staged(line int32, a *history.Attempt, o *op) {
	for _, c := range a.Transaction.Offsets {
		b.write(line, a, c, o)
	}
}

func (b *book) committedInTheEnd(line int32, c *history.Committed) {
	s := b.groupOf(c.Group).share(b.partition(c.Topic, c.Partition))
	r := offsetRead{c.Offset, b.now, b.now, line}
	s.final[c.Source] = r
	s.reads = append(s.reads, r)
}

// mayWrite reports whether a write can have taken effect.
func (b *book) mayWrite(w *offsetWrite) bool {
	if w.txn != nil {
		return w.txn.committed.line > 0 || w.txn.aborted.line == 0 && b.may(w.op) && b.mayCommit(w.txn)
	}
	return w.outcome != history.Fail ||
		!w.settled && (b.repeats || b.repeated[w.operation] || b.again && w.member != "")
}

// checkOffsets holds each committed offset that was read against what was committed and read before. While a group has
// members its offsets only rise, and then this is all that linearizability asks for: a register that holds the maximum.
func (b *book) checkOffsets(s *share) {
	slices.SortFunc(s.reads, func(a, b offsetRead) int { return cmp.Compare(a.offset, b.offset) })
	low := int64(-1) // when the last of the reads was sent that found a lower offset
	for i := 0; i < len(s.reads); {
		j := i
		for ; j < len(s.reads) && s.reads[j].offset == s.reads[i].offset; j++ {
			b.checkOffset(s, &s.reads[j])
		}
		if !s.free {
			b.checkLateCommit(s, &s.reads[i], low)
		}
		for ; i < j; i++ {
			low = max(low, s.reads[i].invoked)
		}
	}
	for i := range s.writes {
		b.checkFrom(s, &s.writes[i])
	}
	b.checkFinal(s)
}

// checkFrom holds of an offset that was committed over another one, as its request says, that this one can have stood
// there then; none is 0.
func (b *book) checkFrom(s *share, w *offsetWrite) {
	if !w.accepted() || w.from < 0 {
		return
	}
	known := s.acked.before(w.invoked)
	if s.free {
		newest := s.newestBefore(w.invoked)
		if w.from == max(newest.offset, 0) {
			return
		}
		for i := range s.of(w.from) {
			c := &s.of(w.from)[i]
			again := c.txn == nil && (b.repeats || b.repeated[c.operation])
			if c.invoked < w.acked && b.mayWrite(c) && (c.acked >= newest.invoked || again) {
				return
			}
		}
		known = bound{mark{newest.acked, newest.ackLine}, newest.offset}
	} else if known.end <= w.from {
		return
	}
	b.add(FromIgnored, []int32{known.line, w.line, w.ackLine}, "%s/%d in group %s: offset %d was committed, acknowledged at %d; offset %d, sent at %d to go on from %d, was accepted",
		s.part.topic.name, s.part.number, s.group.name, known.end, known.at, w.offset, w.invoked, w.from)
}

func (b *book) checkOffset(s *share, r *offsetRead) {
	if s.free {
		b.checkFreeOffset(s, r)
		return
	}
	// It was read when it stood: after somebody had sent it, too.
	p, from := s.part, max(r.invoked, b.firstSent(s, r.offset))
	if known := s.acked.before(from); known.end > r.offset {
		b.add(OffsetLost, []int32{known.line, r.line},
			"%s/%d in group %s: offset %d was committed, acknowledged at %d; who asked at %d read %d",
			p.topic.name, p.number, s.group.name, known.end, known.at, r.invoked, r.offset)
	}
	if known := s.seen.before(from); known.end > r.offset {
		b.add(OffsetBack, []int32{known.line, r.line},
			"%s/%d in group %s: offset %d was read by %d; who asked at %d read %d",
			p.topic.name, p.number, s.group.name, known.end, known.at, r.invoked, r.offset)
	}
	if r.offset >= 0 {
		b.checkInvented(s, r)
	}
}

// of returns the writes of one offset.
func (s *share) of(offset int64) []offsetWrite {
	i := sort.Search(len(s.writes), func(i int) bool { return s.writes[i].offset >= offset })
	j := i
	for j < len(s.writes) && s.writes[j].offset == offset {
		j++
	}
	return s.writes[i:j]
}

// firstSent returns when an offset was first sent, by somebody who may have committed it.
func (b *book) firstSent(s *share, offset int64) int64 {
	first := int64(never)
	for i := range s.of(offset) {
		if w := &s.of(offset)[i]; b.mayWrite(w) {
			first = min(first, w.invoked)
		}
	}
	if first == never {
		return -1
	}
	return first
}

// checkInvented holds that somebody sent the offset that was read, in a request that was not refused.
func (b *book) checkInvented(s *share, r *offsetRead) {
	if s.group.latest {
		return
	}
	lines := []int32{r.line}
	for i := range s.of(r.offset) {
		w := &s.of(r.offset)[i]
		if w.invoked <= r.returned && b.mayWrite(w) {
			return
		}
		lines = append(lines, w.line)
	}
	why := "nobody had sent it"
	if len(lines) > 1 {
		why = "it was only sent later, or in requests that were refused"
	}
	b.add(OffsetInvented, lines[:min(4, len(lines))], "%s/%d in group %s: offset %d was read at %d; %s",
		s.part.topic.name, s.part.number, s.group.name, r.offset, r.returned, why)
}

// checkFreeOffset holds an offset that may be set back as well: of those that sent it one must not have been surely
// replaced by what was committed since.
func (b *book) checkFreeOffset(s *share, r *offsetRead) {
	newest := s.newestBefore(r.invoked)
	if r.offset == newest.offset || r.offset < 0 && newest.invoked < 0 {
		return
	}
	lines := []int32{newest.line, r.line}
	sent := false
	for i := range s.of(r.offset) {
		w := &s.of(r.offset)[i]
		if w.invoked <= r.returned && b.mayWrite(w) {
			sent = true
			again := w.txn == nil && (b.repeats || b.repeated[w.operation]) // a setting that is delivered twice is two
			if w.acked >= newest.invoked || again {
				return
			}
		}
	}
	switch {
	case sent || r.offset < 0:
		b.add(OffsetLost, lines,
			"%s/%d in group %s: offset %d was committed, acknowledged at %d; who asked at %d read %d, which "+
				"was before",
			s.part.topic.name, s.part.number, s.group.name, newest.offset, newest.acked, r.invoked, r.offset)
	default:
		b.checkInvented(s, r)
	}
}

// checkLateCommit holds that an offset did not appear after the partition had been given to another member, and its
// commit was by one before: low is when it was not there yet.
func (b *book) checkLateCommit(s *share, r *offsetRead, low int64) {
	var lines []int32
	var other rival
	for i := range s.of(r.offset) {
		w := &s.of(r.offset)[i]
		if !b.mayWrite(w) || w.member == "" {
			continue
		}
		if other = s.told.before(low, w.member); other.epoch <= w.epoch {
			return
		}
		lines = append(lines, w.line)
	}
	if len(lines) > 0 {
		b.add(StaleMember, append(lines[:min(3, len(lines))], other.line, r.line),
			"%s/%d in group %s: offset %d, committed by a member that had lost it to %s by %d, appeared after %d",
			s.part.topic.name, s.part.number, s.group.name, r.offset, other.member, other.at, low)
	}
}

// checkFinal holds that HTTP and SQL show the same offset in the end, and that there is one if one was acknowledged.
func (b *book) checkFinal(s *share) {
	h, byHTTP := s.final[history.HTTP]
	q, bySQL := s.final[history.SQL]
	if byHTTP && bySQL && h.offset != q.offset {
		b.add(DrainDiffers, []int32{h.line, q.line},
			"%s/%d in group %s: the committed offset is %d by HTTP, and %d by SQL",
			s.part.topic.name, s.part.number, s.group.name, h.offset, q.offset)
	}
	if byHTTP != bySQL && b.logsBy[history.HTTP] && b.logsBy[history.SQL] {
		b.add(DrainDiffers, []int32{h.line, q.line},
			"%s/%d in group %s: there is a committed offset by HTTP: %t, and by SQL: %t",
			s.part.topic.name, s.part.number, s.group.name, byHTTP, bySQL)
	}
	if known := s.acked.before(never); !byHTTP && !bySQL && known.line > 0 {
		b.add(NotDrained, []int32{known.line},
			"%s/%d in group %s: offset %d was committed; in the end nobody looked, or there is none",
			s.part.topic.name, s.part.number, s.group.name, known.end)
	}
}
