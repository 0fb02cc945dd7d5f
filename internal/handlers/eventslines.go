package handlers

import (
	"bytes"
	"sync"

	"github.com/eos-proxy/eos-proxy/internal/store"
)

// eventLines gathers what an event stream sends next, as server-sent events or
// as lines of JSON. Between two pieces it holds nothing but what is left of the
// stream's limits.
type eventLines struct {
	sse     bool
	cursors bool // each line of JSON has the position behind it

	records, bytes             int64 // that may still come; where they are limited
	limitsRecords, limitsBytes bool
	begun                      bool // has had a record
	ended                      bool // no further record may come

	memory *memory // for answers
	held   int64   // of it
	size   int     // of a piece: beyond, nothing is added
	full   bool
	buf    []byte
}

// Sizes of what is gathered before it is sent: while there is plenty of memory,
// and when there is not. What a client that stalls holds is a piece.
const (
	largeEventPiece = 2 << 20
	smallEventPiece = 64 << 10
)

// eventPiece returns how much a stream may gather now.
func (s *server) eventPiece() int {
	if s.answers.used.Load() < s.answers.limit/4 {
		return largeEventPiece
	}
	return smallEventPiece
}

// Buffers of large pieces; a small one is made as large as it has to be.
var eventBuffers = sync.Pool{New: func() any { return new([]byte) }}

const (
	minEventBuffer = 32 << 10
	maxEventBuffer = 4 << 20
)

// What a record takes beside its key, value and headers, about, and how much
// memory is taken at a time.
const (
	aroundEvent = 160
	eventMemory = 16 << 10
)

// limit ends the stream behind so many records, or before so many bytes of them
// are passed, but not before the first.
func (l *eventLines) limit(records, bytes *int64) {
	if l.limitsRecords = records != nil; l.limitsRecords {
		l.records = *records
	}
	if l.limitsBytes = bytes != nil; l.limitsBytes {
		l.bytes = *bytes
	}
}

func (l *eventLines) bounded() bool { return l.limitsRecords || l.limitsBytes }

func (l *eventLines) mediaType() string {
	if l.sse {
		return "text/event-stream"
	}
	return mediaNDJSON
}

// add adds records of a batch, from one to before another, until there are
// enough, and returns how many it added. Partition -1 is left out. The id of a
// record is what appendID appends for its offset.
func (l *eventLines) add(
	b *store.Batch, from, to, partition int, appendID func(to []byte, offset int64) []byte,
) (added int, err error) {
	for i := from; i < to; i++ {
		one := b.Size(i, i+1)
		if l.full || !l.allows(one) {
			break
		}
		if !l.reserve(len(l.buf)+one+aroundEvent, b.Size(i, to)+(to-i)*aroundEvent) {
			if len(l.buf) == 0 {
				return added, errAnswers
			}
			l.full = true
			break
		}
		l.count(one)
		l.append(b, i, partition, appendID)
		l.full = len(l.buf) >= l.size
		added++
	}
	return added, nil
}

// allows reports whether the stream's limits leave a record of so many bytes.
func (l *eventLines) allows(size int) bool {
	l.ended = l.ended || l.limitsBytes && l.begun && int64(size) > l.bytes
	return !l.ended
}

// count counts a record of so many bytes.
func (l *eventLines) count(size int) {
	l.begun = true
	l.records--
	l.bytes -= int64(size)
	l.ended = l.limitsRecords && l.records <= 0 || l.limitsBytes && l.bytes <= 0
}

// reserve takes memory for a buffer of so many bytes, and reports whether there
// is that much. A buffer is made for what is likely to come.
func (l *eventLines) reserve(size, likely int) bool {
	if need := int64(size) - l.held; need > 0 {
		need += eventMemory
		if !l.memory.take(need) {
			return false
		}
		l.held += need
	}
	if l.buf != nil {
		return true
	}
	if likely < minEventBuffer {
		l.buf = make([]byte, 0, likely)
		return true
	}
	buf, ok := eventBuffers.Get().(*[]byte)
	if !ok {
		panic("eventBuffers holds what is none")
	}
	l.buf = (*buf)[:0]
	return true
}

// release gives back what was gathered.
func (l *eventLines) release() {
	l.memory.give(l.held)
	if cap(l.buf) >= minEventBuffer && cap(l.buf) <= maxEventBuffer {
		buf := l.buf[:0]
		eventBuffers.Put(&buf)
	}
	l.buf, l.held, l.full = nil, 0, false
}

// append appends a record.
func (l *eventLines) append(b *store.Batch, i, partition int, appendID func(to []byte, offset int64) []byte) {
	if !l.sse {
		start := len(l.buf)
		l.buf = appendRecords(l.buf, partition, b, i, i+1)
		if l.cursors {
			l.buf = append(l.buf[:len(l.buf)-1], `,"cursor":"`...)
			l.buf = appendID(l.buf, b.BaseOffset+int64(i))
			l.buf = append(l.buf, `"}`...)
		}
		onOneLine(l.buf[start:])
		l.buf = append(l.buf, '\n')
		return
	}
	l.buf = append(l.buf, "id: "...)
	l.buf = appendID(l.buf, b.BaseOffset+int64(i))
	l.buf = append(l.buf, "\ndata: "...)
	start := len(l.buf)
	l.buf = appendRecords(l.buf, partition, b, i, i+1)
	l.buf = withDataLines(l.buf, start)
	l.buf = append(l.buf, "\n\n"...)
}

// onOneLine makes the line breaks of JSON, which stand between tokens only, blanks.
func onOneLine(json []byte) {
	for _, c := range []byte("\n\r") {
		for rest := json; ; {
			at := bytes.IndexByte(rest, c)
			if at < 0 {
				break
			}
			rest[at] = ' '
			rest = rest[at+1:]
		}
	}
}

// withDataLines gives each line of what stands from start on a field of its
// own, so that the data of the event has the same lines. A carriage return
// becomes a line feed: it would end the line, and no data can hold it.
func withDataLines(buf []byte, start int) []byte {
	if bytes.IndexByte(buf[start:], '\n') < 0 && bytes.IndexByte(buf[start:], '\r') < 0 {
		return buf
	}
	text := bytes.ReplaceAll(buf[start:], []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	return append(buf[:start], bytes.ReplaceAll(text, []byte("\n"), []byte("\ndata: "))...)
}

// place gathers the position that a stream begins at, where its parameters do
// not name it: a client that loses the stream before the first record goes on
// there. Lines of JSON have no such thing.
func (l *eventLines) place(id []byte) {
	if !l.sse {
		return
	}
	l.buf = append(l.buf[:0], "id: "...)
	l.buf = append(l.buf, id...)
	l.buf = append(l.buf, "\n\n"...)
}

// comment returns what says only that the stream lives.
func (l *eventLines) comment() []byte {
	if l.sse {
		return []byte(":\n\n")
	}
	return []byte("\n")
}

// problem returns a problem as the last that the stream says.
func (l *eventLines) problem(json []byte) []byte {
	if l.sse {
		return append(append([]byte("event: problem\ndata: "), json...), "\n\n"...)
	}
	return append(json, '\n')
}
