package handlers

import (
	"bytes"
	"errors"
	"io"
	"unsafe"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// A batch of new records is appended when it has so many, or so many bytes of
// lines. More a batch are appended faster (measured against COPY: 1,000 0.8,
// 2,000 1.1, 4,000 1.5), and cost more to who reads a few of them. Batches of up
// to maxSentBytes are on their way at once.
const (
	maxBatchRecords = 2000
	maxBatchBytes   = 512 << 10
	maxSent         = 4
	maxSentBytes    = 4 * maxBatchBytes
)

// streamBatch is consecutive records of an upload that are appended, or
// compared, together.
type streamBatch struct {
	span
	first   int64 // sequence
	records []eos.Record
	skipped int64  // records that are not in records, as they are removed
	lines   []byte // that the records lie in
	bytes   int    // of its lines
	taken   int64  // bytes of memory
	outcome chan streamOutcome
}

// streamOutcome is what became of a batch.
type streamOutcome struct {
	result     store.Result
	unverified int64 // records of it that retention removed
	err        error
}

// streamLines cuts what comes of a body into lines. It belongs to who runs the
// upload.
type streamLines struct {
	body    *streamBody
	chunk   []byte // the bytes of the last chunk
	rest    []byte // of chunk, not parsed yet
	partial []byte // the line's beginning, which came with earlier chunks
	last    bool   // whether the end of the body came
	err     error  // why it ended; nil behind its proper end
	max     int64  // bytes of a line
}

// put takes the next chunk.
func (l *streamLines) put(c chunk) {
	l.chunk, l.rest = c.bytes, c.bytes
	if c.err == nil {
		return
	}
	l.last = true
	if !errors.Is(c.err, io.EOF) {
		l.err = c.err
	}
}

// next returns the next line without its line feed, which is good until the
// next call, or false when it is not there yet, or never comes. What a body
// that was cut has behind its last line feed is no line; of one that ended
// properly it is. A line beyond the limit is eos.MessageTooLarge.
func (l *streamLines) next() ([]byte, bool, error) {
	i := bytes.IndexByte(l.rest, '\n')
	if int64(len(l.partial)+max(i, 0)) > l.max || i < 0 && int64(len(l.partial)+len(l.rest)) > l.max {
		return nil, false, eos.MessageTooLarge.Errorf("it is longer than %d bytes", l.max)
	}
	if i >= 0 {
		line := l.rest[:i]
		l.rest = l.rest[i+1:]
		if len(l.partial) > 0 {
			line = append(l.partial, line...)
			l.partial = nil
			if cap(line) <= maxBatchBytes {
				l.partial = line[:0]
			}
		}
		return line, true, nil
	}
	l.partial = append(l.partial, l.rest...)
	l.release()
	whole := l.last && l.err == nil && len(l.partial) > 0
	if !whole {
		return nil, false, nil
	}
	line := l.partial
	l.partial = nil
	return line, true, nil
}

// release gives the chunk back when all of it is parsed.
func (l *streamLines) release() {
	if l.chunk != nil {
		l.body.parsed(l.chunk)
		l.chunk, l.rest = nil, nil
	}
}

// line returns the next line of the body, if it is there. The end of the body
// ends the upload.
func (u *upload) line() ([]byte, bool) {
	if u.ended {
		return nil, false
	}
	line, ok, err := u.lines.next()
	if size := int64(cap(u.lines.partial)); err == nil && size > u.partial {
		if u.s.bodies.take(size - u.partial) {
			u.partial = size
		} else {
			err = errBodies
		}
	}
	switch {
	case errors.Is(err, eos.MessageTooLarge.Errorf("")):
		u.end(inLine(err, int(u.next-u.id.Sequence)))
	case err != nil:
		u.end(err)
	case !ok && u.lines.last:
		u.end(u.lines.err)
	default:
		return line, ok
	}
	return nil, false
}

// parse puts a line into the batch as its next record.
func (u *upload) parse(line []byte) error {
	b := u.batch
	start := len(b.lines)
	b.lines = append(b.lines, line...)
	rec, err := u.s.recordLine(b.lines[start:len(b.lines):len(b.lines)])
	if err != nil {
		return err
	}
	b.records = append(b.records, rec)
	b.bytes += len(line)
	return nil
}

// account counts the memory of a batch against that of all bodies.
func (u *upload) account(b *streamBatch) error {
	size := int64(cap(b.lines)) + int64(cap(b.records))*int64(unsafe.Sizeof(eos.Record{}))
	if size <= b.taken {
		return nil
	}
	if !u.s.bodies.take(size - b.taken) {
		return errBodies
	}
	b.taken = size
	return nil
}

// count returns how many records of the upload the batch stands for.
func (b *streamBatch) count() int64 { return int64(len(b.records)) + b.skipped }

// empty removes the records.
func (b *streamBatch) empty() {
	clear(b.records)
	b.records, b.lines, b.bytes = b.records[:0], b.lines[:0], 0
}

// newBatch returns an empty batch, of memory that a settled one had if there is
// one.
func (u *upload) newBatch(first int64) *streamBatch {
	b := &streamBatch{}
	if n := len(u.spare); n > 0 {
		b = u.spare[n-1]
		u.spare = u.spare[:n-1]
	}
	b.first, b.span, b.skipped, b.outcome = first, span{}, 0, make(chan streamOutcome, 1)
	return b
}

// recycle keeps the memory of a batch whose records nobody needs any more,
// unless it is unusually large.
func (u *upload) recycle(b *streamBatch) {
	if cap(b.lines) > 2*maxBatchBytes || cap(b.records) > 2*maxBatchRecords {
		u.drop(b)
		return
	}
	b.empty()
	u.spare = append(u.spare, b)
}

// drop gives the memory of a batch back.
func (u *upload) drop(b *streamBatch) {
	u.s.bodies.give(b.taken)
	b.taken = 0
}

// releaseSpent forgets the batches that were taken back.
func (u *upload) releaseSpent() {
	for _, b := range u.spent {
		u.drop(b)
	}
	u.spent = nil
}
