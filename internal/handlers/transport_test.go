package handlers_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/klauspost/compress/zstd"
)

// TestBadTransport sends each request on a connection of its own, and ends the
// sending side after it.
func TestBadTransport(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/x", "")
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	lines := "{\"value\":1}\n{\"value\":2}\n"
	before := p.digest(t)
	for name, test := range map[string]struct {
		send   string
		status int
		code   string
	}{
		"body cut half way":                  {post(length(100)) + "\r\n" + oneRecord[:10], 400, "INVALID_JSON"},
		"body cut behind a whole document":   {post(length(100)) + "\r\n" + oneRecord, 400, "INVALID_JSON"},
		"lines cut behind a line":            {strings.Replace(post(length(100)), "json", "x-ndjson", 1) + "\r\n" + lines, 400, "INVALID_JSON"},
		"raw body cut":                       {strings.Replace(post(length(100)), "records", "raw", 1) + "\r\nabc", 400, "INVALID_JSON"},
		"chunk cut":                          {post("Transfer-Encoding: chunked") + "\r\n19\r\n" + oneRecord[:10], 400, "INVALID_JSON"},
		"last chunk missing":                 {post("Transfer-Encoding: chunked") + "\r\n19\r\n" + oneRecord + "\r\n", 400, "INVALID_JSON"},
		"chunk size no number":               {post("Transfer-Encoding: chunked") + "\r\nxyz\r\n" + oneRecord + "\r\n0\r\n\r\n", 400, "INVALID_JSON"},
		"body of a commit cut":               {"POST /v1/transactions/x/commit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}", 400, "INVALID_JSON"},
		"body of a topic cut":                {"PUT /v1/topics/u HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}", 400, "INVALID_JSON"},
		"Content-Length too small":           {post(length(10)) + "\r\n" + oneRecord, 400, "INVALID_JSON"},
		"Content-Length negative":            {post("Content-Length: -1") + "\r\n" + oneRecord, 400, ""},
		"Content-Length no number":           {post("Content-Length: 0x19") + "\r\n" + oneRecord, 400, ""},
		"Content-Length empty":               {post("Content-Length: ") + "\r\n" + oneRecord, 400, ""},
		"two different Content-Length":       {post(length(25), length(26)) + "\r\n" + oneRecord, 400, ""},
		"unknown Transfer-Encoding":          {post("Transfer-Encoding: gzip, chunked") + "\r\n" + oneRecord, 501, ""},
		"Transfer-Encoding doubled":          {post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "\r\n", 501, ""},
		"control character in a header":      {post("Idempotency-Key: a\x01b", length(25)) + "\r\n" + oneRecord, 400, ""},
		"NUL in a header":                    {post("Idempotency-Key: a\x00b", length(25)) + "\r\n" + oneRecord, 400, ""},
		"bare carriage return in a header":   {post("Idempotency-Key: a\rb", length(25)) + "\r\n" + oneRecord, 400, ""},
		"space before a header's colon":      {post("Idempotency-Key : a", length(25)) + "\r\n" + oneRecord, 400, ""},
		"header without a name":              {post(": a", length(25)) + "\r\n" + oneRecord, 400, ""},
		"header without a colon":             {post("Idempotency-Key", length(25)) + "\r\n" + oneRecord, 400, ""},
		"no Host":                            {"GET /v1/topics HTTP/1.1\r\n\r\n", 400, ""},
		"two Hosts":                          {"GET /v1/topics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, ""},
		"no HTTP at all":                     {"hello\r\n\r\n", 400, ""},
		"another version":                    {"GET /v1/topics HTTP/3.0\r\nHost: x\r\n\r\n", 505, ""},
		"a space in the path":                {"GET /v1/topics/a b HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"an escape that is none":             {"GET /v1/topics/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"a path that climbs":                 {"GET /v1/topics/t/../../topics HTTP/1.1\r\nHost: x\r\n\r\n", 404, "NOT_FOUND"},
		"a path with an empty segment":       {"GET //v1/topics HTTP/1.1\r\nHost: x\r\n\r\n", 404, "NOT_FOUND"},
		"64 KiB of one header":               {"GET /v1/topics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, ""},
		"64 KiB of headers":                  {"GET /v1/topics HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: x\r\n", 11<<10) + "\r\n", 431, ""},
		"64 KiB of path":                     {"GET /v1/topics/" + strings.Repeat("t", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, ""},
		"truncated gzip":                     {packed(t, "gzip", oneRecord, 5), 400, "INVALID_JSON"},
		"gzip truncated to its head":         {packed(t, "gzip", oneRecord, 40), 400, "INVALID_JSON"},
		"truncated gzip of lines":            {strings.Replace(packed(t, "gzip", strings.Repeat(lines, 1000), 4), "json", "x-ndjson", 1), 400, "INVALID_JSON"},
		"truncated zstd":                     {packed(t, "zstd", oneRecord, 5), 400, "INVALID_JSON"},
		"truncated zstd of lines":            {strings.Replace(packed(t, "zstd", strings.Repeat(lines, 1000), 4), "json", "x-ndjson", 1), 400, "INVALID_JSON"},
		"gzip bomb":                          {packed(t, "gzip", strings.Repeat(" ", 20<<20), 0), 413, "MESSAGE_TOO_LARGE"},
		"zstd bomb":                          {packed(t, "zstd", strings.Repeat(" ", 20<<20), 0), 413, "MESSAGE_TOO_LARGE"},
		"gzip with something else behind it": {packed(t, "gzip", oneRecord, -3), 400, "INVALID_JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, p)
			go func() {
				_, _ = io.WriteString(w, test.send) // it may be refused before it is read
				_ = w.CloseWrite()
			}()
			method, _, _ := strings.Cut(test.send, " ")
			w.answer(t, method).mustBe(t, test.status, test.code)
			if after := p.digest(t); after != before {
				t.Error("it was refused and has changed what is stored")
			}
			p.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
		})
	}
}

// packed returns a produce request with a packed body, without its last n
// bytes; or, below 0, with as many further ones.
func packed(t *testing.T, encoding, body string, n int) string {
	t.Helper()
	var b bytes.Buffer
	switch encoding {
	case "gzip":
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, body); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	default:
		z, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(z.EncodeAll([]byte(body), nil))
	}
	b.WriteString(strings.Repeat("x", max(-n, 0)))
	b.Truncate(max(b.Len()-max(n, 0), 1))
	return post("Content-Encoding: "+encoding, fmt.Sprintf("Content-Length: %d", b.Len())) + "\r\n" + b.String()
}

// TestRefusedRequestKeepsItsConnection: what was understood and refused leaves
// the connection at the next request.
func TestRefusedRequestKeepsItsConnection(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	w := newWire(t, p)
	for _, send := range []string{
		"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
		"BREW /v1/topics HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/topics/%2F HTTP/1.1\r\nHost: x\r\n\r\n",
		post("Content-Length: 1000") + "\r\n" + strings.Repeat("x", 1000),
		post("Content-Length: 25", "Producer-Id: 1") + "\r\n" + oneRecord,
		post("Transfer-Encoding: chunked", "Content-Encoding: br") + "\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		w.send(t, send)
		method, _, _ := strings.Cut(send, " ")
		if a := w.answer(t, method); a.status < 400 || a.header.Get("Connection") == "close" {
			t.Errorf("%.60q: %d, Connection %q", send, a.status, a.header.Get("Connection"))
		}
	}
	w.send(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	w.answer(t, http.MethodGet).mustBe(t, http.StatusOK, "")
}

// TestChunkedAndContentLength: RFC 9112, section 6.3: chunked is what counts,
// and nothing of the body is taken for a second request.
func TestChunkedAndContentLength(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	w := newWire(t, p)
	w.send(t, post("Content-Length: 5", "Transfer-Encoding: chunked")+"\r\n19\r\n"+oneRecord+"\r\n0\r\n\r\n")
	a := w.answer(t, http.MethodPost)
	a.mustBe(t, http.StatusOK, "")
	w.usable(t, p, a)
	if got := highWatermark(t, p, "t"); got != 1 {
		t.Errorf("%d records are stored, want 1", got)
	}
}

func TestHTTP10(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	for _, test := range []struct {
		send   string
		status int
	}{
		{"PUT /v1/topics/t HTTP/1.0\r\n\r\n", 201},
		{"POST /v1/topics/t/records HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\r\n" + oneRecord, 200},
		{"POST /v1/topics/t/raw HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 200},
		{"GET /v1/topics/t/partitions/0/records HTTP/1.0\r\n\r\n", 200},
		{"GET /v1/nothing HTTP/1.0\r\n\r\n", 404},
	} {
		w := newWire(t, p)
		w.send(t, test.send)
		a := w.answer(t, http.MethodGet)
		a.mustBe(t, test.status, "")
		w.usable(t, p, a)
	}
	if got := highWatermark(t, p, "t"); got != 2 {
		t.Errorf("%d records are stored, want 2", got)
	}
}

func TestTwoHundredHeaders(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	w := newWire(t, p)
	head := "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	for i := range 200 {
		head += fmt.Sprintf("X-Header-%d: %d\r\n", i, i)
	}
	w.send(t, head+"\r\n")
	a := w.answer(t, http.MethodGet)
	a.mustBe(t, http.StatusOK, "")
	w.usable(t, p, a)
}

func TestTwentyMebibytes(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	before := p.digest(t)
	body := strings.Repeat("x", 20<<20)
	for _, head := range []string{
		post(fmt.Sprintf("Content-Length: %d", len(body))) + "\r\n",
		post("Transfer-Encoding: chunked") + fmt.Sprintf("\r\n%x\r\n", len(body)),
	} {
		w := newWire(t, p)
		go func() { _, _ = io.WriteString(w, head+body) }()
		a := w.answer(t, http.MethodPost)
		a.mustBe(t, http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE")
		w.usable(t, p, a)
	}
	if p.digest(t) != before {
		t.Error("something was stored")
	}
}

// Who sends all of a body before it reads learns why a request was refused whose
// body nobody asked for.
func TestRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	body := strings.Repeat("x", 9<<20)
	const lines = "Content-Type: application/x-ndjson"
	for name, test := range map[string]struct {
		method, path, header string
		status               int
		code                 string
	}{
		"another content type":   {"POST", "/v1/topics/t/records", "Content-Type: text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"},
		"half a producer":        {"POST", "/v1/topics/t/records", "Producer-Id: 7", 400, "INVALID_REQUEST"},
		"a header that is wrong": {"POST", "/v1/topics/t/raw", "Producer-Id: x", 400, "INVALID_REQUEST"},
		"an unknown parameter":   {"POST", "/v1/topics/t/records?x=1", lines, 400, "INVALID_REQUEST"},
		"another method":         {"PUT", "/v1/topics/t/records", lines, 405, "METHOD_NOT_ALLOWED"},
		"no such path":           {"POST", "/v1/nope", lines, 404, "NOT_FOUND"},
		"no such topic":          {"POST", "/v1/topics/a%00b/records", lines, 400, "INVALID_TOPIC_EXCEPTION"},
		"an upload by nobody":    {"POST", "/v1/topics/t/records/stream", lines, 400, "INVALID_REQUEST"},
		"an upload of another type": {
			"POST", "/v1/topics/t/records/stream",
			"Content-Type: text/plain\r\nProducer-Id: 1\r\nProducer-Epoch: 0", 415, "UNSUPPORTED_MEDIA_TYPE",
		},
		"a body where none belongs": {"GET", "/v1/topics", lines, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, p)
			head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n", test.method, test.path, test.header, len(body))
			w.send(t, head+body)
			a := w.answer(t, test.method)
			a.mustBe(t, test.status, test.code)
			w.usable(t, p, a)
		})
	}
}

// TestNamesInPathsAreUnescapedOnce: an id is the same id however a client
// escapes it, and no other.
func TestNamesInPathsAreUnescapedOnce(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for i, id := range []string{"o'brien-1", "invoice 42", "a/b", "100%", "%2F", "%252F", `"q"`, "[x]", "x y/z", "{}^`|<>#?\\", "a+b:c;d,e&f=g@h"} {
		var all strings.Builder
		for _, b := range []byte(id) {
			fmt.Fprintf(&all, "%%%02X", b)
		}
		begin := `{"produce":[{"topic":"t","records":[{"value":1}]}],"commit":true}`
		c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/"+url.PathEscape(id), begin)
		again := c.mustDo(t, http.StatusOK, http.MethodPut, "/v1/transactions/"+all.String(), begin)
		var got api.Transaction
		if err := json.Unmarshal(again.body, &got); err != nil {
			t.Fatal(err)
		}
		if got.TransactionID != id {
			t.Errorf("%q came back as %q", id, got.TransactionID)
		}
		if end := highWatermark(t, p, "t"); end != int64(i+1) {
			t.Fatalf("%q: %d records, want %d", id, end, i+1)
		}
	}
}
