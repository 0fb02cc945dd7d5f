package handlers

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/store"
)

// newEqualBatch returns a batch of records with values of so many bytes.
func newEqualBatch(records, size int) *store.Batch {
	b := &store.Batch{Count: records}
	for range records {
		key := int32(len(b.Body))
		b.Body = append(b.Body, bytes.Repeat([]byte("1"), size)...)
		b.Ends = append(b.Ends, key, int32(len(b.Body)))
	}
	return b
}

// TestEventPiecesAreBounded: a piece ends with the record that fills it, takes
// the memory that it has, and gives it back.
func TestEventPiecesAreBounded(t *testing.T) {
	t.Parallel()
	const records, size, around = 1000, 1000, 200
	b := newEqualBatch(records, size)
	for _, sse := range []bool{true, false} {
		mem := &memory{limit: 1 << 30}
		l := &eventLines{sse: sse, memory: mem}
		pieces := 0
		for at := 0; at < records; pieces++ {
			l.size = smallEventPiece
			added, err := l.add(b, at, records, -1, appendOffset)
			if err != nil || added == 0 {
				t.Fatalf("at %d: added %d, %v", at, added, err)
			}
			at += added
			if got := len(l.buf); got > smallEventPiece+size+around || at < records && got < smallEventPiece {
				t.Errorf("a piece of %d bytes", got)
			}
			if used := mem.used.Load(); used < int64(len(l.buf)) || used > smallEventPiece+size+around+eventMemory {
				t.Errorf("%d bytes are counted for %d", used, len(l.buf))
			}
			if !bytes.Contains(l.buf, []byte(`"offset":`+strconv.Itoa(at-1)+`,`)) {
				t.Errorf("record %d is missing", at-1)
			}
			l.release()
		}
		if used := mem.used.Load(); used != 0 || pieces < records*size/(smallEventPiece+size+around) {
			t.Errorf("%d pieces, %d bytes are still counted", pieces, used)
		}
	}
}
