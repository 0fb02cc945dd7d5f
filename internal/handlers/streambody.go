package handlers

import (
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// streamBody reads the body of an upload ahead of who parses it, in a
// goroutine of its own: so it is known at any time whether more has come.
type streamBody struct {
	io.ReadCloser
	conn    *http.ResponseController
	idle    time.Duration
	stopped atomic.Bool

	chunks chan chunk    // what came, in its order; closed behind the last, which has an err
	free   chan []byte   // chunks that are parsed
	quit   chan struct{} // closed when nobody takes chunks any more
}

// chunk is some bytes of a body; err says why no more come, io.EOF at its end.
type chunk struct {
	bytes []byte
	err   error
}

// A chunk has as many bytes as one read gives, within these bounds: an idle
// upload takes little memory, a fast one few turns.
const (
	minChunk = 4 << 10
	maxChunk = 128 << 10
)

// newStreamBody returns the body of r, which replaces it. The caller starts run.
func (s *server) newStreamBody(w http.ResponseWriter, r *http.Request) *streamBody {
	raw := r.Body
	if body, ok := raw.(*requestBody); ok {
		raw = body.ReadCloser
	}
	b := &streamBody{
		ReadCloser: raw, conn: http.NewResponseController(w), idle: s.cfg.BodyIdle,
		chunks: make(chan chunk, 1), free: make(chan []byte, 3), quit: make(chan struct{}),
	}
	r.Body = b
	return b
}

// Read reads with a deadline, which is there only meanwhile: HTTP/2 breaks the
// body when one passes, also one that nobody reads because appends take long.
func (b *streamBody) Read(p []byte) (int, error) {
	_ = b.conn.SetReadDeadline(time.Now().Add(b.idle)) // not supported: nothing to wait for
	if b.stopped.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := b.ReadCloser.Read(p)
	if !b.stopped.Load() {
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// run reads to the end of the body, or until stop. It closes chunks.
func (b *streamBody) run(s *server, r *http.Request) {
	defer close(b.chunks)
	unpacked, err := s.unpack(r.Header["Content-Encoding"], b)
	if err != nil {
		b.send(chunk{err: err})
		return
	}
	defer unpacked.Close() //nolint:errcheck // nothing was written
	for size := minChunk; ; {
		buf := b.buffer(size)
		n, err := unpacked.Read(buf)
		if n == len(buf) && size < maxChunk {
			size *= 2
		}
		if !b.send(chunk{buf[:n], s.whyEnded(err)}) || err != nil {
			return
		}
	}
}

// buffer returns one of at least size bytes.
func (b *streamBody) buffer(size int) []byte {
	select {
	case buf := <-b.free:
		if cap(buf) >= size {
			return buf[:size]
		}
	default:
	}
	return make([]byte, size)
}

func (b *streamBody) send(c chunk) bool {
	select {
	case b.chunks <- c:
		return true
	case <-b.quit:
		return false
	}
}

// parsed takes back the bytes of a chunk.
func (b *streamBody) parsed(bytes []byte) {
	select {
	case b.free <- bytes:
	default:
	}
}

// discard throws away what comes, within the bounds that other bodies have,
// too: most clients read a refusal only when they have sent everything. A proxy
// that stops does not wait for them.
func (b *streamBody) discard(draining <-chan struct{}) {
	until, idle := time.NewTimer(maxDiscardTime), time.NewTimer(maxDiscardIdle)
	defer until.Stop()
	defer idle.Stop()
	for n := 0; n < maxDiscard; {
		select {
		case c, ok := <-b.chunks:
			if !ok {
				return
			}
			n += len(c.bytes)
			b.parsed(c.bytes)
			idle.Reset(min(maxDiscardIdle, b.idle))
		case <-idle.C:
			return
		case <-until.C:
			return
		case <-draining:
			return
		}
	}
}

// stop ends run, also within a Read, and returns when it has ended. Nothing can
// be read from the connection any more.
func (b *streamBody) stop() {
	close(b.quit)
	b.stopped.Store(true)
	_ = b.conn.SetReadDeadline(time.Unix(1, 0))
	b.wait()
}

// wait returns when run has ended.
func (b *streamBody) wait() {
	for range b.chunks { //nolint:revive // until it is closed
	}
}
