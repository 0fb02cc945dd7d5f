package network

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// Whatever a message looks like, it is passed on byte for byte, and what follows it is left alone.
func TestMessagesPassByteForByte(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{
		"no body": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"sized":   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"long":    "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 10_000) + "\r\n\r\n",
		"chunks": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
		"chunks and trailer": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
		"bare line ends": "POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n\r\n",
	} {
		for way, read := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		} {
			in := bufio.NewReader(read(strings.NewReader(message + "GET /next")))
			got, err := passed(in)
			if rest, _ := io.ReadAll(in); err != nil || got != message || string(rest) != "GET /next" {
				t.Errorf("%s, %s: %q, then %q (%v)", name, way, got, rest, err)
			}
		}
		for n := range len(message) - 1 {
			if _, err := passed(bufio.NewReader(strings.NewReader(message[:n+1]))); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, broken off after %d bytes: %v", name, n+1, err)
			}
		}
	}
}

func passed(in *bufio.Reader) (string, error) {
	head, err := readHead(in)
	if err != nil {
		return "", err
	}
	req, err := parseRequest(head)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	to := bufio.NewWriter(&out)
	_, _ = to.Write(head)
	err = errors.Join((&way{}).copy(to, bodyOfRequest(in, req), nil, nil), to.Flush())
	return out.String(), err
}

func TestBodiesOfAnswersEndWhereTheyEnd(t *testing.T) {
	t.Parallel()
	const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, test := range map[string]struct {
		method, head, rest, want string
	}{
		"sized":       {http.MethodGet, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "abcdef", "abc"},
		"to a HEAD":   {http.MethodHead, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "abc", ""},
		"204":         {http.MethodDelete, "HTTP/1.1 204 No Content\r\n\r\n", "abc", ""},
		"to the end":  {http.MethodGet, "HTTP/1.0 200 OK\r\n\r\n", "abcdef", "abcdef"},
		"chunks":      {http.MethodGet, chunks, "1\r\nx\r\n0\r\n\r\nHTTP", "1\r\nx\r\n0\r\n\r\n"},
		"unmodified":  {http.MethodGet, "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "abc", ""},
		"empty chunk": {http.MethodGet, chunks, "0\r\n\r\n", "0\r\n\r\n"},
	} {
		resp, err := parseAnswer([]byte(test.head), &http.Request{Method: test.method})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		to := bufio.NewWriter(&out)
		from := bodyOfAnswer(bufio.NewReader(strings.NewReader(test.rest)), resp, test.method)
		if err := errors.Join((&way{}).copy(to, from, nil, nil), to.Flush()); err != nil || out.String() != test.want {
			t.Errorf("%s: %q (%v), want %q", name, out.String(), err, test.want)
		}
	}
}
