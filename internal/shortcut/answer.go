package shortcut

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
)

// answer sends what the handler answers: in one write when it is short, else as
// it comes, so that a long one never stands in memory. How the message is framed
// is decided here: a handler can only ask for the end of the connection, by
// "Connection: close".
type answer struct {
	conn    *conn
	header  http.Header
	status  int   // 0 before WriteHeader
	room    *room // nil before WriteHeader
	typed   bool  // the header says what the body is
	last    bool  // the connection ends with this answer
	length  int   // what the handler says that the body has; -1 if it does not
	sent    int   // bytes of the body
	begun   bool  // the head was sent
	chunked bool  // the body is sent in chunks: how long it will be was not known
	broken  bool  // it could not be sent
	writeBy time.Time
}

// room is the memory for an answer. A connection has none while it waits.
type room struct {
	head []byte // what goes before the body: status line and header as they were at WriteHeader, then the size of a chunk
	body []byte // what was written and not sent
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// gathered is how much of a body waits for its end, to be sent in one write.
const gathered = 16 << 10

func (a *answer) reset() {
	clear(a.header)
	*a = answer{conn: a.conn, header: a.header, length: -1}
}

// Header returns the header that will be sent; changes after WriteHeader are not.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader sets status and header, once. Informational answers are dropped.
func (a *answer) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	if a.status != 0 || status < 200 {
		return
	}
	a.status = status
	var ok bool
	if a.room, ok = rooms.Get().(*room); !ok {
		panic("rooms holds what is none")
	}
	b := a.room.head[:0]
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = strconv.AppendInt(append(b, "status code "...), int64(status), 10)
	}
	b = append(b, "\r\n"...)
	for name, values := range a.header {
		switch name {
		case "Content-Type", "Content-Encoding":
			a.typed = true
		case "Connection":
			a.last = len(values) > 0 && values[0] == "close"
			continue
		case "Content-Length":
			if n, err := strconv.Atoi(strings.Join(values, ",")); err == nil && n >= 0 {
				a.length = n
			}
			continue
		case "Transfer-Encoding", "Trailer":
			continue
		}
		if sendable(name) {
			b = appendHeader(b, name, values)
		}
	}
	if _, ok := a.header["Date"]; !ok {
		b = append(b, "Date: "...)
		b = append(b, date(time.Now())...)
		b = append(b, "\r\n"...)
	}
	a.room.head = b
}

// sendable reports whether a name can stand in a header.
func sendable(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return name != ""
}

func appendHeader(b []byte, name string, values []string) []byte {
	for _, v := range values {
		if strings.ContainsAny(v, "\r\n") { // the end of a line would end the header
			v = newlines.Replace(v)
		}
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, strings.Trim(v, " \t")...)
		b = append(b, "\r\n"...)
	}
	return b
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

// hasBody reports whether an answer of this status may have a body.
func (a *answer) hasBody() bool {
	return a.status != http.StatusNoContent && a.status != http.StatusNotModified
}

// Write adds to the body.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.hasBody() {
		return 0, http.ErrBodyNotAllowed
	}
	r := a.room
	if a.length >= 0 && a.sent+len(r.body)+len(b) > a.length {
		return 0, http.ErrContentLength
	}
	if !a.begun && len(r.body)+len(b) <= gathered {
		r.body = append(r.body, b...)
		return len(b), nil
	}
	if err := a.push(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetReadDeadline does nothing: the whole request has been read.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline sets until when the answer must be taken.
func (a *answer) SetWriteDeadline(t time.Time) error {
	a.writeBy = t
	return nil
}

// push sends what was gathered, and more.
func (a *answer) push(more []byte) error {
	r := a.room
	n := len(r.body) + len(more)
	if n == 0 {
		return nil // a chunk of no bytes would be the last one
	}
	if !a.begun {
		a.chunked = a.length < 0
		a.frame(more)
	}
	parts := net.Buffers{r.head, r.body, more}
	if a.chunked {
		r.head = append(strconv.AppendInt(r.head, int64(n), 16), "\r\n"...)
		parts = net.Buffers{r.head, r.body, more, []byte("\r\n")}
	}
	_ = a.conn.Conn.SetWriteDeadline(a.writeBy)
	_, err := parts.WriteTo(a.conn.Conn)
	a.sent, a.begun, a.broken = a.sent+n, true, err != nil
	r.head, r.body = r.head[:0], r.body[:0]
	return err
}

// frame ends the head. The body is what was gathered, or that and more.
func (a *answer) frame(more []byte) {
	r := a.room
	if a.hasBody() {
		first := r.body
		if len(first) == 0 {
			first = more
		}
		if !a.typed && len(first) > 0 {
			r.head = appendHeader(r.head, "Content-Type", []string{http.DetectContentType(first)})
		}
		if a.chunked {
			r.head = append(r.head, "Transfer-Encoding: chunked\r\n"...)
		} else {
			r.head = append(r.head, "Content-Length: "...)
			r.head = strconv.AppendInt(r.head, int64(a.length), 10)
			r.head = append(r.head, "\r\n"...)
		}
	}
	if a.last = a.last || a.conn.isLast(); a.last {
		r.head = append(r.head, "Connection: close\r\n"...)
	}
	r.head = append(r.head, "\r\n"...)
}

// finish sends what is left when the handler has returned, and reports whether
// the client has got a whole answer, behind which another may come.
func (a *answer) finish() bool {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	r := a.room
	if !a.begun {
		if a.length < 0 {
			a.length = len(r.body)
		}
		a.frame(nil)
		r.head = append(r.head, r.body...)
		a.sent = len(r.body)
	} else if a.chunked {
		r.head = append(r.head, "0\r\n\r\n"...)
	}
	if len(r.head) > 0 && !a.broken {
		_ = a.conn.Conn.SetWriteDeadline(a.writeBy)
		if crash.Meets(crash.MidShortcut) {
			_, _ = a.conn.Conn.Write(r.head[:len(r.head)/2])
			crash.Now()
		}
		_, err := a.conn.Conn.Write(r.head)
		a.broken = err != nil
	}
	whole := !a.hasBody() || a.chunked || a.sent == a.length // else it is broken off, so that nobody takes it for whole
	r.body, a.room = r.body[:0], nil
	rooms.Put(r)
	return whole && !a.broken
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
