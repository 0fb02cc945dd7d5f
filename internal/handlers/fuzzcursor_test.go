package handlers

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

// FuzzCursor reads any text as a cursor: it is one that is written as the same
// text again, or is refused; and takes no more memory than its length allows.
func FuzzCursor(f *testing.F) {
	for _, c := range []cursor{
		{offsets: []int64{0}},
		{topicID: 7, first: 1, offsets: []int64{127, 128, 1 << 20}},
		{topicID: eos.MaxInteger, first: 2, offsets: []int64{eos.MaxInteger, 0, eos.MaxInteger}},
		{topicID: 1, offsets: make([]int64, eos.MaxPartitions)},
		{topicID: 1, offsets: make([]int64, eos.MaxPartitions+1)},
	} {
		f.Add(c.encode())
	}
	for _, text := range []string{
		"", "A", "AQ", "AQEA", "AQEAAA", "AQEAA==", "AQEBAA", "AgEAAA", "AQGAAAA", "AQH__________38AAA", "AQEAAB",
		"AQEA\nAA", "AQEA.AA", "AQEA+/AA", "AQ_-",
		strings.Repeat("AQEA", 4000), strings.Repeat("_", 4000),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c *cursor
		var err error
		took := allocated(func() { c, err = decodeCursor(text) })
		if most := uint64(128*len(text) + 1<<20); took > most { // others allocate, too
			t.Fatalf("%d bytes of memory for a cursor of %d", took, len(text))
		}
		switch {
		case err != nil:
			mustBeRefusal(t, err, eos.InvalidParameter)
		case c.encode() != text:
			t.Fatalf("the cursor %q is written as %q", text, c.encode())
		case c.topicID < 0, len(c.offsets) < 1, len(c.offsets) > eos.MaxPartitions, c.first < 0, c.first >= len(c.offsets):
			t.Fatalf("the cursor %q is %+v", text, c)
		}
	})
}

// FuzzCursorRoundTrip writes any position and reads it back: numbers are eight
// bytes each, the topic first and then an offset of each partition.
func FuzzCursorRoundTrip(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 8), eos.MaxInteger), 128), uint16(1))
	f.Fuzz(func(t *testing.T, numbers []byte, first uint16) {
		want := cursor{offsets: []int64{0}}
		next := func() (n int64) {
			var word [8]byte
			numbers = numbers[copy(word[:], numbers):]
			return int64(binary.BigEndian.Uint64(word[:]) & eos.MaxInteger)
		}
		want.topicID = next()
		for len(numbers) > 0 && len(want.offsets) < eos.MaxPartitions {
			want.offsets = append(want.offsets, next())
		}
		want.first = int(first) % len(want.offsets)
		got, err := decodeCursor(want.encode())
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(cursor{})); diff != "" {
			t.Fatalf("written (-) and read (+): %s", diff)
		}
	})
}
