package handlers

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
)

// streamAnswers writes the answer lines of an upload in a goroutine of its
// own: a client that sends everything before it reads must not hold up what it
// sends. Lines that it does not take are merged, so that they take no memory;
// only when the upload is over it must read within answerIdle.
type streamAnswers struct {
	w    http.ResponseWriter // without a deadline of its own
	conn *http.ResponseController

	mu     sync.Mutex
	lines  []byte        // not written yet; guarded by mu
	merged *streamLine   // what came behind lines, when these were too many; guarded by mu
	ended  bool          // guarded by mu
	wake   chan struct{} // holds one token when one of these has changed
	broken chan struct{} // closed when a write failed
	done   chan struct{} // closed when run has returned
}

// streamLine is one line: what became durable since the line before.
type streamLine struct {
	next   int64
	shares []store.Share // nil when it does not tell where
	staged bool
}

const (
	maxAnswerLines  = 32 << 10 // bytes that wait before lines are merged
	maxMergedShares = 1000     // beyond, a merged line does not tell where records went
)

// newStreamAnswers returns the answers of a request. The caller starts run.
func newStreamAnswers(w http.ResponseWriter) *streamAnswers {
	a := &streamAnswers{
		w: w, conn: http.NewResponseController(w),
		wake: make(chan struct{}, 1), broken: make(chan struct{}), done: make(chan struct{}),
	}
	if o, ok := w.(*observed); ok {
		a.w = o.ResponseWriter
		o.status = http.StatusOK
	}
	a.w.Header().Set("Content-Type", mediaNDJSON)
	return a
}

// add queues a line.
func (a *streamAnswers) add(l streamLine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.merged != nil:
		a.merged.merge(l)
	case len(a.lines) >= maxAnswerLines:
		l.withoutIndexes()
		a.merged = &l
	default:
		a.lines = l.encode(a.lines)
	}
	a.signal()
}

// end queues the last line, and returns when all are written, or one could not
// be.
func (a *streamAnswers) end(last []byte) {
	a.mu.Lock()
	a.flushMerged()
	a.lines = append(a.lines, last...)
	a.ended = true
	a.signal()
	a.mu.Unlock()
	_ = a.conn.SetWriteDeadline(time.Now().Add(answerIdle)) // not supported: nothing to wait for
	<-a.done
}

// run writes until the end, or until a write fails.
func (a *streamAnswers) run() {
	defer close(a.done)
	for {
		<-a.wake
		lines, ended := a.take()
		_, err := a.w.Write(lines)
		if err == nil {
			err = a.conn.Flush()
		}
		if err != nil {
			close(a.broken)
			return
		}
		if ended {
			return
		}
	}
}

func (a *streamAnswers) take() (lines []byte, ended bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flushMerged()
	lines = a.lines
	a.lines = nil
	return lines, a.ended
}

// flushMerged needs mu.
func (a *streamAnswers) flushMerged() {
	if a.merged != nil {
		a.lines = a.merged.encode(a.lines)
		a.merged = nil
	}
}

func (a *streamAnswers) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// merge adds a line that comes directly behind l.
func (l *streamLine) merge(next streamLine) {
	l.next = next.next
	if l.shares == nil || next.shares == nil || l.staged != next.staged || len(l.shares) > maxMergedShares {
		l.shares = nil // they would tell of a part only
		return
	}
	next.withoutIndexes()
	for _, sh := range next.shares {
		if !l.extend(sh) {
			l.shares = append(l.shares, sh)
		}
	}
}

// extend adds a share to one that it directly follows, and reports whether
// there is one.
func (l *streamLine) extend(sh store.Share) bool {
	for i := range l.shares {
		have := &l.shares[i]
		if have.Partition == sh.Partition && (l.staged || have.BaseOffset+int64(have.RecordCount) == sh.BaseOffset) {
			have.RecordCount += sh.RecordCount
			return true
		}
	}
	return false
}

// withoutIndexes makes the shares l's own, and drops which record is where:
// that would grow with every record.
func (l *streamLine) withoutIndexes() {
	own := make([]store.Share, len(l.shares))
	for i, sh := range l.shares {
		sh.RecordIndexes = nil
		own[i] = sh
	}
	if l.shares != nil {
		l.shares = own
	}
}

func (l *streamLine) encode(b []byte) []byte {
	b = append(b, `{"next_sequence":`...)
	b = strconv.AppendInt(b, l.next, 10)
	if l.shares != nil {
		b = encodeShares(b, l.shares, l.staged)
	}
	return append(b, '}', '\n')
}

// encodeComplete returns the last line of an upload that is stored as a whole.
func encodeComplete(next, unverified int64) []byte {
	b := strconv.AppendInt([]byte(`{"next_sequence":`), next, 10)
	b = append(b, `,"complete":true`...)
	if unverified > 0 {
		b = append(b, `,"unverified":`...)
		b = strconv.AppendInt(b, unverified, 10)
	}
	return append(b, '}', '\n')
}
