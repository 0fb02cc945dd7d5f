package judge

import (
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// reader is where somebody who reads on stands.
type reader struct {
	at   string          // the cursor, or the id of the last event
	next map[int32]int64 // by partition; what is not in it is not known
	line int32           // of its last answer
	from bool            // it reads from the beginning: what is not in next is at 0
}

// readerID names who reads on: a reader, in what it reads. Of a partition, fetches and events go on by themselves.
type readerID struct {
	name, topic string
	partition   int
	kind        history.Kind
}

func (b *book) readerOf(a *history.Attempt) *reader {
	id := readerID{a.Read.Reader, a.Read.Topic, a.Read.Partition, a.Kind}
	r := b.readers[id]
	if r == nil {
		id.name, id.topic, id.kind = strings.Clone(id.name), b.lasting(id.topic), history.Kind(b.lasting(string(id.kind)))
		r = &reader{next: map[int32]int64{}}
		b.readers[id] = r
	}
	return r
}

// readAttempt takes down what a read saw, and holds it against where its reader stands.
func (b *book) readAttempt(line int32, a *history.Attempt) {
	q := a.Read
	if a.Outcome == history.Fail && a.Status == 416 && q.Partition >= 0 && q.Cursor == "" && q.At == "" {
		p := b.partition(q.Topic, q.Partition)
		p.fetches = append(p.fetches, fetch{a.Invoked, a.Returned, q.Offset - 1, line, false})
	}
	if a.Outcome == history.Fail && a.Status == 410 {
		b.gone(line, a)
	}
	if a.Outcome != history.OK && a.Kind != history.KindEvents {
		return
	}
	for i := range q.Spans {
		s := &q.Spans[i]
		b.saw(b.partition(q.Topic, s.Partition), line, s, a.Returned)
	}
	b.readStarts(line, a)
	if q.Partition >= 0 {
		b.readPartition(line, a)
	} else {
		b.readTopic(line, a)
	}
}

// readPartition looks at a read of one partition.
func (b *book) readPartition(line int32, a *history.Attempt) {
	q := a.Read
	p := b.partition(q.Topic, q.Partition)
	r := b.readerOf(a)
	at := position{next: q.Offset, known: q.At == "" && q.Cursor == ""}
	switch {
	case q.At == "earliest":
		at = position{known: true, start: true}
	case q.Cursor != "" && q.Cursor == r.at:
		at.next, at.known = r.next[p.id]
	}
	came := answer{p, r.line, line, a.Returned}
	p.waited(line, a, at.next, at.known)
	end := b.follow(came, q.Spans, at)
	if a.Kind == history.KindFetch {
		if len(q.Spans) > 0 {
			b.hold(came, q.Next, end)
		} else if at.known {
			b.begin(came, q.Next, at)
		}
		end = q.Next
	}
	if len(q.Spans) > 0 || at.known {
		r.next[p.id] = end
	}
	r.at, r.line = q.NextAt, line
	if q.NextAt == "" {
		r.at = q.Cursor
	}
	if q.End >= 0 && a.Outcome == history.OK && a.Kind == history.KindFetch {
		p.fetches = append(p.fetches, fetch{a.Invoked, a.Returned, q.End, line, true})
		if end > q.End {
			b.add(WatermarkFell, []int32{line},
				"%s/%d: an answer has records up to offset %d, and a high watermark of %d",
				p.topic.name, p.number, end-1, q.End)
		}
	}
}

// readTopic looks at a read of all partitions of a topic, which goes on where the reader's last answer told.
func (b *book) readTopic(line int32, a *history.Attempt) {
	q := a.Read
	r := b.readerOf(a)
	switch {
	case q.Cursor != "" && q.Cursor == r.at:
	case q.Cursor == "" && q.At != "latest":
		r.next, r.from = map[int32]int64{}, true
	default:
		r.next, r.from = map[int32]int64{}, false
	}
	for i := range q.Spans {
		s := &q.Spans[i]
		p := b.partition(q.Topic, s.Partition)
		next, known := r.next[p.id]
		at := position{next, known || r.from, !known}
		r.next[p.id] = b.follow(answer{p, r.line, line, a.Returned}, q.Spans[i:i+1], at)
	}
	// Only an answer without records says that there are none.
	if a.Kind == history.KindCursor && len(q.Spans) == 0 {
		for _, p := range b.topic(q.Topic).partitions {
			if next, known := r.next[p.id]; known || r.from && !p.topic.retains() {
				p.fetches = append(p.fetches, fetch{a.Invoked, a.Returned, next, line, false})
				p.waited(line, a, next, true)
			}
		}
	}
	r.line = line
	if q.NextAt != "" {
		r.at = q.NextAt
	} else {
		r.at = q.Cursor
	}
}

// answer is one that brought records of a partition, or said that there are none.
type answer struct {
	p            *partition
	before, line int32 // of the reader's last answer, and of this
	returned     int64
}

// position is where a reader goes on.
type position struct {
	next  int64
	known bool
	start bool // it begins at the start of the log; next is where that was at first
}

// follow holds that spans begin at a position, if that is known, and follow each other; it returns where they end.
func (b *book) follow(came answer, spans []history.Span, at position) int64 {
	for i := range spans {
		s := &spans[i]
		if i > 0 {
			b.hold(came, s.Offset, at.next)
		} else if at.known {
			b.begin(came, s.Offset, at)
		}
		at.next = s.Offset + int64(s.Count)
	}
	return at.next
}

// begin compares where an answer begins with the position that it was asked for.
func (b *book) begin(came answer, got int64, at position) {
	if at.start && got > at.next && came.p.topic.retains() {
		came.p.starts.leaps = append(came.p.starts.leaps, leap{at.next, got, came})
		return
	}
	b.hold(came, got, at.next)
}

// hold compares where an answer goes on with where it has to.
func (b *book) hold(came answer, got, want int64) {
	lines, p := []int32{came.before, came.line}, came.p
	switch {
	case got > want:
		b.add(PollSkip, lines,
			"%s/%d: a reader that had all below offset %d was led on to offset %d",
			p.topic.name, p.number, want, got)
	case got < want:
		b.add(Nonmonotonic, lines,
			"%s/%d: a reader that had all below offset %d was led back to offset %d",
			p.topic.name, p.number, want, got)
	}
}

// checkReads holds what readers saw against the final logs.
func (b *book) checkReads() {
	for s := range b.spans.all() {
		p := b.parts[s.part]
		for j := range int64(s.count) {
			v, offset := s.value(j), s.offset+j
			if v == 0 {
				b.add(Corrupt, []int32{s.line},
					"%s/%d: what was read at offset %d is no value of this run",
					p.topic.name, p.number, offset)
				break
			}
			if !b.checkRead(p, s, v, offset) {
				break
			}
		}
	}
}

// checkRead looks at one record that was read; it reports whether all is well.
func (b *book) checkRead(p *partition, s *span, v, offset int64) bool {
	o := b.writer(v)
	if o == nil {
		b.add(Phantom, []int32{s.line},
			"%s/%d: value %d, read at offset %d, was written by nobody",
			p.topic.name, p.number, v, offset)
		return false
	}
	if o.invoked > s.returned {
		b.add(Phantom, []int32{o.line, s.line},
			"%s/%d: value %d was read at offset %d before operation %d sent it",
			p.topic.name, p.number, v, offset, o.id)
		return false
	}
	if t := o.txn; t != nil && !b.checkReadIn(t, p, s, v, offset) {
		return false
	}
	if p.hasLeft(offset) || p.at(offset) == v { // of what has left, layOne tells
		return true
	}
	switch {
	case !b.present(v):
		b.add(LostWrite, []int32{o.line, o.ackLine, s.line, p.line(offset)},
			"%s/%d: value %d of operation %d was read at offset %d, and is in no log in the end",
			p.topic.name, p.number, v, o.id, offset)
	default:
		home, at := b.home(v)
		b.add(Duplicate, []int32{s.line, home.line(at)},
			"value %d was read at %s/%d, offset %d, and is at %s/%d, offset %d in the end",
			v, p.topic.name, p.number, offset, home.topic.name, home.number, at)
	}
	if other := p.at(offset); other != 0 {
		b.add(Inconsistent, []int32{s.line, p.line(offset)},
			"%s/%d: offset %d was read as value %d, and has value %d in the end",
			p.topic.name, p.number, offset, v, other)
	}
	return false
}

// checkReadIn looks at a record of a transaction that was read.
func (b *book) checkReadIn(t *txn, p *partition, s *span, v, offset int64) bool {
	switch {
	case t.aborted.line > 0 && t.committed.line == 0:
		b.add(AbortedRead, []int32{t.line, t.aborted.line, s.line},
			"%s/%d: value %d was read at offset %d; its transaction %s was aborted by %s",
			p.topic.name, p.number, v, offset, t.id, t.by)
	case t.commitSent.line == 0 || t.commitSent.at > s.returned:
		b.add(UncommittedRead, []int32{t.line, s.line, t.commitSent.line},
			"%s/%d: value %d was read at offset %d by %d; its transaction %s was first to be committed at %d",
			p.topic.name, p.number, v, offset, s.returned, t.id, t.commitSent.at)
	default:
		return true
	}
	return false
}
