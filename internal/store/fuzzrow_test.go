package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// drawn makes records of any bytes, each of a few of them.
type drawn struct{ rest []byte }

func (d *drawn) byte() byte {
	if len(d.rest) == 0 {
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *drawn) bytes() []byte {
	n := min(int(d.byte()), len(d.rest))
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// text is bytes that are UTF-8 without NUL, as all text is that comes in.
func (d *drawn) text() string {
	return string(bytes.ReplaceAll(bytes.ToValidUTF8(d.bytes(), []byte("?")), []byte{0}, []byte("0")))
}

func (d *drawn) record() eos.Record {
	form := d.byte()
	r := eos.Record{Flags: eos.Flags(form & 0xF), Timestamp: -1, Partition: -1}
	if r.Flags&eos.KeyNull == 0 {
		r.Key = d.bytes()
	}
	if r.Flags&eos.ValueNull == 0 {
		r.Value = d.bytes()
	}
	if form&0x10 != 0 {
		var word [8]byte
		copy(word[:], d.bytes())
		r.Timestamp = int64(binary.BigEndian.Uint64(word[:]) % (eos.MaxTimestamp + 1))
	}
	for range form >> 5 & 3 {
		r.Headers = append(r.Headers, eos.Header{Name: d.text(), Value: d.text()})
	}
	return r
}

// FuzzRow packs any records, writes them as the row of a COPY, reads that as the
// row of a fetch, and as what stands in memory: each time they are the same.
func FuzzRow(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{0, 1, 'k', 1, '7'}, uint8(1))
	f.Add([]byte{1, 1, '7', 4, 1, 'k', 0x1A, 1, 'k', 3, 1, 2, 3, 8, 0, 0, 1, 0x92, 0, 0, 0, 0, 0x20, 0, 0, 2, 'n', '"', 3, 0xff, 0, '\\'}, uint8(4))
	f.Add(append([]byte{0x63, 200}, bytes.Repeat([]byte{0xC3, 0xA9}, 300)...), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, more uint8) {
		d := drawn{data}
		records := []eos.Record{d.record()}
		for range more % 16 {
			records = append(records, d.record())
		}
		const base, now = 41, 1_700_000_000_000
		r := row{log: 7, baseOffset: base, maxTimestamp: now, Packed: Pack(records)}
		want := wantRecords(t, records, base, now)
		var inMemory Batch
		inMemory.inMemory(&tailBatch{base: base, timestamp: now, packed: r.Packed})
		mustBeRecords(t, "in memory", &inMemory, want)
		var inRow rowBatch
		if ok, err := inRow.read(fetchedRow(t, r.appendTuple(nil, now))); err != nil || !ok {
			t.Fatalf("the row is read as %v, %v", ok, err)
		}
		mustBeRecords(t, "in a row", &inRow.Batch, want)
	})
}

// wantRecords is what a fetch is to find of records.
func wantRecords(t *testing.T, records []eos.Record, base, now int64) []Record {
	t.Helper()
	want := make([]Record, len(records))
	for i, r := range records {
		want[i] = Record{Offset: base + int64(i), Timestamp: r.Timestamp, Flags: r.Flags, Key: r.Key, Value: r.Value}
		if r.Timestamp < 0 {
			want[i].Timestamp = now
		}
		if headers := packHeaders(r.Headers); headers != nil {
			want[i].Headers = *headers
			mustBeHeaders(t, *headers, r.Headers)
		}
	}
	return want
}

// mustBeHeaders fails unless encoding/json reads the same headers.
func mustBeHeaders(t *testing.T, text string, want []eos.Header) {
	t.Helper()
	var got []eos.Header
	if err := json.Unmarshal([]byte(text), &got); err != nil || !slices.Equal(want, got) || !utf8.ValidString(text) {
		t.Fatalf("headers %q are read as %q, %v, want %q", text, got, err, want)
	}
}

func mustBeRecords(t *testing.T, where string, b *Batch, want []Record) {
	t.Helper()
	got := make([]Record, b.Count)
	size := 0
	for i := range got {
		got[i] = b.Record(i)
		size += got[i].Size()
	}
	same := slices.EqualFunc(want, got, func(a, b Record) bool {
		return a.Offset == b.Offset && a.Timestamp == b.Timestamp && a.Flags == b.Flags && a.Headers == b.Headers &&
			bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
	})
	if !same {
		t.Fatalf("sent (-) and %s (+): %s", where, cmp.Diff(want, got, cmpopts.EquateEmpty()))
	}
	if b.Size(0, b.Count) != size {
		t.Fatalf("%s: %d bytes count as %d", where, size, b.Size(0, b.Count))
	}
}

