package handlers

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// newBatch returns a batch of records with a key and a value of 100 bytes.
func newBatch(records int) *store.Batch {
	b := &store.Batch{BaseOffset: 1_000_000, Count: records, Timestamp: 1_763_000_000_000}
	for i := range records {
		b.Body = fmt.Appendf(b.Body, "customer-%04d", i%10_000)
		b.Ends = append(b.Ends, int32(len(b.Body)))
		b.Body = append(b.Body, `{"pad":"`+strings.Repeat("x", 90)+`"}`...)
		b.Ends = append(b.Ends, int32(len(b.Body)))
	}
	return b
}

func TestEncodingAllocatesNothing(t *testing.T) {
	b := newBatch(1000)
	dated := newBatch(1000)
	for i := range dated.Count {
		dated.Timestamps = append(dated.Timestamps, int64(i))
	}
	buf := make([]byte, 0, 1<<20)
	for what, batch := range map[string]*store.Batch{"one timestamp": b, "timestamps of their own": dated} {
		if n := testing.AllocsPerRun(10, func() { buf = appendRecords(buf[:0], 3, batch, 0, batch.Count) }); n > 0 {
			t.Errorf("%s: %v allocations for 1000 records", what, n)
		}
	}
}

// A text needs no look at all when it is plain; then, too, it is quoted as
// jsontext quotes it.
func TestTextsAreQuoted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`)).Draw(rt, "text")
		want, err := jsontext.AppendQuote(nil, text)
		if got := appendText(nil, []byte(text)); err == nil && !bytes.Equal(got, want) {
			rt.Fatalf("%q is written as %s, want %s", text, got, want)
		}
	})
}

func BenchmarkEncodePage(b *testing.B) {
	batch := newBatch(1000)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecords(buf[:0], -1, batch, 0, batch.Count)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}
