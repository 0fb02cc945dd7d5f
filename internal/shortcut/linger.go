package shortcut

import (
	"errors"
	"net/http"
	"os"
	"time"
)

// lingerTime is how long a connection whose last answer was sent waits for its
// client to hang up; as in net/http.
const lingerTime = 500 * time.Millisecond

// isLast reports whether the connection ends with the answer to this request: the
// listener is closing, and what was read behind the request is not one more that
// is served here. Such a one came before the client could know.
func (c *conn) isLast() bool {
	if !c.listener.closing.Load() {
		return false
	}
	rest := c.buf[c.size:]
	if len(rest) == 0 {
		return true
	}
	next := conn{listener: c.listener, header: make(http.Header, 8)} // c's are still the handler's
	_, _, v := next.parse(rest)
	return v != served
}

// linger ends what is sent, and takes what the client still sends until it has
// seen that. A socket that is closed with something unread is reset, and a reset
// can overtake the answers that the client has not read yet.
func (c *conn) linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	until := time.Now().Add(lingerTime)
	_ = c.Conn.SetReadDeadline(until)
	for c.buf = c.buf[:cap(c.buf)]; ; {
		_, err := c.Conn.Read(c.buf)
		switch {
		case !time.Now().Before(until):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = c.Conn.SetReadDeadline(until) // it was Close
		case err != nil:
			return
		}
	}
}
