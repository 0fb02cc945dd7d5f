package handlers

import (
	"math"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// scanner reads records in their usual form, some times faster than reader, and
// without an allocation for any of them. It refuses nothing: where it is not
// sure that all is well (each method reports whether it is), the caller reads
// again with reader, which knows all of JSON and says what is wrong. So it may
// give up early, but must never take what reader refuses, or take it otherwise;
// FuzzScannerAgrees holds it to that.
type scanner struct {
	b        []byte
	i        int
	depth    int
	maxDepth int
}

// document scans the document of a produce request with at most limit records.
func (s *scanner) document(limit int) (list []eos.Record, ok bool) {
	if !s.enter('{') || !s.name("records") || !s.enter('[') {
		return nil, false
	}
	for {
		start := s.i
		if len(list) == limit {
			return nil, false
		}
		rec, ok := s.record()
		if !ok {
			return nil, false
		}
		if list == nil { // the others are about as long
			list = make([]eos.Record, 0, min(1+(len(s.b)-s.i)/(s.i-start+1), limit))
		}
		list = append(list, rec)
		if s.next(',') {
			continue
		}
		return list, s.leave(']') && s.leave('}') && s.end()
	}
}

// line scans the document of one record.
func (s *scanner) line() (eos.Record, bool) {
	rec, ok := s.record()
	return rec, ok && s.end()
}

func (s *scanner) record() (eos.Record, bool) {
	rec := eos.Record{Flags: eos.KeyNull, Timestamp: -1, Partition: -1}
	if !s.enter('{') {
		return rec, false
	}
	var key, value, timestamp, partition bool // whether it was given
	for {
		name, ok := s.text()
		if !ok || !s.next(':') {
			return rec, false
		}
		s.space()
		switch string(name) {
		case "key":
			ok, key = !key, true
			if ok && !s.literal("null") {
				rec.Key, ok = s.text()
				rec.Flags &^= eos.KeyNull
			}
		case "value":
			ok, value = !value, true
			if start := s.i; ok && s.literal("null") {
				rec.Flags |= eos.ValueNull
			} else if ok = ok && s.value(); ok {
				rec.Value = s.b[start:s.i:s.i]
			}
		case "timestamp":
			ok, timestamp = !timestamp && s.integer(&rec.Timestamp, eos.MaxTimestamp), true
		case "partition":
			var n int64
			ok, partition = !partition && s.integer(&n, math.MaxInt32), true
			rec.Partition = int(n)
		default:
			ok = false
		}
		switch {
		case !ok:
			return rec, false
		case s.next(','):
		default:
			return rec, s.leave('}') && value
		}
	}
}

// integer scans a number without sign, fraction or exponent, up to high.
func (s *scanner) integer(into *int64, high int64) bool {
	start, n := s.i, int64(0)
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 && n <= high {
		n = 10*n + int64(s.b[s.i]-'0')
		s.i++
	}
	*into = n
	digits := s.i - start
	// What goes on behind it is no comma and no brace.
	return n <= high && (digits == 1 || digits > 1 && s.b[start] != '0')
}

// name scans a name that must be this one, and its colon.
func (s *scanner) name(want string) bool {
	name, ok := s.text()
	return ok && string(name) == want && s.next(':')
}
