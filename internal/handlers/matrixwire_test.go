package handlers_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// answerTo sends a row on a connection of its own, and returns the answer; it
// fails unless that connection, if it is kept, and the proxy go on. What
// net/http answers itself ends a connection; what a route refuses does not.
func (p *proxy) answerTo(t *testing.T, method string, row row) *answer {
	t.Helper()
	conn := newWire(t, p)
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, row.send) // it may be refused before it is read
		if row.ends {
			_ = conn.CloseWrite()
		}
	}()
	a := conn.answer(t, method)
	if a.header.Get("Content-Type") == "application/problem+json" {
		if err := checkProblem(nil, a); err != nil {
			t.Errorf("%s: %v", row.text, err)
		}
	}
	if !row.ends && a.header.Get("Connection") != "close" {
		conn.send(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		conn.answer(t, http.MethodGet).mustBe(t, http.StatusOK, "")
	}
	return a
}

// head returns a request up to its headers, with further ones, and without the
// empty line behind them.
func head(r *request, version string, further ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\nHost: x\r\n", r.method, r.path, version)
	for name, values := range r.header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	for _, line := range further {
		b.WriteString(line + "\r\n")
	}
	return b.String()
}

// headRows are heads of requests that are none, or too large.
func headRows(r *request) (rows []row) {
	const version = "HTTP/1.1"
	none := head(r, version, "Content-Length: 0") + "\r\n"
	instead := func(line, other string) string { return strings.Replace(none, line, other, 1) }
	with := func(line string) string { return instead("Host: x\r\n", "Host: x\r\n"+line+"\r\n") }
	sized := func(body string, lines ...string) string { return head(r, version, lines...) + "\r\n" + body }
	for _, pair := range [][2]string{
		{"64 KiB of a header", with("X: " + strings.Repeat("x", 64<<10))},
		{"64 KiB of headers", with(strings.Repeat("X: x\r\n", 11<<10) + "X: x")},
		{"64 KiB of path", instead(r.path, "/v1/topics/"+strings.Repeat("t", 64<<10))},
		{"NUL in a header", with("X: a\x00b")},
		{"a control character in a header", with("X: a\x01b")},
		{"a bare carriage return", with("X: a\rb")},
		{"a space before a colon", with("X : a")},
		{"a header without a name", with(": a")},
		{"a header without a colon", with("X")},
		{"no Host", instead("Host: x\r\n", "")},
		{"two Hosts", with("Host: y")},
		{"HTTP/3.0", instead(version, "HTTP/3.0")},
		{"no version", instead(version, "HTTP")},
		{"a space in the path", instead(r.path, "/v1/topics/a b")},
		{"an escape that is none", instead(r.path, "/v1/topics/%zz")},
		{"Content-Length: -1", sized("", "Content-Length: -1")},
		{"Content-Length: 0x2", sized("", "Content-Length: 0x2")},
		{"Content-Length: 2 and 3", sized("{}", "Content-Length: 2", "Content-Length: 3")},
		{"Transfer-Encoding: gzip, chunked", sized("", "Transfer-Encoding: gzip, chunked")},
		{"Transfer-Encoding: chunked, twice", sized("0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")},
	} {
		rows = append(rows, row{text: pair[0], send: pair[1]})
	}
	return rows
}

// wireRows are bodies that break off, are packed badly, or are too large, and
// bodies of another type.
func (m *matrix) wireRows(t *testing.T) (rows []row) {
	t.Helper()
	if m.right.body == nil {
		return nil
	}
	r, body := m.right, string(m.right.body)
	media := r.header.Get("Content-Type")
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	const version, chunked = "HTTP/1.1", "Transfer-Encoding: chunked"
	add := func(ends bool, text, send string) { rows = append(rows, row{text: text, send: send, ends: ends}) }
	half := body[:len(body)/2]
	add(true, "cut half way", head(r, version, length(len(body)))+"\r\n"+half)
	add(true, "cut half way, HTTP/1.0", head(r, "HTTP/1.0", length(len(body)))+"\r\n"+half)
	add(true, "nothing of it", head(r, version, length(len(body)))+"\r\n")
	add(true, "a chunk cut", head(r, version, chunked)+"\r\n"+chunk(body)[:len(half)])
	add(true, "a chunk's size no number", head(r, version, chunked)+"\r\nxyz\r\n"+body+"\r\n0\r\n\r\n")
	if !m.isUpload() { // whole lines of an upload that breaks off are appended
		add(true, "the last chunk missing", head(r, version, chunked)+"\r\n"+chunk(body))
		add(true, "Content-Length too large", head(r, version, length(len(body)+10))+"\r\n"+body)
	}
	if media != mediaBytes {
		add(true, "Content-Length too small", head(r, version, length(len(half)))+"\r\n"+body)
		add(true, "Content-Length too small, HTTP/1.0", head(r, "HTTP/1.0", length(1))+"\r\n{")
		add(false, "Content-Length and half of it chunked",
			head(r, version, length(len(body)), chunked)+"\r\n"+chunk("{")+"0\r\n\r\n")
	}
	with := func(text, name string, values ...string) {
		other := r.cloned()
		other.header[name] = values
		add(false, text, head(other, version, length(len(body)))+"\r\n"+body)
	}
	if media != mediaBytes { // raw takes any
		with("no Content-Type", "Content-Type")
		for _, other := range []string{
			"", "text/csv", "application/x-www-form-urlencoded", media + "; charset=latin1", media + "; version=1",
		} {
			with("Content-Type: "+other, "Content-Type", other)
		}
		with("Content-Type, twice", "Content-Type", media, media)
	}
	for _, encoding := range []string{"", "br", "deflate", "gzip, gzip"} {
		with("Content-Encoding: "+encoding, "Content-Encoding", encoding)
	}
	with("Content-Encoding: gzip, twice", "Content-Encoding", "gzip", "gzip")
	rows = append(rows, m.packedRows(t)...)
	large := strings.Repeat(" ", 128<<10)
	add(false, "too large", head(r, version, length(len(large)))+"\r\n"+large)
	add(false, "too large, chunked", head(r, version, chunked)+"\r\n"+chunk(large)+"0\r\n\r\n")
	return rows
}

// packedRows are bodies that are not packed as they say.
func (m *matrix) packedRows(t *testing.T) (rows []row) {
	t.Helper()
	for _, encoding := range []string{"gzip", "zstd"} {
		other := m.right.cloned()
		other.header.Set("Content-Encoding", encoding)
		add := func(text string, body []byte) {
			length := fmt.Sprintf("Content-Length: %d", len(body))
			send := head(other, "HTTP/1.1", length) + "\r\n" + string(body)
			rows = append(rows, row{text: "Content-Encoding: " + encoding + ", " + text, send: send, ends: len(body) == 0})
		}
		pack := func(plain string) []byte { return mustPack(t, map[string]string{encoding: ""}, []byte(plain)) }
		right := pack(string(m.right.body))
		add("which it is not", m.right.body)
		add("its head alone", right[:3])
		if !m.isUpload() { // of which the line came before that
			add("cut", right[:len(right)-5])
			add("something behind it", slices.Concat(right, []byte("xxx")))
			add("a bit changed", bytes.Replace(right, right[len(right)-5:], []byte{0, 1, 2, 3, 4}, 1))
		}
		if encoding == "gzip" && !m.isOptional() { // zstd may have no frame
			add("nothing", []byte{})
		}
		add("a bomb of 4 MiB", pack(strings.Repeat(" ", 4<<20)))
	}
	return rows
}
