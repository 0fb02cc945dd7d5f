package handlers

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// manyNames is from how many names on an object is left to reader, which finds
// a repeated one among many faster.
const manyNames = 16

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
			if bytes.Equal(name, before) {
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
