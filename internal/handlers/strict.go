package handlers

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/go-json-experiment/json/jsontext"
)

// reader reads one JSON document strictly: no unknown or repeated names, no
// null and no 1.0 where an integer belongs, no invalid UTF-8, nothing behind
// the end. Faults of syntax are eos.InvalidJSON, others eos.InvalidRequest.
type reader struct {
	body []byte
	dec  *jsontext.Decoder
	deep int // how deep a record may be nested, where one may be deeper; else 0
}

// How many arrays and objects stand around a record in a body of each form. A
// record may be nested as deep in any of them.
const (
	aroundLine        = 0
	aroundProduce     = 2
	aroundTransaction = 4
)

// readDocument reads a body that is one JSON object, a field at a time.
func (s *server) readDocument(body []byte, field func(r *reader, name string) error) error {
	return s.readNested(body, aroundLine, field)
}

// readNested is readDocument for a body with records in it. That a body is not
// strict JSON comes before what else is wrong with it, wherever that is.
func (s *server) readNested(body []byte, around int, field func(r *reader, name string) error) error {
	deepest := depth(body)
	err := s.readFields(body, around, deepest, field)
	if err == nil || errors.Is(err, eos.InvalidJSON.Errorf("")) || deepest > decodable {
		return err
	}
	if malformed := wellFormed(body); malformed != nil {
		return malformed
	}
	return err
}

// decodable is how deep jsontext reads.
const decodable = 10_000

func (s *server) readFields(body []byte, around, deepest int, field func(r *reader, name string) error) error {
	r := &reader{body: body, dec: jsontext.NewDecoder(bytes.NewBuffer(body))}
	what, deep := "the JSON", deepest > s.cfg.MaxJSONDepth+around
	switch {
	case deep && around > 0: // which record it is shows itself
		what, r.deep = "a record", s.cfg.MaxJSONDepth
	case deep:
		return s.tooDeep(what)
	}
	err := r.object(field)
	switch {
	case err != nil:
		return err
	case deep:
		return s.tooDeep(what)
	}
	return r.end()
}

func (s *server) tooDeep(what string) error {
	return eos.InvalidRequest.Errorf("%s is nested more than %d deep", what, s.cfg.MaxJSONDepth)
}

// wellFormed returns why a body is not one strict JSON document, if it is none.
func wellFormed(body []byte) error {
	r := &reader{body: body, dec: jsontext.NewDecoder(bytes.NewBuffer(body))}
	if _, err := r.raw(); err != nil {
		return err
	}
	return r.end()
}

// end refuses what is behind the document.
func (r *reader) end() error {
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return eos.InvalidJSON.Errorf("there is more behind the JSON document")
	}
	return nil
}

// depth returns how deep arrays and objects are nested in the first of these
// that json has.
func depth(json []byte) int {
	deepest, open, text := 0, 0, false
	for i := 0; i < len(json); i++ {
		switch c := json[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			if open--; open <= 0 {
				return deepest
			}
		}
	}
	return deepest
}

func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return eos.InvalidJSON.Errorf("the JSON document ends too early")
	}
	return eos.InvalidJSON.Errorf("%s", strings.TrimPrefix(err.Error(), "jsontext: "))
}

// object reads an object; field reads the value of each name.
func (r *reader) object(field func(r *reader, name string) error) error {
	if err := r.open('{', "an object"); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		name, err := r.dec.ReadToken()
		if err != nil {
			return syntax(err)
		}
		if err := field(r, name.String()); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	if err != nil {
		return syntax(err)
	}
	return nil
}

// array reads an array; element reads each of its values.
func (r *reader) array(element func(r *reader, i int) error) error {
	if err := r.open('[', "an array"); err != nil {
		return err
	}
	for i := 0; r.dec.PeekKind() != ']'; i++ {
		if err := element(r, i); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return syntax(err)
	}
	return nil
}

func (r *reader) open(kind jsontext.Kind, what string) error {
	t, err := r.dec.ReadToken()
	if err != nil {
		return syntax(err)
	}
	if t.Kind() != kind {
		return r.wrong(what)
	}
	return nil
}

// wrong refuses the value that was just read.
func (r *reader) wrong(want string) error {
	at := string(r.dec.StackPointer())
	if at == "" {
		at = "the body"
	}
	return eos.InvalidRequest.Errorf("%s must be %s", at, want)
}

// unknown refuses a name that the object does not have.
func (r *reader) unknown(name string) error {
	return eos.InvalidRequest.Errorf("%s: there is no field %q", r.dec.StackPointer(), name)
}

func (r *reader) text() (string, error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		return "", syntax(err)
	}
	if t.Kind() != '"' {
		return "", r.wrong("a string")
	}
	return t.String(), nil
}

func (r *reader) boolean() (bool, error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		return false, syntax(err)
	}
	if k := t.Kind(); k != 't' && k != 'f' {
		return false, r.wrong("true or false")
	}
	return t.Bool(), nil
}

// integer reads an integer from low to high.
func (r *reader) integer(low, high int64) (int64, error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		return 0, syntax(err)
	}
	if t.Kind() == '0' {
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil && n >= low && n <= high {
			return n, nil
		}
	}
	return 0, r.wrong("an integer from " + strconv.FormatInt(low, 10) + " to " + strconv.FormatInt(high, 10))
}

// raw reads any value and returns its bytes, which lie in the body.
func (r *reader) raw() ([]byte, error) {
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, syntax(err)
	}
	end := r.dec.InputOffset()
	return r.body[end-int64(len(v)) : end], nil
}

// base64 reads a string of standard padded base64 without line breaks.
func (r *reader) base64() ([]byte, error) {
	s, err := r.text()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodedLen(len(b)) != len(s) {
		return nil, r.wrong("standard padded base64")
	}
	return b, nil
}
