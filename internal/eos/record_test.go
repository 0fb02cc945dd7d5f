package eos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestP4FingerprintCoversEveryField(t *testing.T) {
	t.Parallel()
	base := Record{Key: []byte("ab"), Value: []byte("cd"), Headers: []Header{{"n", "v"}}, Timestamp: -1, Partition: -1}
	with := func(change func(*Record)) []Record {
		r := base
		r.Headers = slices.Clone(base.Headers)
		change(&r)
		return []Record{r}
	}
	seen := map[Fingerprint]string{}
	for name, records := range map[string][]Record{
		"as it is":                       {base},
		"twice":                          {base, base},
		"no record":                      {},
		"an empty record":                {{}},
		"two empty records":              {{}, {}},
		"a byte moved from value to key": with(func(r *Record) { r.Key, r.Value = []byte("abc"), []byte("d") }),
		"a byte moved from key to value": with(func(r *Record) { r.Key, r.Value = []byte("a"), []byte("bcd") }),
		"all in the key":                 with(func(r *Record) { r.Key, r.Value = []byte("abcd"), nil }),
		"all in the value":               with(func(r *Record) { r.Key, r.Value = nil, []byte("abcd") }),
		"header name takes from value":   with(func(r *Record) { r.Headers[0] = Header{"nv", ""} }),
		"header value takes from name":   with(func(r *Record) { r.Headers[0] = Header{"", "nv"} }),
		"no header":                      with(func(r *Record) { r.Headers = nil }),
		"an empty header more":           with(func(r *Record) { r.Headers = append(r.Headers, Header{}) }),
		"the header twice":               with(func(r *Record) { r.Headers = append(r.Headers, r.Headers[0]) }),
		"a null key":                     with(func(r *Record) { r.Flags = KeyNull }),
		"a binary key":                   with(func(r *Record) { r.Flags = KeyBinary }),
		"a null value":                   with(func(r *Record) { r.Flags = ValueNull }),
		"a binary value":                 with(func(r *Record) { r.Flags = ValueBinary }),
		"a timestamp":                    with(func(r *Record) { r.Timestamp = 0 }),
		"a partition":                    with(func(r *Record) { r.Partition = 0 }),
	} {
		sum := FingerprintRecords(records)
		if other, ok := seen[sum]; ok {
			t.Errorf("%q and %q have the same fingerprint", name, other)
		}
		seen[sum] = name
	}
}

func TestP4FingerprintIsStable(t *testing.T) {
	t.Parallel()
	// It is stored with every request: another one would refuse every retry
	// over an upgrade.
	records := []Record{{Key: []byte("k"), Value: []byte(`{"a":1}`), Headers: []Header{{"n", "v"}}, Timestamp: 12, Partition: 3}}
	if got, want := fmt.Sprintf("%x", FingerprintRecords(records)), "a65efc4ffdb3ee73a52d5fa173191a1f"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestP4FingerprintsOfDifferentListsDiffer draws pairs that share their bytes
// and differ in where fields, headers and records begin.
func TestP4FingerprintsOfDifferentListsDiffer(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[ab\x00]{0,12}`)
	record := rapid.Custom(func(t *rapid.T) Record {
		r := Record{Flags: Flags(rapid.IntRange(0, 3).Draw(t, "flags")), Timestamp: -1, Partition: -1}
		r.Key, r.Value = []byte(text.Draw(t, "key")), []byte(text.Draw(t, "value"))
		for range rapid.IntRange(0, 2).Draw(t, "headers") {
			r.Headers = append(r.Headers, Header{text.Draw(t, "name"), text.Draw(t, "value")})
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(record, 1, 3).Draw(t, "records")
		b := slices.Clone(a)
		at := rapid.IntRange(0, len(b)-1).Draw(t, "record")
		r := &b[at]
		r.Headers = slices.Clone(r.Headers)
		switch rapid.SampledFrom([]string{"key and value", "name and value", "header and record", "records"}).Draw(t, "between") {
		case "key and value":
			both := slices.Concat(r.Key, r.Value)
			cut := rapid.IntRange(0, len(both)).Draw(t, "cut")
			r.Key, r.Value = both[:cut], both[cut:]
		case "name and value":
			for i, h := range r.Headers {
				both := h.Name + h.Value
				cut := rapid.IntRange(0, len(both)).Draw(t, "cut")
				r.Headers[i] = Header{both[:cut], both[cut:]}
			}
		case "header and record":
			if at+1 < len(b) {
				all := slices.Concat(r.Headers, b[at+1].Headers)
				cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
				r.Headers, b[at+1].Headers = all[:cut], all[cut:]
			}
		case "records":
			b = slices.Concat(b[at:], b[:at])
		}
		same := cmp.Equal(a, b, cmpopts.EquateEmpty())
		if got := FingerprintRecords(a) == FingerprintRecords(b); got != same {
			t.Fatalf("same records: %v; same fingerprint: %v", same, got)
		}
	})
}

func TestSizeIsWhatLimitsCount(t *testing.T) {
	t.Parallel()
	r := Record{Key: []byte("ab"), Value: []byte("cde"), Headers: []Header{{"f", "gh"}, {"", "i"}}, Timestamp: 1 << 40, Partition: 7}
	if got := r.Size(); got != 9 {
		t.Errorf("got %d, want 9", got)
	}
}

func BenchmarkFingerprint(b *testing.B) {
	for _, size := range []int{1, 100} {
		records := slices.Repeat([]Record{{Key: []byte("customer-17"), Value: []byte(strings.Repeat("x", 200)), Headers: []Header{{"trace", "ab12"}}, Timestamp: -1, Partition: -1}}, size)
		b.Run(fmt.Sprintf("records=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size * records[0].Size()))
			for b.Loop() {
				_ = FingerprintRecords(records)
			}
		})
	}
}