// fetched is one row as pgx hands it out, in binary form.
type fetched struct {
	pgx.Rows
	values [][]byte
}

func (f *fetched) RawValues() [][]byte { return f.values }

func (f *fetched) FieldDescriptions() []pgconn.FieldDescription {
	fields := make([]pgconn.FieldDescription, len(f.values))
	for i := range fields {
		fields[i].Format = pgtype.BinaryFormatCode
	}
	return fields
}

// fetchedRow returns the row that sqlFetch finds of a tuple of sqlCopyBatches.
func fetchedRow(t *testing.T, tuple []byte) *fetched {
	t.Helper()
	n := int(binary.BigEndian.Uint16(tuple))
	tuple = tuple[2:]
	columns := make([][]byte, n)
	for i := range columns {
		size := int(int32(binary.BigEndian.Uint32(tuple)))
		if tuple = tuple[4:]; size >= 0 {
			columns[i], tuple = tuple[:size:size], tuple[size:]
		}
	}
	if len(tuple) != 0 || n != 21 {
		t.Fatalf("%d bytes behind the %d columns of a tuple", len(tuple), n)
	}
	for _, numbers := range [][]byte{columns[16], columns[20]} {
		if numbers != nil { // we say that there may be nulls; PostgreSQL looks, and says that there are none
			binary.BigEndian.PutUint32(numbers[4:], 0)
		}
	}
	end := binary.BigEndian.AppendUint64(nil, 99)
	return &fetched{values: [][]byte{
		end, end, columns[1], columns[2], columns[19], columns[15], columns[16], columns[17], columns[18], columns[20],
	}}
}

// FuzzArrays reads any bytes as arrays: as many elements as asked for, or an
// error. What pgx writes, we read; what we write, pgx reads.
func FuzzArrays(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add(appendArray(nil, oidText, 2, func(b []byte, i int) []byte { return appendOrNull(b, i > 0, "text") })[4:], uint8(2))
	f.Add(appendArray(nil, oidInt8, 2, func(b []byte, _ int) []byte { return appendInt8(b, -1) })[4:], uint8(2))
	f.Add(make([]byte, arrayHead), uint8(0))
	f.Add(bytes.Repeat([]byte{0x7f}, 40), uint8(3))
	types := pgtype.NewMap()
	f.Fuzz(func(t *testing.T, data []byte, n uint8) {
		list, err := texts(data, int(n), nil)
		if err == nil && len(list) != int(n) {
			t.Fatalf("%d texts of %d", len(list), n)
		}
		for _, width := range []int{4, 8} {
			if rest, err := fixed(data, int(n), width); err == nil && len(rest) != int(n)*(4+width) {
				t.Fatalf("%d bytes of %d elements", len(rest), n)
			}
		}
		d := drawn{data}
		numbers, words := make([]int64, n), make([]*string, n)
		for i := range numbers {
			for range 8 {
				numbers[i] = numbers[i]<<8 | int64(d.byte())
			}
			if d.byte()%3 > 0 {
				text := d.text()
				words[i] = &text
			}
		}
		mustExchange(t, types, pgtype.Int8ArrayOID, numbers, appendArray(nil, oidInt8, len(numbers), func(b []byte, i int) []byte {
			return appendInt8(b, numbers[i])
		})[4:])
		mustExchange(t, types, pgtype.TextArrayOID, words, appendArray(nil, oidText, len(words), func(b []byte, i int) []byte {
			if words[i] == nil {
				return appendNull(b)
			}
			return appendBytes(b, *words[i])
		})[4:])
		theirs, err := types.Encode(pgtype.TextArrayOID, pgtype.BinaryFormatCode, words, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return // an empty array has no dimension, and no batch is empty
		}
		list, err = texts(theirs, len(words), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range words {
			if (list[i] == nil) != (w == nil) || w != nil && string(list[i]) != *w {
				t.Fatalf("text %d is %q, want %v", i, list[i], w)
			}
		}
	})
}

// mustExchange fails unless pgx reads an array as what it was made of.
func mustExchange[T any](t *testing.T, types *pgtype.Map, oid uint32, want []T, encoded []byte) {
	t.Helper()
	var got []T
	if err := types.Scan(oid, pgtype.BinaryFormatCode, encoded, &got); err != nil {
		t.Fatalf("pgx reads %x: %v", encoded, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("written (-) and read by pgx (+): %s", diff)
	}
}
