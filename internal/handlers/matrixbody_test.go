package handlers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestBadBodies sends each row of the catalogue about JSON to each operation
// that takes JSON, in either form.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	matrix(t, newWorld(t), func(e *endpoint) []row {
		if e.media != mediaJSON && e.media != mediaLines {
			return nil
		}
		rows := append(syntaxRows(e), fieldRows(t, e)...)
		if e.id == "produce" || e.id == "produceToPartition" { // in the other form, too
			other := *e
			other.media, other.body = mediaLines, `{"value":1}`+"\n"
			if e.media == mediaLines {
				other.media, other.body = mediaJSON, `{"records":[{"value":1}]}`
			}
			rows = append(rows, syntaxRows(&other)...)
		}
		return rows
	})
}

// noRequired are the operations that do without a body.
var noRequired = []string{"createTopic", "updateTopic", "registerProducer", "putTransaction", "commitTransaction", "abortTransaction"}

// syntaxRows are what is no strict JSON, and JSON that is no object or has
// something that no object has.
func syntaxRows(e *endpoint) (rows []row) {
	wrong := "INVALID_REQUEST"
	if e.media == mediaLines {
		wrong = "INVALID_RECORD"
	}
	right := strings.TrimSuffix(e.body, "\n")
	member := `"a":1,`
	if _, rest, ok := strings.Cut(right, "{"); ok && rest != "}" {
		first, err := firstMember(right)
		if err != nil {
			panic(err)
		}
		member = first + ","
	}
	with := func(member string) string {
		if right == "{}" {
			return "{" + strings.TrimSuffix(member, ",") + "}"
		}
		return "{" + member + right[1:]
	}
	add := func(name, body string, status int, code string) {
		rows = append(rows, row{name, func(r *request) {
			r.header.Set("Content-Type", e.media)
			r.body = []byte(body)
		}, status, code})
	}
	if !slices.Contains(noRequired, e.id) && !strings.HasPrefix(e.id, "produceStream") {
		add("empty", "", 400, "INVALID_JSON")
	}
	for name, body := range map[string]string{
		"white space": " \n", "cut": right[:len(right)-1], "trailing text": right + "x",
		"trailing bracket": right + "]", "comma at the end": right[:len(right)-1] + ",}",
		"BOM": "\ufeff" + right, "a name twice": with(member + member),
		"a name twice, escaped": with(`"a":1,"\u0061":2,`),
		"a name twice, deep":    with(`"a":[{"b":{"c":1,"c":1}}],`), "invalid UTF-8": with("\"a\":\"\xff\","),
		"invalid UTF-8 in a name": with("\"\xed\xa0\x80\":1,"),
		"lone surrogate":          with(`"a":"\ud800",`), "the other half": with(`"a":"\udc00x",`),
		"NUL": with("\"a\":\"\x00\","), "NUL behind": right + "\x00",
		"single quotes": with(`'a':1,`), "NaN": with(`"a":NaN,`), "hexadecimal": with(`"a":0x1,`),
		"leading zero": with(`"a":01,`), "a comment": with(`/*a*/`),
		"UTF-16": "\xfe\xff\x00{\x00}",
	} {
		add(name, body, 400, "INVALID_JSON")
	}
	if e.media == mediaJSON {
		add("two documents", right+right, 400, "INVALID_JSON")
		add("two documents, on two lines", right+"\n"+right, 400, "INVALID_JSON")
	} else {
		add("two documents in a line", right+right, 400, "INVALID_JSON")
		add("an empty line", "\n"+right, 400, "INVALID_JSON")
		add("a cut line", right[:len(right)/2]+"\n"+right, 400, "INVALID_JSON")
	}
	for name, body := range map[string]string{
		"null": "null", "an array": "[]", "the object in an array": "[" + right + "]", "a string": `"` + "text" + `"`,
		"a number": "1", "true": "true",
		"a field that nobody knows": with(`"acks":"all",`), "a name in the wrong case": with(strings.ToUpper(member)),
		"an empty name":           with(`"":1,`),
		"NUL, escaped, in a name": with(`"a\u0000":1,`),
		"a name behind a space":   with(strings.Replace(member, `"`, `" `, 1)),
		"depth 100":               with(`"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + ","),
		"depth 9,000":             with(`"a":` + strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000) + ","),
		"depth 20,000":            with(`"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + ","),
	} {
		add(name, body, 422, wrong)
	}
	return rows
}

// firstMember returns the first name of an object with its value.
func firstMember(object string) (string, error) {
	dec := json.NewDecoder(strings.NewReader(object))
	if _, err := dec.Token(); err != nil {
		return "", err
	}
	name, err := dec.Token()
	if err != nil {
		return "", err
	}
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return "", err
	}
	return fmt.Sprintf("%q:%s", name, value), nil
}

