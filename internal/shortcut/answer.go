package shortcut

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// answer gathers what the handler answers, to be sent in one write.
type answer struct {
	header  http.Header
	status  int
	body    []byte
	out     []byte
	writeBy time.Time
}

func (a *answer) reset() {
	clear(a.header)
	const keep = 16 << 10
	if cap(a.body) > keep || cap(a.out) > keep {
		a.body, a.out = nil, nil
	}
	a.status, a.body, a.out, a.writeBy = 0, a.body[:0], a.out[:0], time.Time{}
}

// Header returns the header that will be sent.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader sets the status, once.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write adds to the body.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b...)
	return len(b), nil
}

// SetReadDeadline does nothing: the whole request has been read.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline sets until when the answer must be taken.
func (a *answer) SetWriteDeadline(t time.Time) error {
	a.writeBy = t
	return nil
}

// send writes the answer. It ends the connection when last is true.
func (a *answer) send(w io.Writer, last bool) error {
	a.WriteHeader(http.StatusOK)
	b := a.out
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	b = append(b, "\r\n"...)
	for name, values := range a.header {
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	if a.header["Date"] == nil {
		b = append(b, "Date: "...)
		b = append(b, date(time.Now())...)
		b = append(b, "\r\n"...)
	}
	if a.header["Content-Length"] == nil {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(a.body)), 10)
		b = append(b, "\r\n"...)
	}
	if last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, a.body...)
	a.out = b // for the next answer
	_, err := w.Write(b)
	return err
}

// dated is the text of a second.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

// date returns a time as the header Date has it.
func date(now time.Time) string {
	if d := lastDate.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastDate.Store(d)
	return d.text
}
