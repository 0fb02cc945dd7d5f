package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// checkTooLate holds that nothing is put into a transaction, nor said to be in it, by who asks after it was known to be
// aborted (T4).
func (b *book) checkTooLate(t *txn) {
	if t.aborted.line == 0 {
		return
	}
	for _, o := range append(t.staged[:len(t.staged):len(t.staged)], t.moves...) {
		b.each(o, func(try *try) {
			if try.outcome == history.OK && try.invoked > t.aborted.at {
				b.add(TwoFates, []int32{t.aborted.line, try.line},
					"transaction %s was known to be aborted at %d; operation %d (%s), sent at %d, was answered as if it were not",
					t.id, t.aborted.at, o.id, o.kind, try.invoked)
			}
		})
	}
}

// checkBeside holds that nobody sets offsets of a group beside its members.
func (b *book) checkBeside(g *group) {
	for _, s := range g.order {
		for i := range s.writes {
			w := &s.writes[i]
			if w.op != nil || w.member != "" || w.outcome != history.OK {
				continue
			}
			if m, r := g.aliveFrom(w.invoked, w.acked); m != nil {
				b.add(StaleMember, []int32{r.line, w.line},
					"member %s of group %s, with a session of %d ms, was heard at %d; offset %d was set at %d by who is no member",
					m.name, g.name, m.session/1e6, r.invoked, w.offset, w.invoked)
			}
		}
	}
}

// aliveFrom returns a member that was one all the time between two, and the request by which that is known; nil if none
// surely was. One with an instance may have been replaced by another that has left since.
func (g *group) aliveFrom(from, until int64) (*member, *membership) {
	for _, m := range g.all {
		if m.left.line > 0 && m.left.at <= until {
			continue
		}
		for i := range m.requests {
			r := &m.requests[i]
			if r.instance == "" && r.returned < from && until < r.invoked+m.session-margin {
				return m, r
			}
		}
	}
	return nil, nil
}
