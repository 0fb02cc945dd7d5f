package handlers

import (
	"cmp"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/klauspost/compress/zstd"
)

// Where the configuration does not say.
const (
	defaultBodyIdle       = 30 * time.Second
	defaultMaxBodiesBytes = 256 << 20
	firstBodyBytes        = 64 << 10
)

// requestBody is the body of a request. Each read has its own deadline; the
// last one stays until the end of the body has come: net/http reads on behind a
// refusal. What the body takes in memory counts until the request is answered.
type requestBody struct {
	io.ReadCloser
	conn   deadlines     // nil when there is no body
	idle   time.Duration // how long it may pause
	begun  bool          // whether the deadline of the first read is set
	ended  bool          // nothing comes any more, or nobody waits for it
	memory *memory
	taken  int64
}

// begin begins the first deadline at once, also for a body that nobody reads.
// A body that is read is read at once.
func (b *requestBody) begin(conn deadlines) {
	b.conn = conn
	_ = b.wait() // a Read says what is wrong
	b.begun = true
}

func (b *requestBody) wait() error {
	if b.begun || b.conn == nil {
		b.begun = false
		return nil
	}
	err := b.conn.SetReadDeadline(time.Now().Add(b.idle))
	if err != nil && errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

func (b *requestBody) Read(p []byte) (int, error) {
	if err := b.wait(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err != nil
	if err != nil && b.conn != nil && errors.Is(err, io.EOF) {
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

var errBodies = eos.Unavailable.Errorf("the bodies of other requests take all the memory there is for them")

// take reserves n more bytes of memory for the body.
func (b *requestBody) take(n int64) error {
	if !b.memory.take(n) {
		return errBodies
	}
	b.taken += n
	return nil
}

// countRecords counts what the records of a request take beside its body.
func (b *requestBody) countRecords(records int) error {
	const perRecord = 256
	return b.take(int64(records) * perRecord)
}

func (b *requestBody) release() { b.memory.give(b.taken) }

// memory counts bytes that are in use, up to a limit.
type memory struct {
	limit int64
	used  atomic.Int64
}

// take counts n more bytes, and reports whether they are within the limit; if
// not, they are not counted.
func (m *memory) take(n int64) bool {
	if m.used.Add(n) <= m.limit {
		return true
	}
	m.give(n)
	return false
}

// give counts n bytes less, which were taken before.
func (m *memory) give(n int64) { m.used.Add(-n) }

// Media types that bodies come in.
const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
)

// mediaType returns which of the accepted media types a body has.
func mediaType(r *http.Request, accepted ...string) (string, error) {
	given := r.Header["Content-Type"]
	if len(given) == 1 {
		if slices.Contains(accepted, given[0]) {
			return given[0], nil // as nearly everybody writes it
		}
		media, params, err := mime.ParseMediaType(given[0])
		charset, hasCharset := params["charset"]
		known := len(params) == 0 || len(params) == 1 && hasCharset && strings.EqualFold(charset, "utf-8")
		for _, a := range accepted {
			if err == nil && media == a && known {
				return media, nil
			}
		}
	}
	return "", eos.UnsupportedMedia.Errorf("Content-Type is %q; it must be %s in UTF-8",
		strings.Join(given, ", "), strings.Join(accepted, " or "))
}

// What is read and thrown away of a body that is refused, or that nobody asked
// for: most clients read the answer only when they have sent everything.
const (
	maxDiscard     = 64 << 20
	maxDiscardTime = 10 * time.Second
	maxDiscardIdle = time.Second
)

// requiredJSON reads a JSON body.
func (s *server) requiredJSON(r *http.Request) ([]byte, error) {
	body, _, err := s.readMedia(r, bodyOf(r), mediaJSON)
	return body, err
}

// optionalJSON reads a JSON body, or nil when there is none.
func (s *server) optionalJSON(r *http.Request) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	body, err := s.requiredJSON(r)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	return body, nil
}

// readMedia reads a body of one of the accepted media types, and returns which
// it is.
func (s *server) readMedia(r *http.Request, body *requestBody, accepted ...string) (b []byte, media string, err error) {
	if media, err = mediaType(r, accepted...); err == nil {
		b, err = s.readBody(r, body)
	}
	return b, media, err
}

// bodyOf returns the body that observe gave a request.
func bodyOf(r *http.Request) *requestBody {
	body, ok := r.Body.(*requestBody)
	if !ok {
		panic("a request that nobody observes")
	}
	return body
}

// readBody reads the whole body of r, unpacked.
func (s *server) readBody(r *http.Request, body *requestBody) ([]byte, error) {
	if r.ContentLength > s.cfg.MaxBodyBytes && len(r.Header["Content-Encoding"]) == 0 {
		return nil, s.tooLarge()
	}
	return s.readAll(r, body)
}

// discard reads what is left of the body, within these bounds.
func (b *requestBody) discard() {
	if b.conn == nil || b.ended {
		return
	}
	b.idle, b.ended = min(b.idle, maxDiscardIdle), true
	until := time.Now().Add(maxDiscardTime)
	for n := int64(0); n < maxDiscard && time.Now().Before(until); {
		more, err := io.CopyN(io.Discard, b, 1<<20)
		if err != nil {
			return
		}
		n += more
	}
}

func (s *server) readAll(r *http.Request, body *requestBody) ([]byte, error) {
	var from io.Reader = body
	if encoding := r.Header["Content-Encoding"]; len(encoding) > 0 {
		unpacked, err := s.unpack(encoding, body)
		if err != nil {
			return nil, err
		}
		defer unpacked.Close() //nolint:errcheck // nothing was written
		from = unpacked
	}
	// What a client claims to send takes no memory before it comes.
	length := r.ContentLength + 1 // 0 when it is not known
	buf := make([]byte, 0, min(cmp.Or(length, 512), firstBodyBytes))
	if err := body.take(int64(cap(buf))); err != nil {
		return nil, err
	}
	for {
		if len(buf) == cap(buf) {
			before := cap(buf)
			buf = slices.Grow(buf, max(1, int(min(length, 2*int64(before)))-before))
			if err := body.take(int64(cap(buf) - before)); err != nil {
				return nil, err
			}
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > s.cfg.MaxBodyBytes:
			return nil, s.tooLarge()
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, s.whyEnded(err)
		}
	}
}

// whyEnded turns the error that ended a body into the one that its client gets;
// io.EOF stays.
func (s *server) whyEnded(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.idled()
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return s.tooLarge()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return eos.InvalidJSON.Errorf("the body ends too early")
	}
	return eos.InvalidJSON.Errorf("the body cannot be read: %v", err)
}

func (s *server) idled() error {
	return eos.RequestTimeout.Errorf("no byte of the body came for %s", s.cfg.BodyIdle)
}

func (s *server) tooLarge() error {
	return eos.MessageTooLarge.Errorf("the body is larger than %d bytes", s.cfg.MaxBodyBytes)
}
