package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// settleShown finds when each deed was first seen to be done: whoever sees a part of it knows that all of it is, in
// every partition and group (P1, T1, G3).
func (b *book) settleShown() {
	for s := range b.spans.all() {
		p := b.parts[s.part]
		var last *op
		for j := range int64(s.count) {
			v := s.value(j)
			o := b.writer(v)
			if o == nil || o == last || p.at(s.offset+j) != v {
				continue
			}
			last = o
			switch {
			case o.txn != nil:
				o.txn.shown.earliest(s.returned, s.line)
			case o.kind != history.KindUpload && o.copies == 0: // these are not done at one moment
				o.shown.earliest(s.returned, s.line)
			}
		}
	}
	for _, g := range b.allGroups {
		for _, s := range g.order {
			s.settleShown()
		}
	}
}

// settleShown finds which transactions committed an offset that was read, and which nobody else sent.
func (s *share) settleShown() {
	if s.group.latest {
		return // the service commits by itself
	}
	by := map[int64]*txn{}
	for i := range s.writes {
		w := &s.writes[i]
		if t, known := by[w.offset]; known && t != w.txn {
			by[w.offset] = nil
			continue
		}
		by[w.offset] = w.txn
	}
	for i := range s.reads {
		r := &s.reads[i]
		if t := by[r.offset]; t != nil {
			t.shown.earliest(r.returned, r.line)
		}
	}
}
