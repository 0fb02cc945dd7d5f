package handlers

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestGzipMembers: members are unpacked one behind the other, however they come
// in; what else stands behind them is named, and what is missing, too.
func TestGzipMembers(t *testing.T) {
	t.Parallel()
	one, empty := zipped("one"), zipped("")
	for name, test := range map[string]struct {
		packed string
		want   string
		err    error
	}{
		"one":                     {one, "one", nil},
		"two":                     {one + zipped("two"), "onetwo", nil},
		"empty ones":              {empty + one + empty, "one", nil},
		"one, and text":           {one + "text", "one", errBehindGzip},
		"one, and a byte":         {one + "\x1f", "one", errBehindGzip},
		"one, and a half":         {one + one[:len(one)/2], "", io.ErrUnexpectedEOF},
		"one, and half of a head": {one + one[:5], "", io.ErrUnexpectedEOF},
		"half of one":             {one[:len(one)-3], "", io.ErrUnexpectedEOF},
	} {
		for way, read := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "end with data": iotest.DataErrReader,
		} {
			z, err := newGzipBody(read(strings.NewReader(test.packed)))
			if err != nil {
				t.Fatalf("%s, %s: %v", name, way, err)
			}
			got, err := io.ReadAll(z)
			whole := test.err == nil || errors.Is(test.err, errBehindGzip) // what there is can be unpacked
			if !errors.Is(err, test.err) || whole && string(got) != test.want {
				t.Errorf("%s, %s: %q, %v; want %q, %v", name, way, got, err, test.want, test.err)
			}
		}
	}
}

// TestGzipBreaksOff: a body that breaks in the middle, or behind a member, is
// not taken for whole.
func TestGzipBreaksOff(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, n := range []int{12, len(zipped("one")) - 1, len(zipped("one"))} {
		z, err := newGzipBody(io.MultiReader(strings.NewReader(zipped("one")[:n]), iotest.ErrReader(broken)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); !errors.Is(err, broken) {
			t.Errorf("behind %d bytes: %q, %v", n, got, err)
		}
	}
}
