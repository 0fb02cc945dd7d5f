package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// A conn is one connection of the client: one request at a time, written and read without net/http, because
// what the client spends is taken from what it measures.
type conn struct {
	net  net.Conn
	in   *bufio.Reader
	out  []byte // the request, for whoever builds one
	body []byte // of the last answer
	stop func() bool
}

// dial connects. The connection breaks when ctx ends.
func dial(ctx context.Context, addr string, readBuffer int) (*conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{
		net:  c,
		in:   bufio.NewReaderSize(c, readBuffer),
		stop: context.AfterFunc(ctx, func() { _ = c.Close() }),
	}, nil
}

// dialAll makes n connections; with an error, those that it made.
func dialAll(ctx context.Context, addr string, n, readBuffer int) ([]*conn, error) {
	conns := make([]*conn, 0, n)
	for range n {
		c, err := dial(ctx, addr, readBuffer)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func (c *conn) close() {
	c.stop()
	_ = c.net.Close()
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

// do sends a request and reads its answer, whose body is valid until the next one. What had no effect and may be tried
// again is sent again, for retryTime; the time that this takes is the request's. Any other status but 2xx is an error.
func (c *conn) do(request []byte) (body []byte, err error) {
	for began := time.Now(); ; time.Sleep(retryPause) {
		if _, err := c.net.Write(request); err != nil {
			return nil, err
		}
		status, body, err := c.answer()
		if err != nil {
			return nil, err
		}
		again := status == http.StatusServiceUnavailable && bytes.Contains(body, []byte(`"effect":"none"`))
		switch {
		case again && time.Since(began) < retryTime:
		case status/100 != 2:
			return nil, &statusError{status, string(body)}
		default:
			return body, nil
		}
	}
}

const (
	retryTime  = 10 * time.Second
	retryPause = 20 * time.Millisecond
)

// A statusError is an answer that is no success.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// answer reads one answer. The body is valid until the next call.
func (c *conn) answer() (status int, body []byte, err error) {
	status, length, err := c.head()
	if err != nil {
		return 0, nil, err
	}
	c.body = c.body[:0]
	if length >= 0 {
		return status, c.body, c.read(length)
	}
	for {
		n, err := c.chunk()
		if err != nil || n == 0 {
			return status, c.body, err
		}
		if err := c.read(n); err != nil {
			return 0, nil, err
		}
		if _, err := c.in.Discard(2); err != nil {
			return 0, nil, err
		}
	}
}

// head reads status and headers; length is -1 of a body in chunks.
func (c *conn) head() (status, length int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			return status, length, nil
		}
		switch {
		case hasName(line, "content-length"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len("content-length:"):]))); err != nil {
				return 0, 0, err
			}
		case hasName(line, "transfer-encoding"):
			length = -1
		}
	}
}

// hasName reports whether a header line has the name, which is given in lower case.
func hasName(line []byte, name string) bool {
	return len(line) > len(name) && line[0]|0x20 == name[0] && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name))
}

// chunk reads the size of the next chunk, and the end of the body with the last one, which has size 0.
func (c *conn) chunk() (int, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
	if err != nil || n > 0 {
		return int(n), err
	}
	for { // trailers
		if line, err = c.in.ReadSlice('\n'); err != nil || len(line) <= 2 {
			return 0, err
		}
	}
}

// read appends n bytes to the body.
func (c *conn) read(n int) error {
	at := len(c.body)
	if cap(c.body) < at+n {
		grown := make([]byte, at, max(2*cap(c.body), at+n))
		copy(grown, c.body)
		c.body = grown
	}
	c.body = c.body[:at+n]
	_, err := io.ReadFull(c.in, c.body[at:])
	return err
}

// call sends one request on a connection of its own, for what is not measured; the JSON of the answer goes
// into the value that into points to, unless that is nil.
func call(ctx context.Context, addr, method, path, body string, into any) error {
	c, err := dial(ctx, addr, 4096)
	if err != nil {
		return err
	}
	defer c.close()
	answer, err := c.do(appendRequest(nil, method, path, body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// appendRequest appends a request with a body of JSON, or none.
func appendRequest(b []byte, method, path, body string) []byte {
	b = fmt.Appendf(b, "%s %s HTTP/1.1\r\nHost: bench\r\n", method, path)
	if body != "" {
		b = append(b, "Content-Type: application/json\r\n"...)
	}
	if method != "GET" {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(body))
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}
