package handlers

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/klauspost/compress/zstd"
)

// bodyIdle is how long a body may pause between two bytes.
const bodyIdle = 30 * time.Second

// patientBody gives each read of a body its own deadline.
type patientBody struct {
	io.ReadCloser
	conn *http.ResponseController
}

func (b *patientBody) Read(p []byte) (int, error) {
	if err := b.conn.SetReadDeadline(time.Now().Add(bodyIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Media types that bodies come in.
const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
)

// mediaType returns which of the accepted media types a body has.
func mediaType(r *http.Request, accepted ...string) (string, error) {
	given := r.Header.Values("Content-Type")
	if len(given) == 1 {
		media, params, err := mime.ParseMediaType(given[0])
		charset, hasCharset := params["charset"]
		known := len(params) == 0 || len(params) == 1 && hasCharset && strings.EqualFold(charset, "utf-8")
		for _, a := range accepted {
			if err == nil && media == a && known {
				return media, nil
			}
		}
	}
	return "", eos.UnsupportedMedia.Errorf("Content-Type is %q; it must be %s in UTF-8", strings.Join(given, ", "), strings.Join(accepted, " or "))
}

// body reads the whole body, unpacked.
func (s *server) body(r *http.Request) ([]byte, error) {
	unpacked, err := s.unpack(r)
	if err != nil {
		return nil, err
	}
	defer unpacked.Close()
	size := max(512, min(r.ContentLength, s.cfg.MaxBodyBytes)+1)
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unpacked.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > s.cfg.MaxBodyBytes:
			return nil, eos.MessageTooLarge.Errorf("the body is larger than %d bytes", s.cfg.MaxBodyBytes)
		case errors.Is(err, io.EOF):
			return buf, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, eos.RequestTimeout.Errorf("no byte of the body came for %s", bodyIdle)
		case err != nil && r.Context().Err() != nil:
			return nil, r.Context().Err()
		case err != nil:
			return nil, eos.InvalidJSON.Errorf("the body cannot be read: %v", err)
		}
	}
}

// unpack returns the body without its Content-Encoding.
func (s *server) unpack(r *http.Request) (io.ReadCloser, error) {
	switch given := r.Header.Values("Content-Encoding"); {
	case len(given) == 0, len(given) == 1 && strings.EqualFold(given[0], "identity"):
		return r.Body, nil
	case len(given) == 1 && strings.EqualFold(given[0], "gzip"):
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, eos.RequestTimeout.Errorf("no byte of the body came for %s", bodyIdle)
			}
			return nil, eos.InvalidJSON.Errorf("the body is not gzip: %v", err)
		}
		return z, nil
	case len(given) == 1 && strings.EqualFold(given[0], "zstd"):
		z, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(s.cfg.MaxBodyBytes)+1<<20))
		if err != nil {
			return nil, eos.InvalidJSON.Errorf("the body is not zstd: %v", err)
		}
		return z.IOReadCloser(), nil
	default:
		return nil, eos.UnsupportedMedia.Errorf("Content-Encoding is %q; it must be gzip, zstd or none", strings.Join(given, ", "))
	}
}
