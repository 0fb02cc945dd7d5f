package judge

import (
	"cmp"
	"slices"
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// bounds say from when on a high watermark must be at least what. Sorted, each has the highest of all before.
type bounds []bound

type bound struct {
	mark
	end int64
}

func (bs *bounds) add(m mark, end int64) { *bs = append(*bs, bound{m, end}) }

func (bs bounds) sort() {
	slices.SortFunc(bs, func(a, b bound) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.line, b.line)) })
	for i := 1; i < len(bs); i++ {
		if bs[i].end < bs[i-1].end {
			bs[i].end, bs[i].line = bs[i-1].end, bs[i-1].line
		}
	}
}

// before returns the highest bound that was known before a time.
func (bs bounds) before(at int64) bound {
	i := sort.Search(len(bs), func(i int) bool { return bs[i].at >= at })
	if i == 0 {
		return bound{end: -1}
	}
	return bs[i-1]
}

// reaching returns the first bound of an end or more; its line is 0 if there is none.
func (bs bounds) reaching(end int64) (b bound) {
	if i := sort.Search(len(bs), func(i int) bool { return bs[i].end >= end }); i < len(bs) {
		b = bs[i]
	}
	return b
}

// fetch is what a read told of a partition's end: it is at most end. A read of a partition without records is one, and
// so is 416.
type fetch struct {
	invoked, returned int64
	end               int64
	line              int32
	told              bool // end is the high watermark
}

// wait is a read that waited for records behind an offset until a time, and was told then that there are none.
type wait struct {
	next, until int64
	line        int32
}

// waited takes down a read that waited in vain.
func (p *partition) waited(line int32, a *history.Attempt, next int64, known bool) {
	q := a.Read
	if known && q.Wait > 0 && len(q.Spans) == 0 && a.Outcome == history.OK && a.Returned-a.Invoked >= q.Wait*1e6 {
		p.waits = append(p.waits, wait{next, a.Invoked + q.Wait*1e6, line})
	}
}

// wakes is how long, in nanoseconds, it may take until who waits is told of what was acknowledged, on a machine that
// has much to do. While a proxy or a database is disturbed it may take any time.
const wakes = 2e9

func (b *book) checkWaits(p *partition) {
	for i := range p.waits {
		w := &p.waits[i]
		if known := p.acked.before(w.until - wakes); !b.disturbed && known.end > w.next {
			b.add(StaleRead, []int32{known.line, w.line},
				"%s/%d: offset %d was acknowledged, or its request seen, at %d; who waited behind offset %d until %d was told "+
					"that nothing came",
				p.topic.name, p.number, known.end-1, known.at, w.next-1, w.until)
		}
	}
}

// checkVisible holds each high watermark that was told against what had to be visible when it was asked for.
func (b *book) checkVisible() {
	for _, p := range b.parts {
		if p.log != nil { // the final log is the last read of all
			p.fetches = append(p.fetches, fetch{b.now, b.now, p.end(), p.line(p.end()), true})
		}
		for i := range p.fetches {
			if f := &p.fetches[i]; f.told {
				p.seen.add(mark{f.returned, f.line}, f.end)
			}
		}
		p.seen.sort()
		for i := range p.fetches {
			b.checkEnd(p, &p.fetches[i])
		}
		b.checkWaits(p)
	}
}

func (b *book) checkEnd(p *partition, f *fetch) {
	if known := p.acked.before(f.invoked); known.end > f.end {
		b.add(StaleRead, []int32{known.line, f.line},
			"%s/%d: offset %d was acknowledged, or its request seen, at %d; a read sent at %d found the end at %d",
			p.topic.name, p.number, known.end-1, known.at, f.invoked, f.end)
	}
	if known := p.seen.before(f.invoked); known.end > f.end {
		b.add(WatermarkFell, []int32{known.line, f.line},
			"%s/%d: the high watermark was %d, told at %d; a read sent at %d found it at %d",
			p.topic.name, p.number, known.end, known.at, f.invoked, f.end)
	}
	if known := p.fenced.before(f.invoked); known.end > f.end {
		b.lateAfterFence(p, known, f)
	}
	if d, e := b.deedOf(p.at(f.end-1)), b.deedOf(p.at(f.end)); f.told && d.op != nil && e.op != nil && d.same(e) {
		b.tornAt(p, d, f)
	}
}
