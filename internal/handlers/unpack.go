package handlers

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/klauspost/compress/zstd"
)

// unpack returns the body without the Content-Encoding that was given.
func (s *server) unpack(given []string, body io.Reader) (io.ReadCloser, error) {
	switch {
	case len(given) == 0, len(given) == 1 && strings.EqualFold(given[0], "identity"):
		return io.NopCloser(body), nil // net/http closes it: that reads its rest
	case len(given) == 1 && strings.EqualFold(given[0], "gzip"):
		z, err := newGzipBody(body)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, s.idled()
			}
			return nil, eos.InvalidJSON.Errorf("the body is not gzip: %v", err)
		}
		return z, nil
	case len(given) == 1 && strings.EqualFold(given[0], "zstd"):
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(s.cfg.MaxBodyBytes)+1<<20))
		if err != nil {
			return nil, eos.InvalidJSON.Errorf("the body is not zstd: %v", err)
		}
		return z.IOReadCloser(), nil
	default:
		return nil, eos.UnsupportedMedia.Errorf("Content-Encoding is %q; it must be gzip, zstd or none", strings.Join(given, ", "))
	}
}

// gzipBody unpacks gzip members, one behind the other (RFC 1952, section 2.2),
// as gzip.Reader does, but says so when something else follows.
type gzipBody struct {
	*gzip.Reader
	packed *bufio.Reader
}

func newGzipBody(body io.Reader) (*gzipBody, error) {
	packed := bufio.NewReader(body)
	z, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipBody{z, packed}, nil
}

var errBehindGzip = errors.New("something else follows the gzip data")

// Read reads on in the next member behind the end of one.
func (g *gzipBody) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	head, err := g.packed.Peek(2)
	switch {
	case len(head) == 0:
		return n, err
	case string(head) != "\x1f\x8b":
		return n, errBehindGzip
	}
	err = g.Reset(g.packed)
	g.Multistream(false)
	return n, err
}
