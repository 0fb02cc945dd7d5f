package shortcut

import (
	"fmt"
	"slices"
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

// plainPost takes the shortcut.
var plainPost = post("/a/records", "Content-Type: application/json", "{}")

const get = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

// conversations are the ways to be unusual that a front door meets. Behind what
// must be refused or read otherwise comes a request that would be smuggled if it
// were not.
func conversations() []conversation {
	return slices.Concat(sequences(), requestLines(), headers(), lengthsAndHosts(), framings(), answered())
}

// sequences are conversations about what comes behind what.
func sequences() []conversation {
	ok := plainPost
	return []conversation{
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
}

// requestLines are conversations about targets and versions.
func requestLines() (list []conversation) {
	ok := plainPost
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
	return list
}

// headers are conversations about one or more header lines, which stand between
// Host and Content-Length: 2.
func headers() (list []conversation) {
	taken := []string{
		"X: 1", "X:1", "X:", "X:  \t 1 \t ", "x-lower: 1|X-LOWER: 2|X-lOWeR: 3", "producer-seq: 1|PRODUCER-SEQ: 2",
		"Producer-Seq: 1|Producer-Seq: 2", "Producer-Seq: 1, 2", "Producer-Seq: 1|producer-seq: ",
		"Idempotency-Key: \"a\"|idempotency-key: b", "Content-Type: a|content-type: b", "9-9: 1", "-: 1", "X-Transfer-Encoding: chunked",
		"Connection: keep-alive", "Connection: Keep-Alive", "connection: KEEP-ALIVE|Connection: keep-alive", "Cookie: a=b|Cookie: c=d",
		"Authorization: Basic YTpi", "Accept-Encoding: gzip", "Max-Forwards: 0", "Range: bytes=0-1",
		"Origin: http://evil|Sec-Fetch-Site: cross-site", "X: " + strings.Repeat("x", 3<<10),
		strings.TrimSuffix(strings.Repeat("X: 1|", 200), "|"),
	}
	others := []string{
		"X_y: 1", "X.y: 1", "X!#$%&'*+.^_`|~: 1", "X : 1", "X\t: 1", " X: 1", "\tX: 1", ": 1", "X", "X Y: 1", "(X): 1", "X\x00: 1",
		"Ä: 1", "X: 1| folded", "X: 1|\tfolded: 2", " |X: 1", "X: a\tb", "X: a\x00b", "X: a\x01b", "X: a\x7fb", "X: \xff", "X: ä",
		"X: \r", "X: a\rb: c", "X: a\nY: b", "X: a\n|Y: b", "\nX: a", "Transfer-Encoding: chunked", "transfer-encoding: chunked",
		"Transfer-Encoding: identity", "Transfer-Encoding:", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: chunked|Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked",
		"Transfer-Encoding: \vchunked", "Transfer-Encoding:\n chunked", "X: 1\nTransfer-Encoding: chunked",
		"Transfer\x00-Encoding: chunked", "Connection: close", "Connection: Close", "Connection: keep-alive, close",
		"Connection: keep-alive|Connection: close", "Connection: upgrade|Upgrade: websocket", "Upgrade: websocket",
		"HTTP2-Settings: AAMAAABkAAQAAP__", "Upgrade: h2c|Connection: Upgrade, HTTP2-Settings|HTTP2-Settings: AAMAAABkAAQAAP__",
		"Connection: X|X: 1", "Connection:", "Connection: producer-seq|Producer-Seq: 1", "Keep-Alive: timeout=5",
		"Proxy-Connection: close", "Expect: 100-continue", "expect: 100-Continue", "Expect: something", "Expect:", "TE: trailers",
		"Trailer: X", "Trailer: Content-Length", "Pragma: no-cache", "Content-Encoding: gzip", "Host: b", "Host: a", "host: b", "Host:",
		"Content-Length: 2", "Content-Length: 3", "content-length: 0", "Content-Length:", "Content-Length: 2, 2",
		"X: " + strings.Repeat("x", readBytes), "X: " + strings.Repeat("x", 20<<10),
		strings.TrimSuffix(strings.Repeat("X: 1|", 2000), "|"),
	}
	for _, line := range taken {
		list = append(list, conversation{fmt.Sprintf("header %.60q", line), 2, post("/a/records", line, "{}") + plainPost})
	}
	for _, line := range others {
		list = append(list, conversation{fmt.Sprintf("header %.60q", line), 0, post("/a/records", line, "{}") + plainPost})
	}
	return list
}

// lengthsAndHosts are conversations about the two headers that each request has.
func lengthsAndHosts() (list []conversation) {
	ok := plainPost
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
	return list
}

// framings are conversations about where a head and a body end.
func framings() []conversation {
	ok := plainPost
	return []conversation{
		{"no host", 0, head("Content-Length: 2\r\n", "{}") + ok},
		{"no header", 0, head("", "{}") + ok},
		{"length first, host last", 2, head("Content-Length: 2\r\nHost: a\r\n", "{}") + ok},
		{"chunked body", 0, head("Host: a\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n") + ok},
		{"chunked first, then length", 0, head("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", "2\r\n{}\r\n0\r\n\r\n") + ok},
		{"length first, then chunked", 0, head("Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n") + ok},
		{"bare LF everywhere", 0, strings.ReplaceAll(ok, "\r\n", "\n") + ok},
		{"bare CR everywhere", 0, strings.ReplaceAll(ok, "\r\n", "\r") + ok},
		{"head ends with two LF", 0, "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\n{}" + ok},
		{"head ends with LF CR LF", 0, "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Length: 2\n\r\n{}" + ok},
		{"head ends in two ways", 0, "POST /a/records HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nX: 1\n\n{}\r\n\r\n" + ok},
		{"large head behind a large body", 1, post("/a/records", "", strings.Repeat("x", 40<<10)) + post("/a/records", "X: "+strings.Repeat("x", 12<<10), "{}")},
		{"request that is changed by its handler", 2, post("/a/records", "Do: change", "{}") + ok},
		{"body that is a request", 2, post("/a/records", "", ok) + ok},
	}
}

// answered are conversations with handlers that answer in their own ways.
func answered() (list []conversation) {
	ok := plainPost
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
