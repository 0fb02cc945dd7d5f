package traffic

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The encodings of bodies.
const (
	gzipEncoding = "gzip"
	zstdEncoding = "zstd"
)

var encodings = []string{gzipEncoding, zstdEncoding}

// packer packs, and unpacker unpacks, for all; EncodeAll and DecodeAll may be called by many at once.
var (
	packer   = must(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)))
	unpacker = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0)))
)

// must returns what was made with options that are right.
func must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}

func gzipped(b []byte) []byte {
	var to bytes.Buffer
	w := gzip.NewWriter(&to)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Close()
	return to.Bytes()
}

// unpacked returns a body as it was before its encoding.
func unpacked(encoding string, b []byte) ([]byte, error) {
	switch encoding {
	case "":
		return b, nil
	case gzipEncoding:
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case zstdEncoding:
		return unpacker.DecodeAll(b, nil)
	}
	return nil, fmt.Errorf("encoding %q", encoding)
}
