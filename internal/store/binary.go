package store

import (
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Values in PostgreSQL's binary form, each with its length before it.

const (
	oidInt4 = pgtype.Int4OID
	oidInt8 = pgtype.Int8OID
	oidText = pgtype.TextOID
)

func appendNull(b []byte) []byte { return append(b, 0xFF, 0xFF, 0xFF, 0xFF) }

func appendInt8(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(n))
}

func appendInt4(b []byte, n int32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(n))
}

func appendBytes[T []byte | string](b []byte, v T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

func appendOrNull[T []byte | string](b []byte, present bool, v T) []byte {
	if !present {
		return appendNull(b)
	}
	return appendBytes(b, v)
}

// epoch is where PostgreSQL counts from: 2000-01-01, in microseconds.
const epoch = 946_684_800_000_000

// appendTime appends a timestamptz, of milliseconds since 1970.
func appendTime(b []byte, ms int64) []byte { return appendInt8(b, ms*1000-epoch) }

// timeOf reads a timestamptz.
func timeOf(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + epoch)
}

// appendArray appends an array of n elements of a type; element appends one.
func appendArray(b []byte, oid uint32, n int, element func(b []byte, i int) []byte) []byte {
	b = append(b, 0, 0, 0, 0)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, 1) // dimensions
	b = binary.BigEndian.AppendUint32(b, 1) // there may be nulls
	b = binary.BigEndian.AppendUint32(b, oid)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, 1) // the first index
	for i := range n {
		b = element(b, i)
	}
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}
