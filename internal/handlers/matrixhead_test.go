package handlers_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// in returns the operation's parameters in a part of the request.
func (m *matrix) in(part string) (list []*openapi3.Parameter) {
	for _, ref := range m.params {
		if ref.Value.In == part {
			list = append(list, ref.Value)
		}
	}
	return list
}

// has reports whether the operation has a header.
func (m *matrix) has(header string) bool { return m.params.GetByInAndName("header", header) != nil }

// segmentRows put what is no such name, or names nothing, at the place of each
// parameter of the path.
func (m *matrix) segmentRows() (rows []row) {
	for _, p := range m.in(openapi3.ParameterInPath) {
		path, query, asks := strings.Cut(m.right.path, "?")
		segments := strings.Split(path, "/")
		at := slices.Index(strings.Split(m.template, "/"), "{"+p.Name+"}")
		for _, name := range m.badNames(p) {
			changed := slices.Clone(segments)
			changed[at] = name
			path := strings.Join(changed, "/")
			rows = append(rows, row{text: path, change: func(r *request) {
				if r.path = path; asks {
					r.path += "?" + query
				}
			}})
		}
	}
	return rows
}

// badNames returns what a parameter of the path cannot be, and, where it must
// name something that is there, what does not.
func (m *matrix) badNames(p *openapi3.Parameter) (names []string) {
	unknown := []string{"999999"}
	switch p.Name {
	case "topic", "group", "member_id":
		names = []string{
			"..", ".", "%2e%2e", "a%2Fb", "a%00b", "a%20b", "a+b", "a%252Fb", "%C3%BC", "%ff", "..%2Ft", "a;b", "a:b", "%0a",
			strings.Repeat("n", 250),
		}
		unknown = []string{"nobodys", "T"}
	case "transaction_id":
		names = []string{"a%00b", "%0a", "%C3%BC", "%ff", "%7f", strings.Repeat("n", 256)}
		unknown = []string{"nobodys"}
	default:
		names = []string{
			"-1", "+1", "x", "00", "0x0", "1.0", "1e0", "%20", "%00", "0%2F",
			"9007199254740992", "99999999999999999999",
		}
		if p.Name == "partition" {
			unknown = []string{"2", "2147483647", "2147483648"}
		}
	}
	names = append(names, "")
	last := strings.HasSuffix(m.template, "{"+p.Name+"}")
	switch {
	case m.right.method == http.MethodPut && last, m.op.OperationID == "abortTransaction",
		m.op.OperationID == "joinGroup" && p.Name == "group": // it makes what is not there
		return names
	case strings.Contains(m.template, "{group}/offsets"): // each group has offsets, or none
		return names
	}
	return append(names, unknown...)
}

// shapeRows are paths that are none.
func shapeRows() (rows []row) {
	for _, pair := range [][2]string{
		{"a slash behind it", "P/"},
		{"two slashes before it", "/P"},
		{"/. before it", "/.P"},
		{"/x/.. before it", "/x/..P"},
		{"more behind it", "P/nothing/of/it"},
		{"/v2 before it", "/v2P"},
	} {
		rows = append(rows, row{text: pair[0], change: func(r *request) {
			path, query, asks := strings.Cut(r.path, "?")
			if r.path = strings.Replace(pair[1], "P", path, 1); asks {
				r.path += "?" + query
			}
		}})
	}
	return append(rows, row{text: "in the wrong case", change: func(r *request) {
		r.path = strings.ToUpper(r.path[:4]) + r.path[4:]
	}})
}

// methodRows are the methods that the path does not have.
func (m *matrix) methodRows() (rows []row) {
	item := document().Paths.Value(m.template)
	for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
		if method == "get" || item.GetOperation(method) == nil {
			rows = append(rows, row{text: method, change: func(r *request) { r.method = method }})
		}
	}
	return rows
}

// queryRows are values that the parameters of the query cannot have, and
// parameters that are none.
func (m *matrix) queryRows() (rows []row) {
	add := func(text string, change func(url.Values) string) {
		rows = append(rows, row{text: text, change: func(r *request) {
			path, query, _ := strings.Cut(r.path, "?")
			given, err := url.ParseQuery(query)
			if err != nil {
				panic(err)
			}
			r.path = path + "?" + change(given)
		}})
	}
	positions := []string{"offset", "at", "cursor", "before", "before_offset"} // which exclude each other
	for _, p := range m.in(openapi3.ParameterInQuery) {
		for _, v := range badQueries(p) {
			add(p.Name+"="+v, func(given url.Values) string {
				given.Del(p.Name)
				if slices.Contains(positions, p.Name) {
					maps.DeleteFunc(given, func(name string, _ []string) bool { return slices.Contains(positions, name) })
				}
				return strings.TrimPrefix(given.Encode()+"&"+p.Name+"="+v, "&")
			})
		}
		add(p.Name+"=1&"+p.Name+"=1", func(given url.Values) string {
			given[p.Name] = []string{"1", "1"}
			return given.Encode()
		})
		add(strings.ToUpper(p.Name)+"=1", func(given url.Values) string {
			return strings.Replace(given.Encode()+"&"+p.Name+"=1", p.Name, strings.ToUpper(p.Name), 1)
		})
		if p.Required {
			add("without "+p.Name, func(given url.Values) string { given.Del(p.Name); return given.Encode() })
		}
	}
	add("verbose=1", func(given url.Values) string { return strings.TrimPrefix(given.Encode()+"&verbose=1", "&") })
	add("=", func(given url.Values) string { return strings.TrimPrefix(given.Encode()+"&=", "&") })
	return rows
}