// wrongFor are what does not belong where there is a value of a kind.
var wrongFor = map[string][]any{
	"number": {
		json.Number("1e400"), json.Number("9223372036854775808"), json.Number("18446744073709551617"),
		json.Number("-2"), json.Number("1.5"), json.Number("1.0"),
		json.Number("1e3"), json.Number("9007199254740992"), "1", "", nil, true,
		[]any{},
		map[string]any{},
	},
	"bool":   {"true", "", json.Number("1"), nil, []any{}, map[string]any{}},
	"text":   {json.Number("1"), true, []any{}, map[string]any{}},
	"name":   {"", "a/b", ".", "..", "a b", "ü", "a\x00", strings.Repeat("n", 250), nil, json.Number("1"), true, []any{}, []any{"t"}, map[string]any{}},
	"base64": {"AA", "A===", "-_-_", "AB==", "AAEC\n", "AA==AA==", "?", nil, json.Number("1")},
	"choice": {"", "Earliest", "EARLIEST", "none", "-1", nil, json.Number("1"), true, []any{}},
	"array":  {nil, map[string]any{}, "t", json.Number("1"), true},
	"object": {nil, []any{}, "t", json.Number("1"), true, map[string]any{"unknown": true}},
}

// kindOf returns what belongs where a body has a value under a name.
func kindOf(name string, value any) string {
	switch value.(type) {
	case json.Number:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	switch name {
	case "topic", "topics", "group", "member_id", "transactional_id", "instance_id":
		return "name"
	case "key_base64", "value_base64":
		return "base64"
	case "at", "assignor", "auto_offset_reset":
		return "choice"
	}
	return "text"
}

// fieldRows put at the place of each value of the body, of any depth, each that
// does not belong there. Within a record that is a fault of it.
func fieldRows(t *testing.T, e *endpoint) (rows []row) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(e.body))
	dec.UseNumber()
	var body any
	if err := dec.Decode(&body); err != nil {
		t.Fatal(err)
	}
	inRecord := e.media == mediaLines
	var walk func(path, name string, inRecord bool, value any, put func(any))
	walk = func(path, name string, inRecord bool, value any, put func(any)) {
		code := "INVALID_REQUEST"
		if inRecord {
			code = "INVALID_RECORD"
		}
		for _, wrong := range wrongFor[kindOf(name, value)] {
			put(wrong)
			rows = append(rows, row{fmt.Sprintf("%s is %.20v", path, wrong), replacing(t, e, body), 422, code})
		}
		put(value)
		switch v := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if name != "value" || strings.HasSuffix(path, "/headers/0") { // a record's value may be anything
					walk(path+"/"+name, name, inRecord, v[name], func(x any) { v[name] = x })
				}
			}
		case []any:
			walk(path+"/0", name, inRecord || name == "records", v[0], func(x any) { v[0] = x })
		}
	}
	if object, ok := body.(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if name != "value" {
				walk("/"+name, name, inRecord, object[name], func(x any) { object[name] = x })
			}
		}
	}
	return rows
}

// replacing returns a change to the body as it is now.
func replacing(t *testing.T, e *endpoint, body any) func(*request) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if e.media == mediaLines {
		text = append(text, '\n')
	}
	return func(r *request) { r.body = bytes.Clone(text) }
}
