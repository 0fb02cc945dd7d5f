package shortcut

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answer gathers what the handler answers, to be sent in one write. How the
// message is framed is decided here: a handler can only ask for the end of the
// connection, by "Connection: close".
type answer struct {
	header  http.Header
	status  int    // 0 before WriteHeader
	head    []byte // status line and header as they were at WriteHeader
	body    []byte
	typed   bool // the header says what the body is
	last    bool // the connection ends with this answer
	length  int  // what the handler says that the body has; -1 if it does not
	writeBy time.Time
}

func (a *answer) reset() {
	clear(a.header)
	head, body := a.head[:0], a.body[:0]
	if cap(head) > readBytes || cap(body) > readBytes {
		head, body = nil, nil
	}
	*a = answer{header: a.header, head: head, body: body, length: -1}
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
	b := a.head
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
	a.head = b
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
	if a.length >= 0 && len(a.body)+len(b) > a.length {
		return 0, http.ErrContentLength
	}
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

// send writes the answer, and reports whether another request may follow: not
// when last is true, nor when the handler has asked for the end.
func (a *answer) send(conn net.Conn, last bool) bool {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	b, whole := a.head, true
	if a.hasBody() {
		if a.length < 0 {
			a.length = len(a.body)
		}
		whole = a.length == len(a.body) // else it is broken off, so that nobody takes it for whole
		if !a.typed && len(a.body) > 0 {
			b = appendHeader(b, "Content-Type", []string{http.DetectContentType(a.body)})
		}
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(a.length), 10)
		b = append(b, "\r\n"...)
	}
	last = last || a.last
	if last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, a.body...)
	a.head = b // for the next answer
	_ = conn.SetWriteDeadline(a.writeBy)
	_, err := conn.Write(b)
	return err == nil && whole && !last
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
