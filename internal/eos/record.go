package eos

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// Limits of the contract. MaxInteger is the largest integer that JSON clients
// read exactly (RFC 8259, section 6).
const (
	MaxInteger     = 1<<53 - 1
	MaxTimestamp   = 253402300799999 // 9999-12-31T23:59:59.999Z in milliseconds
	MaxPartitions  = 10_000
	MaxRecordBytes = 256 << 20 // that a topic's limit may be set to
)

// Flags tell the form of a record's key and value.
type Flags uint8

// The forms. A record without flags has a text key and a JSON value.
const (
	KeyNull     Flags = 1 << iota // no key
	KeyBinary                     // the key came as base64 and goes back as base64
	ValueNull                     // a tombstone
	ValueBinary                   // the value came as base64 or raw bytes, and goes back as base64
)

// Header is one header of a record. Names may repeat.
type Header struct {
	Name  string
	Value string
}

// Record is one record as it was sent. Key and Value are the exact bytes: of
// the text or the base64-decoded key, and of the JSON text or the binary value.
type Record struct {
	Key       []byte
	Value     []byte
	Flags     Flags
	Headers   []Header
	Timestamp int64 // milliseconds since 1970 UTC; -1 when the client gave none
	Partition int   // -1 when the client gave none
}

// Size returns the bytes that limits count: key, value and headers.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// Fingerprint identifies the content of a request (rule P4). It is a SHA-256
// cut to 128 bits.
type Fingerprint [16]byte

// Fingerprinter hashes fields in an order, each with its length, so that no
// two different lists of fields have the same bytes.
type Fingerprinter struct {
	h       hash.Hash
	pending []byte // not hashed yet: the fields are small, and hashing has a price per call
	sum     [sha256.Size]byte
}

const (
	pendingSize = 1024 // from which on what is pending is hashed
	smallField  = 512  // up to which a field is copied
)

// NewFingerprinter returns a Fingerprinter that has seen nothing.
func NewFingerprinter() *Fingerprinter {
	return &Fingerprinter{h: sha256.New(), pending: make([]byte, 0, smallField)}
}

// Int adds a number.
func (f *Fingerprinter) Int(n int64) {
	f.pending = binary.BigEndian.AppendUint64(f.pending, uint64(n))
	if len(f.pending) >= pendingSize {
		f.hash()
	}
}

// Bytes adds a field of bytes.
func (f *Fingerprinter) Bytes(b []byte) {
	f.Int(int64(len(b)))
	if len(b) <= smallField {
		f.pending = append(f.pending, b...)
		return
	}
	f.hash()
	f.h.Write(b)
}

// Text adds a field of text.
func (f *Fingerprinter) Text(s string) {
	f.Int(int64(len(s)))
	f.pending = append(f.pending, s...)
}

func (f *Fingerprinter) hash() {
	f.h.Write(f.pending)
	f.pending = f.pending[:0]
}

// Records adds records: key, value, their form, headers, and the given
// timestamp and partition of each.
func (f *Fingerprinter) Records(records []Record) {
	f.Int(int64(len(records)))
	for i := range records {
		r := &records[i]
		f.Int(int64(r.Flags))
		f.Bytes(r.Key)
		f.Bytes(r.Value)
		f.Int(r.Timestamp)
		f.Int(int64(r.Partition))
		f.Int(int64(len(r.Headers)))
		for _, h := range r.Headers {
			f.Text(h.Name)
			f.Text(h.Value)
		}
	}
}

// Sum returns the fingerprint of all that was added.
func (f *Fingerprinter) Sum() Fingerprint {
	f.hash()
	f.h.Sum(f.sum[:0])
	return Fingerprint(f.sum[:16])
}

// fingerprinters are those that FingerprintRecords has done with.
var fingerprinters = sync.Pool{New: func() any { return NewFingerprinter() }}

const maxPending = 64 << 10 // beyond which what is pending is not kept

// FingerprintRecords returns the fingerprint of a request's records.
func FingerprintRecords(records []Record) Fingerprint {
	f, _ := fingerprinters.Get().(*Fingerprinter)
	f.Records(records)
	sum := f.Sum()
	if cap(f.pending) <= maxPending {
		f.h.Reset()
		fingerprinters.Put(f)
	}
	return sum
}
