package shortcut

import (
	"bytes"
	"net/http"
	"net/textproto"

	"github.com/eos-proxy/eos-proxy/internal/charset"
)

// What the parts of a head may consist of: less than RFC 9110 and RFC 3986 allow
// them, and nothing that has a second meaning.
const alphanumeric = charset.Letters + charset.Digits

var (
	pathChars  = charset.Of(alphanumeric + "/._-")
	queryChars = charset.Of(alphanumeric + "._-=&")
	hostChars  = charset.Of(alphanumeric + "._-:") // of a name or an address, with or without a port
	tokenChars = charset.Of(alphanumeric + "-")    // of the name of a header
	valueChars = charset.Of(alphanumeric + charset.Visible + " ")
)

// parse reads the head of a request into c.method, path, query, host and header.
// It takes only what has one meaning in HTTP/1.1 (RFC 9112): an origin-form
// target of plain characters, header lines that end with CR LF, printable
// values, one Host, one Content-Length with a POST and none with a GET, and no
// header that changes how the message is read or answered. Everything else is
// for net/http. With more, size is 0 as long as it is not known.
func (c *conn) parse(b []byte) (head, size int, v verdict) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) >= readBytes || !begins(b, "POST ") && !begins(b, "GET ") || hasBareLineFeed(b) {
			return 0, 0, others
		}
		return 0, 0, more
	}
	if end+4 > readBytes {
		return 0, 0, others // within the smallest limit that net/http can have
	}
	line, lines, _ := bytes.Cut(b[:end], []byte("\r\n"))
	if !c.target(line) {
		return 0, 0, others
	}
	length, ok := c.headers(lines)
	if !ok || (length > 0) != (c.method == http.MethodPost) || end+4+length > maxBytes {
		return 0, 0, others
	}
	head, size = end+4, end+4+length
	if size > len(b) {
		return head, size, more
	}
	return head, size, served
}

// hasBareLineFeed reports whether a line ends without CR. net/http takes that;
// so no end that would be one for here need be waited for.
func hasBareLineFeed(b []byte) bool {
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') {
			return true
		}
	}
	return false
}

// begins reports whether b begins with a text, as far as b goes.
func begins(b []byte, text string) bool {
	n := min(len(b), len(text))
	return string(b[:n]) == text[:n]
}

// target reads the request line, and reports whether it is one for here.
func (c *conn) target(line []byte) bool {
	line, ok := bytes.CutSuffix(line, []byte(" HTTP/1.1"))
	if !ok {
		return false
	}
	method := http.MethodPost
	path, ok := bytes.CutPrefix(line, []byte("POST "))
	if !ok {
		method = http.MethodGet
		if path, ok = bytes.CutPrefix(line, []byte("GET ")); !ok {
			return false
		}
	}
	path, query, asks := bytes.Cut(path, []byte("?"))
	if !isPlain(path) || asks && (method != http.MethodGet || len(query) == 0 || !charset.Only(queryChars, query)) {
		return false
	}
	if c.path != string(path) {
		if !c.listener.cfg.Takes(string(path)) {
			return false
		}
		c.path = string(path)
	}
	c.method = method
	if c.query != string(query) {
		c.query = string(query)
	}
	return true
}

// isPlain reports whether a path has only characters that mean themselves, and
// no segment that another reader would resolve.
func isPlain(path []byte) bool {
	return len(path) > 0 && path[0] == '/' && charset.Only(pathChars, path) &&
		!bytes.Contains(path, []byte("//")) && !bytes.Contains(path, []byte("/."))
}

// changing are the headers that change how a message is read or answered; and
// Pragma, from which net/http makes another one.
var changing = map[string]bool{
	"Connection": true, "Content-Encoding": true, "Expect": true, "Http2-Settings": true, "Keep-Alive": true,
	"Pragma": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// headers reads the header lines, and returns the Content-Length.
func (c *conn) headers(lines []byte) (length int, ok bool) {
	h := c.header
	clear(h)
	host := false
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		at := bytes.IndexByte(line, ':')
		if at < 1 || !charset.Only(tokenChars, line[:at]) {
			return 0, false
		}
		value := bytes.Trim(line[at+1:], " \t")
		if !charset.Only(valueChars, value) {
			return 0, false
		}
		name := canonical(line[:at])
		switch {
		case name == "Host":
			if host || len(value) == 0 || !charset.Only(hostChars, value) {
				return 0, false
			}
			host = true
			if c.host != string(value) {
				c.host = string(value)
			}
			continue
		case name == "Content-Length":
			if length != 0 || len(value) == 0 || len(value) > 6 || value[0] == '0' {
				return 0, false
			}
			for _, d := range value {
				if d < '0' || d > '9' {
					return 0, false
				}
				length = 10*length + int(d-'0')
			}
		case name == "Connection" && bytes.EqualFold(value, []byte("keep-alive")):
		case changing[name]:
			return 0, false
		}
		h[name] = append(h[name], string(value))
	}
	return length, host
}

// canonical returns the name of a header as net/http writes it.
func canonical(name []byte) string {
	if known, ok := names[string(name)]; ok {
		return known
	}
	return textproto.CanonicalMIMEHeaderKey(string(name))
}

// names are the headers that most requests have, in the forms in which clients
// write them.
var names = func() map[string]string {
	known := map[string]string{}
	for _, name := range []string{
		"Host", "User-Agent", "Accept", "Accept-Encoding", "Content-Type", "Content-Length", "Connection",
		"Producer-Id", "Producer-Epoch", "Producer-Seq", "Idempotency-Key", "Transactional-Id", "Transaction-Id", "Request-Id",
	} {
		known[name], known[string(bytes.ToLower([]byte(name)))] = name, name
	}
	return known
}()
