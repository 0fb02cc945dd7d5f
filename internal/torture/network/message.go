package network

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const maxHead = 1 << 20

// readHead reads the head of a message as it is, up to and with its empty line. Of a connection that ends before it
// began, the error is io.EOF.
func readHead(in *bufio.Reader) (head []byte, err error) {
	for {
		begin := len(head)
		head, err = appendLine(head, in)
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		empty := len(bytes.Trim(head[begin:], "\r\n")) == 0
		switch {
		case empty && begin == 0:
			head = head[:0] // RFC 9112, 2.2: an empty line before a request is to be ignored
		case empty:
			return head, nil
		}
	}
}

// appendLine appends a line, which ends with \n.
func appendLine(head []byte, in *bufio.Reader) ([]byte, error) {
	for {
		piece, err := in.ReadSlice('\n')
		if head = append(head, piece...); len(head) > maxHead {
			return head, bufio.ErrBufferFull
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return head, err
		}
	}
}

// parseRequest reads the head of a request, and no body.
func parseRequest(head []byte) (*http.Request, error) {
	return http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(head), 64))
}

// parseAnswer reads the head of the answer to a request, and no body.
func parseAnswer(head []byte, req *http.Request) (*http.Response, error) {
	return http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(head), 64), req)
}

// untilClosed is the size of a body that ends with its connection.
const untilClosed = -1

// A body takes the body of a message off a connection, as it is on the way: chunks with their sizes.
type body struct {
	in      *bufio.Reader
	size    int64 // of the whole; unknown if chunked; or untilClosed
	left    int64 // of the whole, or of a chunk and the end of its line
	chunked bool
	trailer bool // the last chunk has come: what follows it ends with an empty line
	ended   bool
}

func bodyOfRequest(in *bufio.Reader, req *http.Request) *body {
	size := max(req.ContentLength, 0)
	return newBody(in, size, req.TransferEncoding)
}

func bodyOfAnswer(in *bufio.Reader, resp *http.Response, method string) *body {
	size := resp.ContentLength
	if method == http.MethodHead || resp.StatusCode < 200 ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		return newBody(in, 0, nil)
	}
	return newBody(in, size, resp.TransferEncoding)
}

func newBody(in *bufio.Reader, size int64, encodings []string) *body {
	chunked := len(encodings) > 0 && encodings[0] == "chunked"
	if chunked {
		size = 0
	}
	return &body{in: in, size: size, left: size, chunked: chunked, ended: size == 0 && !chunked}
}

// next returns a piece of the body as soon as there is one; it is good until the next call. Last says that the piece
// belongs to what ends a chunked body. At the end of the body the error is io.EOF, and where the connection ends
// before, io.ErrUnexpectedEOF.
func (b *body) next() (piece []byte, last bool, err error) {
	switch {
	case b.ended:
		return nil, false, io.EOF
	case b.chunked && b.left == 0:
		return b.line()
	}
	if _, err := b.in.Peek(1); err != nil {
		if errors.Is(err, io.EOF) && b.left != untilClosed {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	n := b.in.Buffered()
	if b.left != untilClosed {
		n = int(min(int64(n), b.left))
		b.left -= int64(n)
		b.ended = b.left == 0 && !b.chunked
	}
	piece, _ = b.in.Peek(n)
	_, _ = b.in.Discard(n)
	return piece, false, nil
}

// line takes a line between chunks, or behind the last.
func (b *body) line() (piece []byte, last bool, err error) {
	piece, err = b.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, false, err
	}
	text := strings.TrimRight(string(piece), "\r\n")
	if b.trailer {
		b.ended = text == ""
		return piece, true, nil
	}
	digits, _, _ := strings.Cut(text, ";")
	size, err := strconv.ParseInt(strings.TrimSpace(digits), 16, 63)
	if err != nil {
		return nil, false, err
	}
	if b.trailer = size == 0; !b.trailer {
		b.left = size + int64(len("\r\n"))
	}
	return piece, b.trailer, nil
}
