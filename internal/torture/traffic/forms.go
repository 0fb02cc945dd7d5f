package traffic

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// The value of a record decides the form that it is sent in, so that whoever reads it knows what it has to look like:
// some have a header with their number, and some are sent as bytes.

// header is a header of a record.
type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func hasHeader(v history.Value) bool { return v%16 == 3 }

func isBytes(v history.Value) bool { return v%32 == 21 }

// headerOf returns the headers of a record, as a fetch sends them.
func headerOf(v history.Value) []byte { return fmt.Appendf(nil, `[{"name":"number","value":"%d"}]`, v) }

// appendForm appends the value of a record, and its headers, as fields of JSON.
func appendForm(b []byte, v history.Value, size int) []byte {
	if isBytes(v) {
		b = base64.StdEncoding.AppendEncode(append(b, `"value_base64":"`...), v.JSON(size))
		b = append(b, '"')
	} else {
		b = append(append(b, `"value":`...), v.JSON(size)...)
	}
	if hasHeader(v) {
		b = append(append(b, `,"headers":`...), headerOf(v)...)
	}
	return b
}

// bytesValue is a value that came as bytes.
type bytesValue history.Value

// UnmarshalJSON implements json.Unmarshaler.
func (v *bytesValue) UnmarshalJSON(text []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, bytes.Trim(text, `"`))
	if err != nil {
		return err
	}
	*v = bytesValue(history.ParseValue(raw))
	return nil
}

// check returns the value of a record, or 0 if the record is not what was sent: it has another key, other headers, or
// another form.
func (tp *topic) check(r *record) history.Value {
	v, wrong := history.Value(r.Value), history.Value(r.Bytes)
	if isBytes(wrong) {
		v, wrong = wrong, v
	}
	switch {
	case v == 0 || wrong != 0 || isBytes(v) != (r.Bytes != 0):
		return 0
	case tp.Keys == 0 && r.Key != nil, tp.Keys > 0 && (r.Key == nil || *r.Key != v.RecordKey(tp.Keys)):
		return 0
	case hasHeader(v) && (len(r.Headers) != 1 || r.Headers[0] != header{"number", fmt.Sprint(v)}):
		return 0
	case !hasHeader(v) && len(r.Headers) > 0:
		return 0
	}
	return v
}
