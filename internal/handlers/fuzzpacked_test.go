package handlers

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// What a packed body may take: the limit of a body three times, as what it is
// gathered in grows, and what the decoders begin with.
const (
	packedLimit  = 64 << 10
	packedMemory = 3*packedLimit + 8<<20
)

// FuzzPacked sends bodies that are packed, or claim to be: any bytes, and bytes
// that are packed, again and again, and then cut or gone on with. What is
// appended is what they unpack to; what does not, or to too much, is refused;
// it takes little memory, and leaves no goroutine behind.
func FuzzPacked(f *testing.F) {
	for _, zstd := range []bool{false, true} {
		for _, times := range []uint16{0, 1, 300, 65535} {
			f.Add([]byte("some bytes, and a few more"), times, uint16(0), []byte{}, zstd)
			f.Add([]byte("some bytes, and a few more"), times, uint16(5), []byte{}, zstd)
			f.Add([]byte("some bytes, and a few more"), times, uint16(0), []byte{0}, zstd)
			f.Add([]byte("some bytes"), times, uint16(0), packGzip("more"), zstd)
			f.Add([]byte("some bytes"), times, uint16(0), packZstd("more"), zstd)
		}
		f.Add(make([]byte, packedLimit), uint16(1), uint16(0), []byte{}, zstd)
		f.Add(make([]byte, packedLimit+1), uint16(1), uint16(0), []byte{}, zstd)
		f.Add([]byte{}, uint16(1), uint16(0), []byte{}, zstd)
		// Heads that ask for much: a window of 2 GiB, a content of 2^63 bytes, a dictionary.
		f.Add([]byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), uint16(0), uint16(0), []byte{}, zstd)
		const large = "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00"
		f.Add([]byte(large), uint16(0), uint16(0), []byte{}, zstd)
		f.Add([]byte("\x28\xb5\x2f\xfd\x23\x01\x00\x00\x00\x00\x01\x00\x00"), uint16(0), uint16(0), []byte{}, zstd)
		f.Add([]byte("\x50\x2a\x4d\x18\xff\xff\xff\xff"), uint16(0), uint16(0), []byte{}, zstd)
		f.Add([]byte("\x1f\x8b\x08\x1c\x00\x00\x00\x00\x00\x00\xff\xffextra"), uint16(0), uint16(0), []byte{}, zstd)
	}
	h, k := newDry(f, Config{MaxBodyBytes: packedLimit, MaxRecords: 10, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64})
	f.Fuzz(func(t *testing.T, data []byte, times, cut uint16, tail []byte, isZstd bool) {
		encoding, pack, unpack := "gzip", packGzip[[]byte], twinGzip
		if isZstd {
			encoding, pack, unpack = "zstd", packZstd[[]byte], twinZstd
		}
		body := data
		if times > 0 {
			body = pack(bytes.Repeat(data, min(int(times), 1+(256<<10)/(1+len(data)))))
			body = body[:len(body)-min(int(cut), len(body))]
		}
		body = append(bytes.Clone(body), tail...)
		plain, want := unpack(body)
		header := http.Header{"Content-Encoding": {encoding}}
		goroutines := runtime.NumGoroutine()
		var got string
		took := allocated(func() {
			w := serveOnce(t, h, http.MethodPost, "/v1/topics/bench/raw", header, bytes.NewReader(body))
			if got = fmt.Sprint(w.Code); w.Code != http.StatusOK {
				got += " " + problemCode(t, w)
			}
		})
		mustLeave(t, goroutines)
		if took > packedMemory {
			t.Fatalf("%d bytes of memory for a body of %d that unpacks to %d", took, len(body), len(plain))
		}
		if !strings.Contains(want, got) {
			t.Fatalf("a body of %d bytes that unpacks to %d: %s, want %s", len(body), len(plain), got, want)
		}
		last := k.appended()
		if (last != nil) != (got == "200") || last != nil && !bytes.Equal(last.Parts[0].Packed.Body, plain) {
			t.Fatalf("%d bytes were appended otherwise, or not: %s", len(plain), got)
		}
	})
}

func packGzip[T []byte | string](data T) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(data))
	_ = z.Close()
	return b.Bytes()
}

var zstdWriter = func() *zstd.Encoder {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return z
}()

func packZstd[T []byte | string](data T) []byte { return zstdWriter.EncodeAll([]byte(data), nil) }

// twinGzip unpacks up to the limit, and returns the answer that is due.
func twinGzip(body []byte) ([]byte, string) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, "400 INVALID_JSON"
	}
	return twinUnpacked(z)
}

// twinZstd is twinGzip. A window that no body within the limit needs may be
// refused as too large.
func twinZstd(body []byte) ([]byte, string) {
	z, err := zstd.NewReader(
		bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(packedLimit+1<<20),
	)
	if err != nil {
		return nil, "400 INVALID_JSON"
	}
	defer z.Close()
	return twinUnpacked(z)
}

func twinUnpacked(from io.Reader) ([]byte, string) {
	plain, err := io.ReadAll(io.LimitReader(from, packedLimit+1))
	switch {
	case len(plain) > packedLimit:
		return plain, "413 MESSAGE_TOO_LARGE"
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, "413 MESSAGE_TOO_LARGE"
	case err != nil:
		return nil, "400 INVALID_JSON"
	}
	return plain, "200"
}
