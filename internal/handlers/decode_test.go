package handlers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// documents returns bodies of n records with values of 100 bytes, by media
// type.
func documents(n int) map[string][]byte {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"key":"customer-%04d","value":{"n":%07d,"purpose":%q}}`, i, 1000000+i, strings.Repeat("x", 75))
	}
	return map[string][]byte{
		mediaJSON:   []byte(`{"records":[` + strings.Join(lines, ",") + `]}`),
		mediaNDJSON: []byte(strings.Join(lines, "\n") + "\n"),
	}
}

func newDecoder() *server {
	return &server{cfg: Config{MaxBodyBytes: 10 << 20, MaxRecords: 10_000, MaxJSONDepth: 64}}
}

func mustDecode(tb testing.TB, s *server, body []byte, media string) []eos.Record {
	tb.Helper()
	records, err := s.records(body, media)
	if err != nil {
		tb.Fatal(err)
	}
	return records
}

func BenchmarkDecode1000(b *testing.B) {
	s := newDecoder()
	for media, body := range documents(1000) {
		b.Run(strings.TrimPrefix(media, "application/"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				mustDecode(b, s, body, media)
			}
		})
	}
}

func BenchmarkPack1000(b *testing.B) {
	records := mustDecode(b, newDecoder(), documents(1000)[mediaJSON], mediaJSON)
	b.ReportAllocs()
	for b.Loop() {
		store.Pack(records)
	}
}

func BenchmarkFingerprint1000(b *testing.B) {
	records := mustDecode(b, newDecoder(), documents(1000)[mediaJSON], mediaJSON)
	b.ReportAllocs()
	for b.Loop() {
		eos.FingerprintRecords(records)
	}
}

func BenchmarkRoute1000(b *testing.B) {
	records := mustDecode(b, newDecoder(), documents(1000)[mediaJSON], mediaJSON)
	for name, partitions := range map[string]int{"one partition": 1, "four partitions": 4} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := eos.Route(records, partitions, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
