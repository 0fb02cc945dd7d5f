package handlers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// What follows is a slow twin of the decoder, over encoding/json. It takes what
// that one takes, but for what encoding/json passes and the API refuses: invalid
// UTF-8, lone surrogates and repeated names.

// isStrict reports whether text is one JSON document without any of these.
func isStrict(text []byte) bool {
	if !json.Valid(text) || !utf8.Valid(text) || hasLoneSurrogate(text) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return namesOnce(dec)
}

// hasLoneSurrogate looks at the escapes of a text that is valid JSON: a high
// surrogate must have a low one behind it, and a low one a high one before it.
func hasLoneSurrogate(text []byte) bool {
	high := false // the last escape was one
	for i := 0; i < len(text); i++ {
		unit := uint64(0)
		if text[i] == '\\' {
			if i++; text[i] == 'u' {
				unit, _ = strconv.ParseUint(string(text[i+1:i+5]), 16, 16)
				i += 4
			}
		}
		low := unit >= 0xDC00 && unit <= 0xDFFF
		if low != high {
			return true
		}
		high = unit >= 0xD800 && unit <= 0xDBFF
	}
	return high
}

// namesOnce reads one value, and reports whether no object in it has a name
// twice.
func namesOnce(dec *json.Decoder) bool {
	token, err := dec.Token()
	if err != nil {
		return false
	}
	bracket, nested := token.(json.Delim)
	if !nested {
		return true
	}
	seen := map[string]bool{}
	for dec.More() {
		if bracket == '{' {
			name, err := dec.Token()
			text, isText := name.(string)
			if err != nil || !isText || seen[text] {
				return false
			}
			seen[text] = true
		}
		if !namesOnce(dec) {
			return false
		}
	}
	_, err = dec.Token()
	return err == nil
}

// nesting returns how many arrays and objects stand around the innermost value
// of a valid document, with that value.
func nesting(text []byte) (deepest int) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	open := 0
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			open++
			deepest = max(deepest, open)
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
}

// twinDocument reads the body of a produce request that isStrict; not ok where
// the API must refuse it.
func twinDocument(body []byte, maxRecords, maxDepth int) (records []eos.Record, ok bool) {
	fields, ok := twinObject(body, "records")
	if !ok || fields["records"] == nil {
		return nil, false
	}
	list, ok := twinArray(fields["records"])
	if !ok || len(list) == 0 || len(list) > maxRecords {
		return nil, false
	}
	for _, text := range list {
		record, ok := twinRecord(text, maxDepth)
		if !ok {
			return nil, false
		}
		records = append(records, record)
	}
	return records, true
}

// twinRecord is twinDocument for one record.
func twinRecord(text []byte, maxDepth int) (eos.Record, bool) {
	rec := eos.Record{Flags: eos.KeyNull, Timestamp: -1, Partition: -1}
	fields, ok := twinObject(text, "key", "key_base64", "value", "value_base64", "headers", "timestamp", "partition")
	_, key := fields["key"]
	_, binaryKey := fields["key_base64"]
	_, value := fields["value"]
	_, binaryValue := fields["value_base64"]
	if !ok || key && binaryKey || value == binaryValue || nesting(text) > maxDepth {
		return rec, false
	}
	if key && string(fields["key"]) != "null" || binaryKey {
		rec.Flags = 0
	}
	for name, raw := range fields {
		ok := true
		switch {
		case name == "key" && rec.Flags&eos.KeyNull == 0:
			var text string
			text, ok = twinText(raw)
			rec.Key = []byte(text)
		case name == "key_base64":
			rec.Flags |= eos.KeyBinary
			rec.Key, ok = twinBase64(raw)
		case name == "value" && string(raw) == "null":
			rec.Flags |= eos.ValueNull
		case name == "value":
			rec.Value = raw
		case name == "value_base64":
			rec.Flags |= eos.ValueBinary
			rec.Value, ok = twinBase64(raw)
		case name == "headers":
			rec.Headers, ok = twinHeaders(raw)
		case name == "timestamp":
			rec.Timestamp, ok = twinInteger(raw, eos.MaxTimestamp)
		case name == "partition":
			var n int64
			n, ok = twinInteger(raw, math.MaxInt32)
			rec.Partition = int(n)
		}
		if !ok {
			return rec, false
		}
	}
	return rec, true
}

// twinObject returns the fields of an object that has no others than these.
func twinObject(text []byte, names ...string) (fields map[string]json.RawMessage, ok bool) {
	if json.Unmarshal(text, &fields) != nil || fields == nil {
		return nil, false
	}
	known := 0
	for _, name := range names {
		if _, given := fields[name]; given {
			known++
		}
	}
	return fields, known == len(fields)
}

func twinArray(text []byte) (list []json.RawMessage, ok bool) {
	return list, json.Unmarshal(text, &list) == nil && list != nil
}

func twinText(raw []byte) (text string, ok bool) {
	return text, raw[0] == '"' && json.Unmarshal(raw, &text) == nil
}

// twinBase64: RFC 4648 with padding, and nothing that has two readings. Strict
// looks at the trailing bits; line breaks it passes.
func twinBase64(raw []byte) ([]byte, bool) {
	text, ok := twinText(raw)
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return b, ok && err == nil && base64.StdEncoding.EncodeToString(b) == text
}

func twinInteger(raw []byte, high int64) (n int64, ok bool) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil && n >= 0 && n <= high
}

func twinHeaders(raw []byte) (headers []eos.Header, ok bool) {
	list, ok := twinArray(raw)
	for _, text := range list {
		fields, known := twinObject(text, "name", "value")
		if !known || len(fields) != 2 {
			return nil, false
		}
		name, isName := twinText(fields["name"])
		value, isValue := twinText(fields["value"])
		if !isName || !isValue {
			return nil, false
		}
		headers = append(headers, eos.Header{Name: name, Value: value})
	}
	return headers, ok
}
