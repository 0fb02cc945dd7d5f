package handlers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// bodySections are those of the catalogue about JSON, for who takes JSON. Where
// either form will do, both are tried.
func (m *matrix) bodySections(t *testing.T) (list []section) {
	t.Helper()
	media := m.right.header.Get("Content-Type")
	if media != mediaJSON && media != mediaLines {
		return nil
	}
	body := strings.TrimSuffix(string(m.right.body), "\n")
	broken, wrong := m.syntaxRows(media, body)
	list = append(list,
		section{title: "no strict " + media, rule: "400 INVALID_JSON", rows: broken},
		section{title: "not what is asked for", rule: "422 INVALID_(REQUEST|RECORD)", rows: append(wrong, m.fieldRows(t)...)})
	if m.op.OperationID == "produce" || m.op.OperationID == "produceToPartition" {
		media, body = mediaLines, `{"value":1}`
		if m.right.header.Get("Content-Type") == mediaLines {
			media, body = mediaJSON, `{"records":[{"value":1}]}`
		}
		broken, wrong = m.syntaxRows(media, body)
		list = append(list,
			section{title: "no strict " + media, rule: "400 INVALID_JSON", rows: broken},
			section{title: "not what is asked for, as " + media, rule: "422 INVALID_(REQUEST|RECORD)", rows: wrong})
	}
	return list
}

// syntaxRows are what is no strict JSON, and JSON that is no object or has
// something that no object has.
func (m *matrix) syntaxRows(media, right string) (broken, wrong []row) {
	member := `"a":1,`
	if right != "{}" {
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
	rows := func(pairs ...string) (list []row) {
		for pair := range slices.Chunk(pairs, 2) {
			list = append(list, row{text: pair[0], change: func(r *request) {
				r.header.Set("Content-Type", media)
				r.body = []byte(pair[1])
			}})
		}
		return list
	}
	if !m.isOptional() && !m.isUpload() {
		broken = rows("nothing", "")
	}
	broken = append(broken, rows(
		"white space", " \n",
		"cut", right[:len(right)-1],
		"text behind it", right+"x",
		"a bracket behind it", right+"]",
		"NUL behind it", right+"\x00",
		"two documents", right+right,
		"a comma at the end", right[:len(right)-1]+",}",
		"BOM", "\ufeff"+right,
		"UTF-16", "\xfe\xff\x00{\x00}",
		"a name twice", with(member+member),
		"a name twice, once escaped", with(`"a":1,"\u0061":2,`),
		"a name twice, deep", with(`"a":[{"b":{"c":1,"c":1}}],`),
		"invalid UTF-8", with("\"a\":\"\xff\","),
		"invalid UTF-8 in a name", with("\"\xed\xa0\x80\":1,"),
		"a lone surrogate", with(`"a":"\ud800",`),
		"the other half of one", with(`"a":"\udc00x",`),
		"a lone surrogate in a name", with(`"\ud800":1,`),
		"NUL", with("\"a\":\"\x00\","),
		"NUL in a name", with("\"a\x00\":1,"),
		"single quotes", with(`'a':1,`),
		"NaN", with(`"a":NaN,`),
		"a hexadecimal number", with(`"a":0x1,`),
		"a leading zero", with(`"a":01,`),
		"a comment", with(`/*a*/`),
	)...)
	if media == mediaJSON {
		broken = append(broken, rows("two documents, on two lines", right+"\n"+right)...)
	} else {
		broken = append(broken, rows("an empty line", "\n"+right, "a cut line", right[:len(right)/2]+"\n"+right)...)
	}
	return broken, rows(
		"null", "null",
		"an array", "[]",
		"in an array", "["+right+"]",
		"a string", `"text"`,
		"a number", "1",
		"true", "true",
		"an unknown field", with(`"acks":"all",`),
		"a name in the wrong case", with(strings.ToUpper(member)),
		"a name behind a space", with(strings.Replace(member, `"`, `" `, 1)),
		"an empty name", with(`"":1,`),
		"NUL in a name, escaped", with(`"a\u0000":1,`),
		"depth 100", with(`"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+","),
		"depth 9,000", with(`"a":`+strings.Repeat(`{"a":`, 9000)+"1"+strings.Repeat("}", 9000)+","),
		"depth 20,000", with(`"a":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)+","),
	)
}

// isUpload reports whether the body is of any length, and appended as it comes.
func (m *matrix) isUpload() bool { return strings.HasPrefix(m.op.OperationID, "produceStream") }

// isOptional reports whether the operation does without a body.
func (m *matrix) isOptional() bool {
	return m.op.RequestBody == nil || !m.op.RequestBody.Value.Required
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
		json.Number("1.5"), json.Number("1.0"), json.Number("1e3"),
		"1", "", nil, true,
		[]any{},
		map[string]any{},
	},
	"bool": {"true", "", json.Number("1"), nil, []any{}, map[string]any{}},
	"text": {json.Number("1"), true, []any{}, map[string]any{}},
	"name": {
		"", "a/b", ".", "..", "a b", "ü", "a\x00", strings.Repeat("n", 250),
		nil, json.Number("1"), true,
		[]any{},
		[]any{"t"},
		map[string]any{},
	},
	"base64": {"AA", "A===", "-_-_", "AB==", "AAEC\n", "AA==AA==", "?", nil, json.Number("1")},
	"choice": {"", "Earliest", "EARLIEST", "none", "-1", nil, json.Number("1"), true, []any{}},
	"array":  {nil, map[string]any{}, "t", json.Number("1"), true},
	"object": {nil, []any{}, "t", json.Number("1"), true, map[string]any{"unknown": true}},
}

