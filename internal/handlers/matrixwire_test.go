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

// wireRow is a bad input that no HTTP client sends.
type wireRow struct {
	name   string
	send   string
	ends   bool // whether nothing can be sent behind it
	status int
	code   string // empty where it never reaches a route
}

// The size of bodies in the matrix, and of one that is too large.
const (
	wireLimit = 32 << 10
	wireLarge = 2 * wireLimit
)

// TestBadTransportEverywhere sends each row of the catalogue about transport to
// each operation, on a connection of its own. What net/http answers itself ends
// it; what a route refuses does not.
func TestBadTransportEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *settings) { s.MaxBodyBytes = wireLimit })
	cases := 0
	for i := range endpoints {
		e := &endpoints[i]
		t.Run(e.id, func(t *testing.T) {
			right := w.right(t, e)
			before := w.digest(t)
			rows := headRows(right, e)
			if e.media != "" {
				rows = append(rows, bodyRows(t, right, e)...)
			}
			cases += len(rows)
			for _, row := range rows {
				w.mustAnswer(t, right.method, row)
			}
			if w.digest(t) != before {
				t.Error("it was refused and has changed what is stored")
			}
		})
	}
	t.Logf("%d cases of %d operations", cases, len(endpoints))
}

// mustAnswer sends a row, and fails unless its answer is the right one and the
// proxy goes on.
func (w *world) mustAnswer(t *testing.T, method string, row wireRow) {
	t.Helper()
	conn := newWire(t, w.proxy)
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, row.send) // it may be refused before it is read
		if row.ends {
			_ = conn.CloseWrite()
		}
	}()
	a := conn.answer(t, method)
	code := ""
	if row.code != "" && a.header.Get("Content-Type") == "application/problem+json" {
		code = a.problem(t).Code
		if err := checkProblem(nil, a); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if a.status != row.status || code != row.code {
		t.Errorf("%s: %.300q: %d %.300s, want %d %s", row.name, row.send, a.status, a.body, row.status, row.code)
	}
	if !row.ends && a.header.Get("Connection") != "close" {
		conn.send(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		conn.answer(t, http.MethodGet).mustBe(t, http.StatusOK, "")
	} else {
		w.mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
	}
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

// headRows are heads of requests that are none, or too large; and what is
// unusual and must not matter.
func headRows(r *request, e *endpoint) []wireRow {
	const version = "HTTP/1.1"
	none := head(r, version, "Content-Length: 0") + "\r\n"
	with := func(line string) string { return strings.Replace(none, "Host: x\r\n", "Host: x\r\n"+line+"\r\n", 1) }
	rows := []wireRow{
		{"64 KiB of a header", with("X: " + strings.Repeat("x", 64<<10)), false, 431, ""},
		{"64 KiB of headers", with(strings.Repeat("X: x\r\n", 11<<10) + "X: x"), false, 431, ""},
		{"64 KiB of path", strings.Replace(none, r.path, "/v1/topics/"+strings.Repeat("t", 64<<10), 1), false, 431, ""},
		{"NUL in a header", with("X: a\x00b"), false, 400, ""},
		{"a control character in a header", with("X: a\x01b"), false, 400, ""},
		{"a bare carriage return", with("X: a\rb"), false, 400, ""},
		{"a space before a colon", with("X : a"), false, 400, ""},
		{"a header without a name", with(": a"), false, 400, ""},
		{"a header without a colon", with("X"), false, 400, ""},
		{"no Host", strings.Replace(none, "Host: x\r\n", "", 1), false, 400, ""},
		{"two Hosts", with("Host: y"), false, 400, ""},
		{"another version", strings.Replace(none, version, "HTTP/3.0", 1), false, 505, ""},
		{"no version", strings.Replace(none, version, "HTTP", 1), false, 400, ""},
		{"a space in the path", strings.Replace(none, r.path, "/v1/topics/a b", 1), false, 400, ""},
		{"an escape that is none", strings.Replace(none, r.path, "/v1/topics/%zz", 1), false, 400, ""},
		{"a negative Content-Length", head(r, version, "Content-Length: -1") + "\r\n", false, 400, ""},
		{"a Content-Length that is no number", head(r, version, "Content-Length: 0x2") + "\r\n", false, 400, ""},
		{"two different Content-Lengths", head(r, version, "Content-Length: 2", "Content-Length: 3") + "\r\n{}", false, 400, ""},
		{"an unknown Transfer-Encoding", head(r, version, "Transfer-Encoding: gzip, chunked") + "\r\n", false, 501, ""},
		{"Transfer-Encoding twice", head(r, version, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "\r\n0\r\n\r\n", false, 501, ""},
	}
	if r.method == http.MethodGet {
		many := ""
		for i := range 200 {
			many += fmt.Sprintf("X-%d: %d\r\n", i, i)
		}
		rows = append(rows,
			wireRow{"200 headers", with(strings.TrimSuffix(many, "\r\n")), false, e.status, ""},
			wireRow{"HTTP/1.0", head(r, "HTTP/1.0") + "\r\n", false, e.status, ""},
			wireRow{"a body that nobody reads", head(r, version, "Content-Length: 3") + "\r\nabc", false, e.status, ""},
		)
	}
	return rows
}

// bodyRows are bodies that break off, are packed badly, or are too large, and
// bodies of another type.
func bodyRows(t *testing.T, r *request, e *endpoint) (rows []wireRow) {
	t.Helper()
	const version = "HTTP/1.1"
	body, isRaw, isUpload := string(r.body), e.media == mediaBytes, strings.HasPrefix(e.id, "produceStream")
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	add := func(name, send string, ends bool, status int, code string) {
		rows = append(rows, wireRow{name, send, ends, status, code})
	}
	half := body[:len(body)/2]
	add("cut half way", head(r, version, length(len(body)))+"\r\n"+half, true, 400, "INVALID_JSON")
	add("cut half way, HTTP/1.0", head(r, "HTTP/1.0", length(len(body)))+"\r\n"+half, true, 400, "INVALID_JSON")
	add("nothing of it", head(r, version, length(len(body)))+"\r\n", true, 400, "INVALID_JSON")
	add("a chunk cut", head(r, version, "Transfer-Encoding: chunked")+fmt.Sprintf("\r\n%x\r\n", len(body))+half, true, 400, "INVALID_JSON")
	add("a chunk's size no number", head(r, version, "Transfer-Encoding: chunked")+"\r\nxyz\r\n"+body+"\r\n0\r\n\r\n", true, 400, "INVALID_JSON")
	if !isUpload { // whole lines of an upload that breaks off are appended
		whole := fmt.Sprintf("\r\n%x\r\n%s\r\n", len(body), body)
		add("the last chunk missing", head(r, version, "Transfer-Encoding: chunked")+whole, true, 400, "INVALID_JSON")
		add("longer than it is", head(r, version, length(len(body)+10))+"\r\n"+body, true, 400, "INVALID_JSON")
	}
	if !isRaw {
		add("shorter than it is", head(r, version, length(len(half)))+"\r\n"+body, true, 400, "INVALID_JSON")
		add("chunked and Content-Length", head(r, version, length(len(body)), "Transfer-Encoding: chunked")+"\r\n1\r\n{\r\n0\r\n\r\n", false, 400, "INVALID_JSON")
		add("HTTP/1.0, and wrong", head(r, "HTTP/1.0", length(1))+"\r\n{", true, 400, "INVALID_JSON")
		for name, media := range map[string][]string{
			"no content type": nil, "an empty content type": {""}, "an unknown content type": {"text/csv"},
			"a form":          {"application/x-www-form-urlencoded"},
			"another charset": {e.media + "; charset=latin1"}, "a parameter": {e.media + "; version=1"},
			"two content types": {e.media, e.media},
		} {
			other := r.cloned()
			other.header["Content-Type"] = media
			add(name, head(other, version, length(len(body)))+"\r\n"+body, false, 415, "UNSUPPORTED_MEDIA_TYPE")
		}
	}
	for name, encoding := range map[string][]string{
		"an unknown encoding": {"br"}, "an empty encoding": {""}, "two encodings": {"gzip, gzip"},
		"an encoding twice": {"gzip", "gzip"}, "deflate": {"deflate"},
	} {
		other := r.cloned()
		other.header["Content-Encoding"] = encoding
		add(name, head(other, version, length(len(body)))+"\r\n"+body, false, 415, "UNSUPPORTED_MEDIA_TYPE")
	}
	for _, encoding := range []string{"gzip", "zstd"} {
		other := r.cloned()
		other.header.Set("Content-Encoding", encoding)
		pack := func(plain string) []byte { return mustPack(t, map[string]string{encoding: ""}, []byte(plain)) }
		right, bomb := pack(body), pack(strings.Repeat(" ", 4<<20))
		for name, body := range map[string][]byte{
			"it is not": r.body, "cut": right[:len(right)-5], "its head": right[:3],
			"something behind": slices.Concat(right, []byte("xxx")), "nothing": {},
			"a bit changed": bytes.Replace(right, right[len(right)-5:], []byte{0, 1, 2, 3, 4}, 1),
		} {
			switch {
			case name == "nothing" && (encoding == "zstd" || slices.Contains(noRequired, e.id)): // no frame, or no body
				continue
			case isUpload && name != "it is not" && name != "its head" && name != "nothing": // the line came before that
				continue
			}
			add(encoding+": "+name, head(other, version, length(len(body)))+"\r\n"+string(body), len(body) == 0, 400, "INVALID_JSON")
		}
		add(encoding+" bomb", head(other, version, length(len(bomb)))+"\r\n"+string(bomb), false, 413, "MESSAGE_TOO_LARGE")
	}
	large := strings.Repeat(" ", wireLarge)
	add("too large", head(r, version, length(len(large)))+"\r\n"+large, false, 413, "MESSAGE_TOO_LARGE")
	add("too large, chunked", head(r, version, "Transfer-Encoding: chunked")+fmt.Sprintf("\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large), false, 413, "MESSAGE_TOO_LARGE")
	return rows
}
