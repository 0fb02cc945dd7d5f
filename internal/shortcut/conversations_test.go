package shortcut

import (
	"fmt"
	"strings"
)

// conversation is what a client sends on a connection.
type conversation struct {
	name     string
	shortcut int // how many of its requests do not need net/http, sent at once
	raw      string
}

// post is a request that takes the shortcut, if its headers, lines without
// their ends, do not forbid it.
func post(path, headers, body string) string {
	if headers != "" {
		headers = strings.ReplaceAll(headers, "|", "\r\n") + "\r\n"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, len(body), body)
}

// head is a POST with all its header lines as they are given, and what follows.
func head(lines, rest string) string { return "POST /a/records HTTP/1.1\r\n" + lines + "\r\n" + rest }

const get = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

// conversations are the ways to be unusual that a front door meets. Behind what
// must be refused or read otherwise comes a request that would be smuggled if it
// were not.
func conversations() []conversation {
	ok := post("/a/records", "Content-Type: application/json", "{}")
	list := []conversation{
		{"plain", 1, ok},
		{"two", 2, ok + ok},
		{"three, the last for net/http", 2, ok + ok + get},
		{"for net/http first", 0, get + ok},
		{"a method that is none", 1, ok + "P@ST /a/records HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"less than a request", 1, ok + "00\n00"},
		{"lower-case method", 0, strings.Replace(ok, "POST", "post", 1) + ok},
		{"another method", 0, strings.Replace(ok, "POST", "PUT", 1) + ok},
		{"HEAD", 1, ok + strings.Replace(get, "GET", "HEAD", 1)},
		{"CONNECT", 1, ok + "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"OPTIONS *", 1, ok + "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"HTTP/2 preface", 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{"HTTP/2 preface behind net/http", 0, get + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"TLS", 0, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		{"nothing", 0, ""},
		{"half a method", 0, "PO"},
		{"half a head", 1, ok + "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Le"},
		{"half a body", 1, ok + ok[:len(ok)-1]},
		{"empty body", 0, post("/a/records", "", "") + ok},
		{"no length", 0, head("Host: a\r\n", "") + ok},
		{"body of several reads", 2, post("/a/records", "", strings.Repeat("x", 10*readBytes)) + ok},
		{"largest body", 2, post("/a/records", "", strings.Repeat("x", maxBytes-100)) + ok},
		{"body too large", 0, post("/a/records", "", strings.Repeat("x", maxBytes)) + ok},
		{"empty line first", 0, "\r\n" + ok},
		{"empty line between", 2, ok + "\r\n" + ok},
		{"bare LF between", 2, ok + "\n" + ok},
		{"two empty lines between", 2, ok + "\r\n\r\n" + ok},
		{"three empty lines between", 1, ok + "\r\n\r\n\r\n" + ok},
		{"three LF and what is no method", 1, ok + "\n\n\n x" + ok},
		{"empty line, then net/http, then an empty line", 1, ok + "\r\n" + get + "\r\n" + ok},
		{"space between", 1, ok + " " + ok},
	}
	for _, target := range []string{
		"/a/records/", "/A_b.c-9/records", "/other", "*", "a/records", "http://a/a/records", "http://b/a/records", "//a/records",
		"//b//a/records", "/a//records", "/a/../records", "/a/./records", "/..a/records", "/a%2Frecords", "/%61/records",
		"/a/records?x=1", "/a/records?", "/a/records#f", "/a b/records", "/a\tb/records", "/a;b/records", "/a:b/records", "/ä/records",
		"/a\x00/records", "/a\x7f/records", "/a\\records", "", "/", "/a/records HTTP/1.1 ", "/~a/records", "/@/records",
	} {
		n := 2
		if target != "/A_b.c-9/records" {
			n = 0
		}
		list = append(list, conversation{fmt.Sprintf("target %q", target), n, post(target, "", "{}") + ok})
	}
	for _, version := range []string{"HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", " HTTP/1.1", "HTTP/1.10", "HTTP/01.1", "HTTP/1", ""} {
		list = append(list, conversation{fmt.Sprintf("version %q", version), 0, strings.Replace(ok, "HTTP/1.1", version, 1) + ok})
	}
	for _, line := range []struct {
		shortcut int
		text     string // a header line between Host and Content-Length: 2
	}{
		{2, "X: 1"},
		{2, "X:1"},
		{2, "X:"},
		{2, "X:  \t 1 \t "},
		{2, "x-lower: 1|X-LOWER: 2|X-lOWeR: 3"},
		{2, "producer-seq: 1|PRODUCER-SEQ: 2"},
		{2, "Producer-Seq: 1|Producer-Seq: 2"},
		{2, "Producer-Seq: 1, 2"},
		{2, "Producer-Seq: 1|producer-seq: "},
		{2, "Idempotency-Key: \"a\"|idempotency-key: b"},
		{2, "Content-Type: a|content-type: b"},
		{2, "9-9: 1"}, {2, "-: 1"}, {0, "X_y: 1"}, {0, "X.y: 1"}, {0, "X!#$%&'*+.^_`|~: 1"},
		{0, "X : 1"}, {0, "X\t: 1"}, {0, " X: 1"}, {0, "\tX: 1"}, {0, ": 1"}, {0, "X"}, {0, "X Y: 1"}, {0, "(X): 1"}, {0, "X\x00: 1"}, {0, "Ä: 1"},
		{0, "X: 1| folded"}, {0, "X: 1|\tfolded: 2"}, {0, " |X: 1"},
		{0, "X: a\tb"}, {0, "X: a\x00b"}, {0, "X: a\x01b"}, {0, "X: a\x7fb"}, {0, "X: \xff"}, {0, "X: ä"}, {0, "X: \r"}, {0, "X: a\rb: c"}, {0, "X: a\nY: b"}, {0, "X: a\n|Y: b"}, {0, "\nX: a"},
		{0, "Transfer-Encoding: chunked"}, {0, "transfer-encoding: chunked"}, {0, "Transfer-Encoding: identity"}, {0, "Transfer-Encoding:"},
		{0, "Transfer-Encoding: gzip, chunked"}, {0, "Transfer-Encoding: chunked|Transfer-Encoding: chunked"}, {0, "Transfer-Encoding: xchunked"},
		{0, "Transfer-Encoding : chunked"}, {0, "Transfer-Encoding: \vchunked"}, {0, "Transfer-Encoding:\n chunked"}, {0, "X: 1\nTransfer-Encoding: chunked"}, {0, "Transfer\x00-Encoding: chunked"},
		{2, "X-Transfer-Encoding: chunked"},
		{2, "Connection: keep-alive"}, {2, "Connection: Keep-Alive"}, {2, "connection: KEEP-ALIVE|Connection: keep-alive"}, {0, "Connection: close"}, {0, "Connection: Close"}, {0, "Connection: keep-alive, close"},
		{0, "Connection: keep-alive|Connection: close"}, {0, "Connection: upgrade|Upgrade: websocket"}, {0, "Upgrade: websocket"}, {0, "HTTP2-Settings: AAMAAABkAAQAAP__"}, {0, "Upgrade: h2c|Connection: Upgrade, HTTP2-Settings|HTTP2-Settings: AAMAAABkAAQAAP__"},
		{0, "Connection: X|X: 1"}, {0, "Connection:"}, {0, "Connection: producer-seq|Producer-Seq: 1"}, {0, "Keep-Alive: timeout=5"}, {0, "Proxy-Connection: close"},
		{0, "Expect: 100-continue"}, {0, "expect: 100-Continue"}, {0, "Expect: something"}, {0, "Expect:"},
		{0, "TE: trailers"}, {0, "Trailer: X"}, {0, "Trailer: Content-Length"}, {0, "Pragma: no-cache"}, {0, "Content-Encoding: gzip"},
		{2, "Cookie: a=b|Cookie: c=d"}, {2, "Authorization: Basic YTpi"}, {2, "Accept-Encoding: gzip"}, {2, "Max-Forwards: 0"}, {2, "Range: bytes=0-1"},
		{2, "Origin: http://evil|Sec-Fetch-Site: cross-site"},
		{0, "Host: b"}, {0, "Host: a"}, {0, "host: b"}, {0, "Host:"},
		{0, "Content-Length: 2"}, {0, "Content-Length: 3"}, {0, "content-length: 0"}, {0, "Content-Length:"}, {0, "Content-Length: 2, 2"},
		{2, "X: " + strings.Repeat("x", 3<<10)}, {0, "X: " + strings.Repeat("x", readBytes)}, {0, "X: " + strings.Repeat("x", 20<<10)},
		{2, strings.TrimSuffix(strings.Repeat("X: 1|", 200), "|")}, {0, strings.TrimSuffix(strings.Repeat("X: 1|", 2000), "|")},
	} {
		list = append(list, conversation{fmt.Sprintf("header %.60q", line.text), line.shortcut, post("/a/records", line.text, "{}") + ok})
	}
	for _, length := range []string{
		"", "0", "1", "02", "+2", "-2", "2 ", "\t2", "2.0", "2x", "0x2", "2,2", "2, 2", "2\x00", "２", "2e0", "2_0", "00000000000000000002",
		"18446744073709551618", "9223372036854775807", "9223372036854775808", "-9223372036854775806", "999999", "1000000", "4294967298",
	} {
		n := 0
		if length == "2 " || length == "\t2" {
			n = 2
		}
		if length == "1" {
			n = 1 // the second byte of the body is then no method
		}
		list = append(list, conversation{fmt.Sprintf("length %q", length), n, head("Host: a\r\nContent-Length: "+length+"\r\n", "{}") + ok})
	}
	for _, host := range []string{"a", "a:80", "A.b-c_d:1", "1.2.3.4", "[::1]:80", "", " ", "a b", "a/b", "a@b", "a%b", "ä", "a,b", "a:b:c", ":", "a\x00"} {
		n := 0
		if host == "a" || host == "a:80" || host == "A.b-c_d:1" || host == "1.2.3.4" || host == "a:b:c" || host == ":" {
			n = 2
		}
		list = append(list, conversation{fmt.Sprintf("host %q", host), n, head("Host: "+host+"\r\nContent-Length: 2\r\n", "{}") + ok})
	}
	list = append(list,
		conversation{"no host", 0, head("Content-Length: 2\r\n", "{}") + ok},
		conversation{"no header", 0, head("", "{}") + ok},
		conversation{"length first, host last", 2, head("Content-Length: 2\r\nHost: a\r\n", "{}") + ok},
		conversation{"chunked body", 0, head("Host: a\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n") + ok},
		conversation{"chunked first, then length", 0, head("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", "2\r\n{}\r\n0\r\n\r\n") + ok},
		conversation{"length first, then chunked", 0, head("Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n") + ok},
		conversation{"bare LF everywhere", 0, strings.ReplaceAll(ok, "\r\n", "\n") + ok},
		conversation{"bare CR everywhere", 0, strings.ReplaceAll(ok, "\r\n", "\r") + ok},
		conversation{"head ends with two LF", 0, "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\n{}" + ok},
		conversation{"head ends with LF CR LF", 0, "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Length: 2\n\r\n{}" + ok},
		conversation{"head ends in two ways", 0, "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nX: 1\n\n{}\r\n\r\n" + ok},
		conversation{"large head behind a large body", 1, post("/a/records", "", strings.Repeat("x", 40<<10)) + post("/a/records", "X: "+strings.Repeat("x", 12<<10), "{}")},
		conversation{"request that is changed by its handler", 2, post("/a/records", "Do: change", "{}") + ok},
		conversation{"body that is a request", 2, post("/a/records", "", ok) + ok},
	)
	for deed := range deeds {
		n := 3
		switch deed {
		case "bad status", "panic", "abort", "late abort", "close", "too short":
			n = 2 // and the connection ends
		}
		list = append(list, conversation{"handler: " + deed, n, ok + post("/a/records", "Do: "+deed, "{}") + ok})
	}
	return list
}