// wrong returns what does not belong where a body has a value under a name.
func wrong(name string, value any, schema *openapi3.Schema) (list []any) {
	kind := "text"
	switch value.(type) {
	case json.Number:
		kind = "number"
		for _, number := range outside(schema) {
			list = append(list, json.Number(number))
		}
	case bool:
		kind = "bool"
	case []any:
		kind = "array"
		if schema.MinItems > 0 {
			list = append(list, []any{})
		}
	case map[string]any:
		kind = "object"
	case string:
		switch name {
		case "topic", "topics", "group", "member_id", "transactional_id", "instance_id":
			kind = "name"
		case "key_base64", "value_base64":
			kind = "base64"
		case "at", "assignor", "auto_offset_reset":
			kind = "choice"
		}
	}
	return append(list, wrongFor[kind]...)
}

// fieldRows put at the place of each value of the body, of any depth, each that
// does not belong there, and leave out what must be there.
func (m *matrix) fieldRows(t *testing.T) (rows []row) {
	t.Helper()
	if m.op.RequestBody == nil { // it takes {}, and no field
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(m.right.body))
	dec.UseNumber()
	var body any
	if err := dec.Decode(&body); err != nil {
		t.Fatal(err)
	}
	add := func(text string) {
		changed, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row{text: text, change: func(r *request) { r.body = bytes.Clone(changed) }})
	}
	var walk func(path, name string, schema *openapi3.Schema, value any, put func(any))
	walk = func(path, name string, schema *openapi3.Schema, value any, put func(any)) {
		for _, bad := range wrong(name, value, schema) {
			if path == "" {
				break // the body itself: syntaxRows has that
			}
			put(bad)
			shown, err := json.Marshal(bad)
			if err != nil {
				t.Fatal(err)
			}
			add(path + ": " + string(shown))
		}
		put(value)
		switch v := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if schema.Properties[name].Value.Type == nil { // a record's value, which may be anything
					continue
				}
				walk(path+"/"+name, name, schema.Properties[name].Value, v[name], func(x any) { v[name] = x })
				if slices.Contains(schema.Required, name) {
					is := v[name]
					delete(v, name)
					add("without " + path + "/" + name)
					v[name] = is
				}
			}
		case []any:
			walk(path+"/0", name, schema.Items.Value, v[0], func(x any) { v[0] = x })
		}
	}
	schema := document().Components.Schemas["Record"]
	if media := m.right.header.Get("Content-Type"); media == mediaJSON {
		schema = m.op.RequestBody.Value.Content[media].Schema
	}
	walk("", "", schema.Value, body, func(any) {})
	return rows
}
