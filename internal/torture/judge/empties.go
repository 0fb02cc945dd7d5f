package judge

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// empty is a poll that brought nothing of a partition that its member had.
type empty struct {
	position          int64 // that it read from; -1: the committed offset
	invoked, returned int64
	line              int32
}

// empty takes down a poll that brought no records at all: of one that brought some of others, the limits may have been
// too low. One that commits may be answered without records, and so may one under whose epoch partitions changed hands.
func (b *book) empty(line int32, a *history.Attempt, g *group) {
	q := a.Member
	some := func(p history.Polled) bool { return len(p.Spans) > 0 }
	if a.Kind != history.KindPoll || len(q.Commits) > 0 || q.NewEpoch != q.Epoch || slices.ContainsFunc(q.Polled, some) {
		return
	}
	for _, as := range q.Assignment {
		for _, n := range as.Partitions {
			e := empty{-1, a.Invoked, a.Returned, line}
			for i := range q.Positions {
				if at := &q.Positions[i]; at.Topic == as.Topic && at.Partition == n {
					e.position = at.Offset
				}
			}
			for i := range q.Polled {
				if at := &q.Polled[i]; at.Topic == as.Topic && at.Partition == n {
					e.position = at.Next
				}
			}
			s := g.share(b.partition(as.Topic, n))
			s.empties = append(s.empties, e)
		}
	}
}

// checkEmpties holds that who was brought nothing stood at the end: at his position, or where somebody may have
// committed by then.
func (b *book) checkEmpties(s *share) {
	var sent bounds
	for i := range s.writes {
		if w := &s.writes[i]; b.mayWrite(w) {
			sent.add(mark{w.invoked, w.line}, w.offset)
		}
	}
	sent.sort()
	for _, e := range s.empties {
		at := e.position
		if at < 0 {
			if s.group.latest {
				continue // the service commits by itself
			}
			at = max(0, sent.before(e.returned).end)
		}
		if s.part.topic.retains() { // what is below has left by now
			at = max(at, s.part.start)
		}
		if known := s.part.acked.before(e.invoked); known.end > at {
			b.add(StaleRead, []int32{known.line, e.line},
				"%s/%d in group %s: offset %d was acknowledged, or its request seen, at %d; a poll sent at %d, from "+
					"offset %d or below, found nothing",
				s.part.topic.name, s.part.number, s.group.name, known.end-1, known.at, e.invoked, at)
		}
	}
}
