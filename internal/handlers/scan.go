package handlers

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf8"

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

// manyNames is from how many names on an object is left to reader, which finds
// a repeated one among many faster.
const manyNames = 16

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

// value scans any value, at its first byte.
func (s *scanner) value() bool {
	if s.i == len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"':
		return s.str()
	case '{':
		return s.object()
	case '[':
		return s.array()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) object() bool {
	if !s.enter('{') {
		return false
	}
	if s.next('}') {
		s.depth--
		return true
	}
	var names [manyNames][]byte
	for n := range names {
		name, ok := s.text()
		if !ok || !s.next(':') {
			return false
		}
		for _, before := range names[:n] {
			if string(name) == string(before) {
				return false
			}
		}
		names[n] = name
		if s.space(); !s.value() {
			return false
		}
		if !s.next(',') {
			return s.leave('}')
		}
	}
	return false
}

func (s *scanner) array() bool {
	if !s.enter('[') {
		return false
	}
	if s.next(']') {
		s.depth--
		return true
	}
	for {
		if s.space(); !s.value() {
			return false
		}
		if !s.next(',') {
			return s.leave(']')
		}
	}
}

// text scans a string that is its own text, without escapes.
func (s *scanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	start := s.i
	s.plain()
	if s.i == len(s.b) || s.b[s.i] != '"' {
		return nil, false
	}
	s.i++
	text := s.b[start : s.i-1 : s.i-1]
	return text, utf8.Valid(text)
}

// str scans a string, also one with the short escapes.
func (s *scanner) str() bool {
	start := s.i
	for s.i++; ; s.i += 2 {
		s.plain()
		if s.i+1 >= len(s.b) {
			break
		}
		if s.b[s.i] != '\\' {
			break
		}
		switch s.b[s.i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		default:
			return false
		}
	}
	if s.i == len(s.b) || s.b[s.i] != '"' {
		return false
	}
	s.i++
	return utf8.Valid(s.b[start:s.i])
}

// plain goes to the next quote, backslash or control character. It looks at
// eight bytes at once: in x-ones&^x the high bit of a byte is set where that of
// x is 0, and above that perhaps elsewhere, so that the lowest one is right.
func (s *scanner) plain() {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for s.i+8 <= len(s.b) {
		v := binary.LittleEndian.Uint64(s.b[s.i:])
		quote, backslash := v^ones*'"', v^ones*'\\'
		if found := ((v-ones*0x20)&^v | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs; found != 0 {
			s.i += bits.TrailingZeros64(found) / 8
			return
		}
		s.i += 8
	}
	for s.i < len(s.b) && s.b[s.i] >= 0x20 && s.b[s.i] != '"' && s.b[s.i] != '\\' {
		s.i++
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

func (s *scanner) number() bool {
	_ = s.is('-')
	if !s.is('0') && !s.digits() {
		return false
	}
	if s.is('.') && !s.digits() {
		return false
	}
	if s.is('e') || s.is('E') {
		_ = s.is('+') || s.is('-')
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > start
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// name scans a name that must be this one, and its colon.
func (s *scanner) name(want string) bool {
	name, ok := s.text()
	return ok && string(name) == want && s.next(':')
}

// enter opens an object or an array, and leave closes one.
func (s *scanner) enter(bracket byte) bool {
	s.depth++
	return s.depth <= s.maxDepth && s.next(bracket)
}

func (s *scanner) leave(bracket byte) bool {
	s.depth--
	return s.next(bracket)
}

// next goes behind c, and space before it, if that is what comes next.
func (s *scanner) next(c byte) bool {
	s.space()
	return s.is(c)
}

func (s *scanner) is(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

// end reports whether nothing more comes.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}
