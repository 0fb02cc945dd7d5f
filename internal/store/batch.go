package store

import (
	"encoding/binary"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Batch is one batch of a log as a fetch finds it, in a row or in memory. Its
// bytes belong to others: they must not be changed, nor kept for longer than
// the call that brought them.
type Batch struct {
	BaseOffset int64
	Count      int
	Timestamp  int64    // of the records that have none of their own
	Body       []byte   // see Packed
	Ends       []int32  // see Packed
	Flags      []byte   // see Packed
	Timestamps []int64  // see Packed
	headers    [][]byte // of a row; see Packed
	packed     *Packed  // of a batch in memory, for its headers; nil for a row
}

// Record is one record as a fetch returns it. Key and Value lie in the batch's
// body and must not be changed.
type Record struct {
	Offset    int64
	Timestamp int64
	Flags     eos.Flags
	Key       []byte
	Value     []byte
	Headers   string // JSON; empty when it has none
}

// Size returns the bytes that limits count, with the JSON of the headers.
func (r *Record) Size() int { return len(r.Key) + len(r.Value) + len(r.Headers) }

// Record returns the i-th record of the batch, from 0.
func (b *Batch) Record(i int) Record {
	key, value := b.KeyValue(i)
	return Record{
		Offset:    b.BaseOffset + int64(i),
		Timestamp: b.TimestampAt(i),
		Flags:     b.FlagsAt(i),
		Key:       key,
		Value:     value,
		Headers:   string(b.AppendHeaders(nil, i)),
	}
}

// KeyValue returns the key and the value of the i-th record.
func (b *Batch) KeyValue(i int) (key, value []byte) {
	end := b.Ends[2*i]
	return b.Body[b.start(i):end], b.Body[end:b.Ends[2*i+1]]
}

// start returns where in the body the i-th record begins.
func (b *Batch) start(i int) int32 {
	if i == 0 {
		return 0
	}
	return b.Ends[2*i-1]
}

// FlagsAt returns the flags of the i-th record.
func (b *Batch) FlagsAt(i int) eos.Flags {
	if len(b.Flags) == 0 {
		return 0
	}
	return eos.Flags(b.Flags[min(i, len(b.Flags)-1)])
}

// TimestampAt returns the timestamp of the i-th record.
func (b *Batch) TimestampAt(i int) int64 {
	if len(b.Timestamps) > 0 && b.Timestamps[i] >= 0 { // in memory -1 stands for the batch's
		return b.Timestamps[i]
	}
	return b.Timestamp
}

// HasHeaders reports whether a record of the batch has headers.
func (b *Batch) HasHeaders() bool {
	return b.headers != nil || b.packed != nil && b.packed.Headers != nil
}

// AppendHeaders appends the JSON of the i-th record's headers; nothing when it
// has none.
func (b *Batch) AppendHeaders(to []byte, i int) []byte {
	switch {
	case b.headers != nil:
		return append(to, b.headers[i]...)
	case b.packed != nil && b.packed.Headers != nil && b.packed.Headers[i] != nil:
		return append(to, *b.packed.Headers[i]...)
	}
	return to
}

func (b *Batch) headersSize(i int) int {
	switch {
	case b.headers != nil:
		return len(b.headers[i])
	case b.packed != nil && b.packed.Headers != nil && b.packed.Headers[i] != nil:
		return len(*b.packed.Headers[i])
	}
	return 0
}

// Size returns the bytes that limits count of the records from one to before
// another.
func (b *Batch) Size(from, to int) int {
	if from >= to {
		return 0
	}
	size := int(b.Ends[2*to-1] - b.start(from))
	if b.HasHeaders() {
		for i := from; i < to; i++ {
			size += b.headersSize(i)
		}
	}
	return size
}

// inMemory makes b the batch that the tail holds.
func (b *Batch) inMemory(at *tailBatch) {
	p := at.packed
	*b = Batch{
		BaseOffset: at.base, Count: p.Count, Timestamp: at.timestamp,
		Body: p.Body, Ends: p.Ends, Flags: p.Flags, Timestamps: p.Timestamps, packed: p,
	}
}

// rowBatch is a Batch with the memory that reading it from rows takes, to be used
// for one row after the other.
type rowBatch struct {
	Batch
	logStart, highWatermark int64
	ends                    []int32
	heads                   [][]byte
	times                   []int64
}

// The columns of sqlFetch.
const (
	colLogStart = iota
	colHighWatermark
	colBaseOffset
	colCount
	colTimestamp
	colBody
	colEnds
	colFlags
	colHeaders
	colTimestamps
)

// read reads the row that rows are at, and reports whether it has a batch; it
// has none when the log has none there. What it read is valid until the next
// one.
func (b *rowBatch) read(rows pgx.Rows) (bool, error) {
	for _, column := range rows.FieldDescriptions() {
		if column.Format != pgtype.BinaryFormatCode {
			return b.scan(rows) // default_query_exec_mode=exec in the URL, for a pooler
		}
	}
	v := rows.RawValues()
	b.logStart, b.highWatermark = bigint(v[colLogStart]), bigint(v[colHighWatermark])
	if v[colBaseOffset] == nil {
		return false, nil
	}
	b.Batch = Batch{
		BaseOffset: bigint(v[colBaseOffset]),
		Count:      int(binary.BigEndian.Uint32(v[colCount])),
		Timestamp:  bigint(v[colTimestamp]),
		Body:       v[colBody],
		Flags:      v[colFlags],
	}
	ends, err := fixed(v[colEnds], 2*b.Count, 4)
	if err != nil {
		return false, fmt.Errorf("ends: %w", err)
	}
	b.ends = b.ends[:0]
	for ; len(ends) > 0; ends = ends[8:] {
		b.ends = append(b.ends, int32(binary.BigEndian.Uint32(ends[4:])))
	}
	b.Ends = b.ends
	if v[colHeaders] != nil {
		if b.heads, err = texts(v[colHeaders], b.Count, b.heads[:0]); err != nil {
			return false, fmt.Errorf("headers: %w", err)
		}
		b.headers = b.heads
	}
	if v[colTimestamps] != nil {
		times, err := fixed(v[colTimestamps], b.Count, 8)
		if err != nil {
			return false, fmt.Errorf("timestamps: %w", err)
		}
		b.times = b.times[:0]
		for ; len(times) > 0; times = times[12:] {
			b.times = append(b.times, bigint(times[4:]))
		}
		b.Timestamps = b.times
	}
	return true, nil
}

// scan is read for rows in the text format.
func (b *rowBatch) scan(rows pgx.Rows) (bool, error) {
	var base, timestamp *int64
	var count *int
	var headers []*string
	b.Batch = Batch{}
	err := rows.Scan(&b.logStart, &b.highWatermark, &base, &count, &timestamp, &b.Body, &b.Ends, &b.Flags, &headers, &b.Timestamps)
	if err != nil || base == nil {
		return false, err
	}
	b.BaseOffset, b.Count, b.Timestamp = *base, *count, *timestamp
	if headers != nil {
		b.packed = &Packed{Headers: headers}
	}
	return true, nil
}

func bigint(v []byte) int64 { return int64(binary.BigEndian.Uint64(v)) }

// An array in PostgreSQL's binary format (array_send in its source) has the
// number of dimensions, whether there are nulls, the type of the elements, the
// length and the lower bound of the one dimension; then each element behind its
// length, which is -1 for null.
const arrayHead = 20

// fixed returns what follows the head of an array of n elements that have width
// bytes each, behind 4 bytes of length.
func fixed(array []byte, n, width int) ([]byte, error) {
	if len(array) != arrayHead+n*(4+width) || binary.BigEndian.Uint32(array[4:]) != 0 {
		return nil, fmt.Errorf("an array of %d bytes does not hold %d elements of %d", len(array), n, width)
	}
	return array[arrayHead:], nil
}

// texts appends the n elements of an array of texts; nil for null.
func texts(array []byte, n int, to [][]byte) ([][]byte, error) {
	at := arrayHead
	for range n {
		if len(array) < at+4 {
			return to, fmt.Errorf("an array of %d bytes does not hold %d texts", len(array), n)
		}
		size := int(int32(binary.BigEndian.Uint32(array[at:])))
		if at += 4; size < 0 {
			to = append(to, nil)
			continue
		}
		if len(array) < at+size {
			return to, fmt.Errorf("an array of %d bytes does not hold %d texts", len(array), n)
		}
		to = append(to, array[at:at+size])
		at += size
	}
	return to, nil
}
