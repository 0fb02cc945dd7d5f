package judge

import (
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// drained takes down a piece of a final log.
func (b *book) drained(line int32, l *history.Log) {
	b.logsBy[l.Source] = true
	p := b.partition(l.Topic, l.Partition)
	d := p.drained[l.Source]
	if d == nil {
		d = &drain{start: l.Start, end: l.Start}
		p.drained[l.Source] = d
	}
	switch {
	case l.Start > d.end && p.topic.retains():
		d.start = l.Start // what was before has left meanwhile
	case l.Start != d.end:
		b.add(Gap, []int32{d.line, line}, "%s, in the end by %s: offsets %d to %d of %s/%d have no record",
			l.Topic, l.Source, d.end, l.Start-1, l.Topic, l.Partition)
	}
	d.line, d.whole = line, l.Last
	for i := range l.Spans {
		d.spans = append(d.spans, b.span(p, line, &l.Spans[i], b.now))
	}
	d.end = max(d.end, l.End)
}

// saw notes that a reader read a span.
func (b *book) saw(p *partition, line int32, s *history.Span, returned int64) {
	row, _ := b.spans.add()
	*row = b.span(p, line, s, returned)
}

func (b *book) span(p *partition, line int32, s *history.Span, returned int64) span {
	return span{
		part:     p.id,
		line:     line,
		count:    int32(s.Count),
		offset:   s.Offset,
		first:    int64(s.First),
		returned: returned,
	}
}

// layOut makes of each partition's final log an array by offset, and compares what HTTP and SQL show of it.
func (b *book) layOut() {
	for _, p := range b.parts {
		d, other := p.drained[history.HTTP], p.drained[history.SQL]
		for _, source := range []history.Source{history.HTTP, history.SQL} {
			if d := p.drained[source]; d != nil && !d.whole {
				b.add(NotDrained, []int32{d.line},
					"%s/%d was read by %s up to %d and no further",
					p.topic.name, p.number, source, d.end)
			}
		}
		if d == nil {
			d, other = other, nil
			if p.number < p.topic.declared.Partitions {
				b.add(NotDrained, nil, "%s/%d was not read over HTTP in the end", p.topic.name, p.number)
			}
		}
		if d == nil {
			continue
		}
		p.start = d.start
		p.log = make([]int64, d.end)
		b.Records += int64(len(p.retained()))
		if p.topic.retains() {
			b.Left += p.start
		}
		b.lay(p, d)
		if other != nil {
			b.compare(p, d, other)
		}
	}
}

// lay puts the spans of a final log into its array.
func (b *book) lay(p *partition, d *drain) {
	next := d.start
	for i := range d.spans {
		s := &d.spans[i]
		if s.offset < d.start {
			continue
		}
		if s.offset != next {
			b.add(Gap, []int32{s.line},
				"%s/%d, in the end: offset %d comes where %d is due",
				p.topic.name, p.number, s.offset, next)
		}
		next = s.offset + int64(s.count)
		for j := range int64(s.count) {
			if at := s.offset + j; at >= p.start && at < p.end() {
				p.log[at] = s.value(j)
			}
		}
	}
	if next != d.end {
		b.add(Gap, []int32{d.line},
			"%s/%d, in the end: offsets %d to %d have no record",
			p.topic.name, p.number, next, d.end-1)
	}
}

// value returns the i-th value of a span, 0 if it is none of the run's.
func (s *span) value(i int64) int64 {
	if s.first == 0 {
		return 0
	}
	return s.first + i
}

// compare holds what SQL shows against the array.
func (b *book) compare(p *partition, d, other *drain) {
	lines := []int32{d.line, other.line}
	start := d.start
	if p.topic.retains() && other.start > start && other.line > d.line {
		start = other.start // some left in between
	}
	if start != other.start || d.end != other.end {
		b.add(DrainDiffers, lines, "%s/%d has the offsets %d to %d by HTTP, and %d to %d by SQL",
			p.topic.name, p.number, d.start, d.end-1, other.start, other.end-1)
		return
	}
	for i := range other.spans {
		s := &other.spans[i]
		for j := range int64(s.count) {
			if got := p.at(s.offset + j); s.offset+j >= start && got != s.value(j) {
				b.add(DrainDiffers, []int32{p.line(s.offset + j), s.line},
					"%s/%d has at offset %d value %d by HTTP, and %d by SQL",
					p.topic.name, p.number, s.offset+j, got, s.value(j))
				return
			}
		}
	}
}

// line returns the line of the final log that has an offset, or should have it. Of that line, this offset is shown.
func (p *partition) line(offset int64) int32 {
	line := p.lineOf(offset)
	if line > 0 && len(p.shown[line]) < 100 {
		if p.shown == nil {
			p.shown = map[int32][]int64{}
		}
		p.shown[line] = append(p.shown[line], offset)
	}
	return line
}

func (p *partition) lineOf(offset int64) int32 {
	d := p.drained[history.HTTP]
	if d == nil {
		d = p.drained[history.SQL]
	}
	if d == nil {
		return 0
	}
	i := sort.Search(len(d.spans), func(i int) bool { return offset < d.spans[i].offset+int64(d.spans[i].count) })
	if i == len(d.spans) {
		return d.line
	}
	return d.spans[i].line
}

// checkLogs looks at each record of the final logs by itself: who wrote it, and whether it is there once.
func (b *book) checkLogs() {
	for _, p := range b.parts {
		for i, v := range p.retained() {
			offset := p.start + int64(i)
			if v == 0 {
				b.add(Corrupt, []int32{p.line(offset)},
					"%s/%d has at offset %d what is no value of this run",
					p.topic.name, p.number, offset)
				continue
			}
			o := b.writer(v)
			if o == nil {
				b.add(Phantom, []int32{p.line(offset)},
					"%s/%d has at offset %d value %d, which nobody wrote",
					p.topic.name, p.number, offset, v)
				continue
			}
			b.checkPlace(o, p, v, offset)
			at := b.where.slot(v)
			if *at == 0 {
				*at = int64(p.id)<<44 | (offset + 1)
				o.present++
				continue
			}
			first := b.parts[*at>>44]
			b.onceMore(o, v, first, *at&(1<<44-1)-1, p, offset)
		}
	}
}

// onceMore counts a record that is in the log once more. A request without an identity may be delivered twice.
func (b *book) onceMore(o *op, v int64, first *partition, at int64, p *partition, offset int64) {
	if !o.identified() && (b.repeats || b.repeated[o.id]) {
		o.copies++
		b.Extra++
		return
	}
	o.copies++
	b.add(Duplicate, []int32{o.line, o.ackLine, first.line(at), p.line(offset)},
		"value %d of operation %d is at %s/%d, offset %d, and at %s/%d, offset %d",
		v, o.id, first.topic.name, first.number, at, p.topic.name, p.number, offset)
}

// checkPlace looks whether a record is in the partition that it was for.
func (b *book) checkPlace(o *op, p *partition, v, offset int64) {
	for i := range o.pieces {
		q := &o.pieces[i]
		if v < q.first || v >= q.first+q.count {
			continue
		}
		if q.topic != p.topic || q.partition >= 0 && q.partition != p.number {
			b.add(Phantom, []int32{o.line, p.line(offset)},
				"%s/%d has at offset %d value %d, which operation %d wrote to %s/%d",
				p.topic.name, p.number, offset, v, o.id, q.topic.name, q.partition)
			return
		}
		if keys := p.topic.declared.Keys; keys > 0 && q.partition < 0 {
			b.checkKey(o, p, v%keys, v, offset)
		}
	}
}

// checkKey holds that the records of one key are in one partition, unless their request named another.
func (b *book) checkKey(o *op, p *partition, key, v, offset int64) {
	t := p.topic
	if t.byKey == nil {
		t.byKey = map[int64]int64{}
	}
	packed, known := t.byKey[key]
	if !known {
		t.byKey[key] = int64(p.number)<<44 | offset
		return
	}
	if first := t.partitions[packed>>44]; first != p {
		b.add(KeySplit, []int32{o.line, first.line(packed & (1<<44 - 1)), p.line(offset)},
			"key %d of %s is in partition %d, and with value %d in partition %d",
			key, t.name, first.number, v, p.number)
	}
}
