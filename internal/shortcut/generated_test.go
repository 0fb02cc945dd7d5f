package shortcut

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fragments of requests, most of them plain, so that long conversations stay
// on the shortcut for a while.
var (
	methods = []string{
		"POST", "POST", "POST", "POST", "POST", "POST", "POST", "GET", "post", "PUT", "POST ", "POSTS", "",
	}
	targets = []string{
		"/a/records", "/a/records", "/a/records", "/b/records", "/a/records", "/other", "/a%2f/records", "//records",
		"/a/records?x", "http://a/records", "*",
	}
	versions = []string{
		"HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "",
	}
	ends = []string{
		"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r\n",
	}
	fields = []string{
		"Host", "host", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Expect", "Producer-Seq",
		"producer-seq", "PRODUCER-ID", "Idempotency-Key", "Content-Type", "X", "X ", " X", "X_Y", "", "Trailer", "Upgrade",
		"Pragma", "Do",
	}
	colons = []string{": ", ": ", ": ", ": ", ":", ":\t", " : ", "", ":  ", "::"}
	values = []string{
		"1", "0", "2", "3", "7", "a", "", "chunked", "identity", "close", "keep-alive", "Keep-Alive", "100-continue",
		"upgrade", "1, 2", "+2", "02", "-1", "99999999999999999999", "a b", "a\tb", "\x00", "\xff", "refuse",
		"close, keep-alive", "xchunked", "h2c", "\x0b2", "2 ",
	}
	bodies = []string{
		"", "{}", "{}", "{}", "0\r\n\r\n", "2\r\n{}\r\n0\r\n\r\n", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		strings.Repeat("x", 5000),
	}
)

// request draws a request that is mostly right.
func request(t *rapid.T) string {
	draw := func(name string, of []string) string { return rapid.SampledFrom(of).Draw(t, name) }
	body := draw("body", bodies)
	if rapid.IntRange(0, 2).Draw(t, "plain") > 0 {
		return post(draw("target", targets[:5]), "", body)
	}
	var b strings.Builder
	b.WriteString(draw("method", methods) + " " + draw("target", targets) + " ")
	b.WriteString(draw("version", versions) + draw("end", ends))
	b.WriteString("Host: a" + draw("end", ends))
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		b.WriteString(draw("name", fields) + draw("colon", colons) + draw("value", values) + draw("end", ends))
	}
	if rapid.IntRange(0, 4).Draw(t, "length") > 0 {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + draw("end", ends))
	}
	b.WriteString(draw("end", ends) + body)
	return b.String()
}

// damaged changes a byte, takes one out, or puts one in.
func damaged(t *rapid.T, raw string) string {
	at := rapid.IntRange(0, len(raw)-1).Draw(t, "damaged at")
	with := rapid.SampledFrom([]string{"", "\r", "\n", "\x00", " ", ":", "0", "\t", "P", "\xff"}).Draw(t, "with")
	return raw[:at] + with + raw[at+rapid.IntRange(0, 1).Draw(t, "instead"):]
}

// TestSameWhateverComes sends what nobody has thought of.
func TestSameWhateverComes(t *testing.T) {
	t.Parallel()
	shortcut := 0
	rapid.Check(t, func(rt *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(rapid.Custom(request), 1, 4).Draw(rt, "requests"), "")
		for range rapid.IntRange(0, 2).Draw(rt, "damages") {
			raw = damaged(rt, raw)
		}
		steps := whole(raw)
		switch rapid.IntRange(0, 3).Draw(rt, "sent") {
		case 0:
			steps = bytewise(raw, 0)
		case 1, 2:
			steps = pieces(raw, rand.New(rand.NewPCG(1, rapid.Uint64().Draw(rt, "split"))))
		}
		shortcut += mustBeSame(rt, t, rapid.Bool().Draw(rt, "cut"), steps)
	})
	if shortcut == 0 {
		t.Error("no request took the shortcut")
	}
}

// FuzzSame is the same for the fuzzer: go test -fuzz FuzzSame ./internal/shortcut.
func FuzzSame(f *testing.F) {
	for i, c := range conversations() {
		if len(c.raw) < readBytes {
			f.Add([]byte(c.raw), uint64(i), i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, split uint64, cut bool) {
		if len(raw) > 2*readBytes {
			t.Skip()
		}
		mustBeSame(t, t, cut, pieces(string(raw), rand.New(rand.NewPCG(1, split))))
	})
}