// badQueries returns the values that a parameter of the query cannot have.
func badQueries(p *openapi3.Parameter) []string {
	schema := p.Schema.Value
	values := []string{"", "%zz", "%00", "%0a", "a%ff"}
	if !strings.HasPrefix(schema.Pattern, `^[\x20-\x7e]`) {
		values = append(values, "x%20y")
	}
	switch {
	case schema.Type.Is("integer"):
		values = append(values, outside(schema)...)
		values = append(values, "%2B0", "00", "0x0", "0.0", "1e0", "x", "0,0", "0;1", "18446744073709551616")
	case schema.Enum != nil:
		values = append(values, "x", strings.ToUpper(fmt.Sprint(schema.Enum[0])))
	case p.Name == "at", p.Name == "before":
		values = append(values, "now", "-1", "01", "1.5", "253402300800000", "Earliest")
	case p.Name == "cursor":
		values = append(values, "garbage", "AAAA", "AQEAAA==", strings.Repeat("A", 4000))
	case p.Name == "topic":
		values = append(values, "..", "a%2Fb", "a%252Fb", strings.Repeat("n", 250))
	}
	return values
}

// headerRows are the values that a header cannot have, by its schema. None needs
// a request that is well-formed otherwise: each header is looked at before the
// body, and before whether headers go together.
func (m *matrix) headerRows() (rows []row) {
	for _, p := range m.in(openapi3.ParameterInHeader) {
		name := http.CanonicalHeaderKey(p.Name)
		for _, v := range badHeaders(p) {
			rows = append(rows, row{text: name + ": " + v, change: func(r *request) { r.header[name] = []string{v} }})
		}
		rows = append(rows, row{
			text:   name + ", twice",
			change: func(r *request) { r.header[name] = []string{"1", "1"} },
		})
	}
	return rows
}

func badHeaders(p *openapi3.Parameter) []string {
	schema := p.Schema.Value
	values := []string{""}
	switch {
	case schema.Type.Is("integer"):
		values = append(values, outside(schema)...)
		values = append(values, "+0", "00", "0x0", "0.0", "1e0", "x", "0,0", "0 0", "١", "18446744073709551616")
	case p.Name == "Transactional-Id":
		values = append(values, "a b", "a/b", ".", "..", "ключ", "a\tb", strings.Repeat("k", 250))
	case p.Name == "Last-Event-ID":
		values = append(values, "garbage", "AQEAAA==", "AQEA AA", "AQGAAAA", strings.Repeat("A", 4000))
	default: // printable ASCII
		values = append(values, "ключ", "a\tb", "a\x80")
	}
	if p.Name == "Idempotency-Key" || p.Name == "Transaction-Id" {
		values = append(values, strings.Repeat("k", 256))
	}
	if p.Name == "Idempotency-Key" {
		values = append(values, `""`, `"k`, `"k";a=1`, `"k\n"`, `"k"k"`, `"`, `"`+strings.Repeat("k", 256)+`"`)
	}
	return values
}

// outside returns the integers next to those that a schema allows.
func outside(schema *openapi3.Schema) []string {
	values := []string{fmt.Sprintf("%.0f", *schema.Min-1)}
	return append(values, fmt.Sprintf("%.0f", *schema.Max+1))
}

// producerRows are identities that do not hold.
func (m *matrix) producerRows(t *testing.T) (rows []row) {
	if !m.has("Producer-Id") {
		return nil
	}
	changes := []string{
		"Producer-Id:", "Producer-Epoch:",
		"Producer-Id: 999999",
		"Producer-Id: ${plain}",
		"Producer-Epoch: 0", // it was fenced
		"Producer-Epoch: 2",
		"Producer-Epoch: 9007199254740991",
	}
	if m.has("Producer-Seq") {
		changes = append(changes,
			"Producer-Id:|Producer-Epoch:",
			"Producer-Epoch:|Producer-Seq:",
			"Producer-Id:|Producer-Seq:",
			"Producer-Seq: 1000",
			"Transactional-Id: shipping",
			"Transactional-Id: nobodys",
			"Transaction-Id: nobodys",
			"Transaction-Id: open", // another's
			"Transaction-Id: committed",
			"Transaction-Id: aborted",
			"Idempotency-Key: both",
		)
		if !m.isUpload() { // which begin at 0
			const nobody = "Producer-Id:|Producer-Epoch:|Producer-Seq:|"
			changes = append(changes, "Producer-Seq:", nobody+"Transactional-Id: billing",
				nobody+"Transactional-Id:|Idempotency-Key: used") // by other records
		}
	} else {
		changes = append(changes, "Producer-Id: ${producer}", "Producer-Id: ${plain}|Producer-Epoch: 0")
	}
	for _, c := range changes {
		lines := strings.Split(c, "|")
		text := regexp.MustCompile(`([A-Za-z-]+):($|\|)`).ReplaceAllString(c, "without $1$2")
		rows = append(rows, row{text: strings.ReplaceAll(text, "|", ", "), change: m.changes(t, lines)})
	}
	return rows
}
