package history

import (
	"bytes"
	"encoding/json"
	"math"
)

// Decoder decodes lines much faster than encoding/json, which it falls back to for whatever a Writer does not write:
// escapes in texts, numbers that are no integers, white space. Short texts that come again and again are kept once, so
// a Decoder belongs to one goroutine.
type Decoder struct {
	text  []byte
	at    int
	odd   bool // something that is left to encoding/json
	known map[string]string

	attempts slab[Attempt]
	produces slab[Produce]
	reads    slab[Read]
	members  slab[Member]
}

// slab gives out values of which many are allocated at once.
type slab[T any] struct{ free []T }

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 64)
	}
	next := &s.free[0]
	s.free = s.free[1:]
	return next
}

// NewDecoder returns a decoder.
func NewDecoder() *Decoder { return &Decoder{known: map[string]string{}} }

// Decode decodes one line. What l has must not be changed afterwards: texts may be shared among lines.
func (d *Decoder) Decode(text []byte, l *Line) error {
	d.text, d.at, d.odd = text, 0, false
	*l = Line{}
	d.line(l)
	if !d.odd && d.at == len(text) {
		return nil
	}
	*l = Line{}
	return json.Unmarshal(text, l)
}

// next reports whether c comes next, and goes past it.
func (d *Decoder) next(c byte) bool {
	if d.at < len(d.text) && d.text[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *Decoder) need(c byte) {
	if !d.next(c) {
		d.odd = true
	}
}

// key returns the next key of an object, nil at its end. first is whether it may be the first one.
func (d *Decoder) key(first *bool) []byte {
	switch {
	case d.odd:
		return nil
	case *first:
		*first = false
		d.need('{')
		if d.next('}') {
			return nil
		}
	case d.next('}'):
		return nil
	default:
		d.need(',')
	}
	key := d.raw()
	d.need(':')
	if d.odd {
		return nil
	}
	return key
}

// raw returns a text as it stands between its quotes.
func (d *Decoder) raw() []byte {
	d.need('"')
	if d.odd {
		return nil
	}
	n := bytes.IndexByte(d.text[d.at:], '"')
	if n < 0 {
		d.odd = true
		return nil
	}
	text := d.text[d.at : d.at+n]
	for _, c := range text {
		if c == '\\' || c < ' ' || c >= 0x80 {
			d.odd = true
			return nil
		}
	}
	d.at += n + 1
	return text
}

// name returns a text of which there are few, or which comes again soon.
func (d *Decoder) name() string {
	raw := d.raw()
	if s, ok := d.known[string(raw)]; ok {
		return s
	}
	if len(d.known) > 1<<14 {
		clear(d.known)
	}
	s := string(raw)
	d.known[s] = s
	return s
}

func (d *Decoder) string() string { return string(d.raw()) }

func (d *Decoder) bool() bool {
	for _, word := range []string{"true", "false"} {
		if rest := d.text[d.at:]; len(rest) >= len(word) && string(rest[:len(word)]) == word {
			d.at += len(word)
			return word == "true"
		}
	}
	d.odd = true
	return false
}

func (d *Decoder) int() int64 {
	negative := d.next('-')
	n, begin := uint64(0), d.at
	for d.at < len(d.text) && d.text[d.at]-'0' <= 9 {
		n = n*10 + uint64(d.text[d.at]-'0')
		d.at++
	}
	digits := d.at - begin
	if digits == 0 || digits > 18 || digits > 1 && d.text[begin] == '0' || n > math.MaxInt64 {
		d.odd = true
		return 0
	}
	if negative {
		return -int64(n)
	}
	return int64(n)
}

// list calls each for the elements of an array.
func (d *Decoder) list(each func()) {
	d.need('[')
	if d.odd || d.next(']') {
		return
	}
	for {
		each()
		if d.odd || d.next(']') {
			return
		}
		d.need(',')
	}
}

// skip leaves what it does not know to encoding/json, which passes over it.
func (d *Decoder) skip() { d.odd = true }
