package handlers_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestBadIdentities sends each row of the catalogue about who sends a request to
// each operation that has one of the headers.
func TestBadIdentities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	matrix(t, w, func(e *endpoint) (rows []row) {
		headers := w.parameters(e, openapi3.ParameterInHeader)
		for _, p := range headers {
			rows = append(rows, headerRows(p)...)
		}
		has := func(name string) bool {
			return slices.ContainsFunc(headers, func(p *openapi3.Parameter) bool { return p.Name == name })
		}
		if has("Producer-Seq") {
			rows = append(rows, producerRows(strings.HasPrefix(e.id, "produceStream"))...)
		} else if has("Producer-Id") {
			rows = append(rows, without("Producer-Id"), without("Producer-Epoch"),
				setting("another producer", 409, "INVALID_PRODUCER_ID_MAPPING", "Producer-Id", w.values["producer"]))
		}
		if has("Producer-Seq") && has("Idempotency-Key") {
			rows = append(rows, setting("both identities", 400, "INVALID_REQUEST", "Idempotency-Key", "k"))
		}
		return rows
	})
}

// parameters returns what the document declares of an operation.
func (w *world) parameters(e *endpoint, in string) (list []*openapi3.Parameter) {
	item := document().Paths.Value(w.paths[e.id])
	for _, ref := range slices.Concat(item.Parameters, item.GetOperation(w.methods[e.id]).Parameters) {
		if ref.Value.In == in {
			list = append(list, ref.Value)
		}
	}
	return list
}

// setting sets headers, or takes them away where the value is empty.
func setting(name string, status int, code string, headers ...string) row {
	return row{name, func(r *request) {
		for pair := range slices.Chunk(headers, 2) {
			r.header.Set(pair[0], pair[1])
		}
	}, status, code}
}

// without takes one of several headers away that come together.
func without(header string) row {
	return row{"without " + header, func(r *request) { r.header.Del(header) }, 400, "INVALID_REQUEST"}
}

// headerRows are the values that a header cannot have, by its schema. Values
// that need no request to be well-formed otherwise: each header is looked at
// before the body, and before whether headers go together.
func headerRows(p *openapi3.Parameter) (rows []row) {
	schema := p.Schema.Value
	values := []string{""}
	switch {
	case schema.Type.Is("integer"):
		values = append(values, "-2", "+0", "00", "0x0", "0.0", "1e0", "x", "0,0", "9007199254740992", "18446744073709551616", "١", "0 0")
	case p.Name == "Transactional-Id":
		values = append(values, "a b", "a/b", ".", "..", "ключ", "a\tb", strings.Repeat("k", 250))
	case p.Name == "Last-Event-ID":
		values = append(values, "garbage", "0", "AQEAAA==", "AQEA AA", "AQGAAAA", strings.Repeat("A", 4000))
	default: // printable ASCII
		values = append(values, "ключ", "a\tb", "a\x80")
	}
	if p.Name == "Idempotency-Key" {
		values = append(values, `""`, `"k`, `"k";a=1`, `"k\n"`, `"k"k"`, `"`, `"`+strings.Repeat("k", 256)+`"`)
	}
	if p.Name == "Idempotency-Key" || p.Name == "Transaction-Id" {
		values = append(values, strings.Repeat("k", 256))
	}
	name := http.CanonicalHeaderKey(p.Name)
	for _, v := range values {
		rows = append(rows, row{name + " is " + v, func(r *request) { r.header[name] = []string{v} }, 400, "INVALID_REQUEST"})
	}
	return append(rows, row{name + " is there twice", func(r *request) { r.header[name] = []string{"1", "1"} }, 400, "INVALID_REQUEST"})
}

// producerRows are identities that do not hold. An upload without a first
// sequence begins at 0.
func producerRows(isUpload bool) []row {
	rows := []row{
		without("Producer-Id"), without("Producer-Epoch"),
		setting("an unknown producer", 409, "UNKNOWN_PRODUCER_ID", "Producer-Id", "999999"),
		setting("an epoch above the known one", 409, "INVALID_PRODUCER_EPOCH", "Producer-Epoch", "1"),
		setting("the largest epoch", 409, "INVALID_PRODUCER_EPOCH", "Producer-Epoch", "9007199254740991"),
		setting("another's transactional id", 409, "INVALID_PRODUCER_ID_MAPPING", "Transactional-Id", "shipping"),
		setting("a transactional id that nobody has", 409, "INVALID_PRODUCER_ID_MAPPING", "Transactional-Id", "nobody"),
		setting("a sequence too far", 409, "OUT_OF_ORDER_SEQUENCE_NUMBER", "Producer-Seq", "1000"),
		setting("a transaction that nobody began", 404, "TRANSACTIONAL_ID_NOT_FOUND", "Transaction-Id", "nobody"),
		setting("another's transaction", 409, "INVALID_PRODUCER_ID_MAPPING", "Transaction-Id", "open"),
		{"two of the three are missing", func(r *request) { r.header.Del("Producer-Id"); r.header.Del("Producer-Epoch") }, 400, "INVALID_REQUEST"},
		{"two others are missing", func(r *request) { r.header.Del("Producer-Epoch"); r.header.Del("Producer-Seq") }, 400, "INVALID_REQUEST"},
	}
	if !isUpload {
		rows = append(rows, without("Producer-Seq"), row{"a transactional id alone", func(r *request) {
			for _, name := range []string{"Producer-Id", "Producer-Epoch", "Producer-Seq"} {
				r.header.Del(name)
			}
			r.header.Set("Transactional-Id", "billing")
		}, 400, "INVALID_REQUEST"})
	}
	return rows
}

// TestBadPaths sends each row of the catalogue about paths, names and queries to
// each operation.
func TestBadPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	matrix(t, w, func(e *endpoint) (rows []row) {
		template := w.paths[e.id]
		for _, p := range w.parameters(e, openapi3.ParameterInPath) {
			rows = append(rows, segmentRows(e.id, template, p.Name)...)
		}
		for _, p := range w.parameters(e, openapi3.ParameterInQuery) {
			rows = append(rows, queryRows(p)...)
		}
		return append(rows, shapeRows(w, e)...)
	})
}

// segmentRows put what is no such name, or names nothing, at the place of a
// parameter of the path.
func segmentRows(id, template, param string) (rows []row) {
	at := slices.Index(strings.Split(template, "/"), "{"+param+"}")
	add := func(value string, status int, code string) {
		rows = append(rows, row{param + " is " + value, func(r *request) {
			path, query, asks := strings.Cut(r.path, "?")
			segments := strings.Split(path, "/")
			segments[at] = value
			if r.path = strings.Join(segments, "/"); asks {
				r.path += "?" + query
			}
		}, status, code})
	}
	names := []string{"..", ".", "%2e%2e", "a%2Fb", "a%00b", "a%20b", "a+b", "a%252Fb", "%C3%BC", "%ff", "..%2Ft", strings.Repeat("n", 250), "a;b", "a:b", "%0a"}
	switch param {
	case "topic":
		for _, name := range names {
			add(name, 400, "INVALID_TOPIC_EXCEPTION")
		}
	case "group", "member_id":
		for _, name := range names {
			add(name, 400, "INVALID_REQUEST")
		}
	case "transaction_id":
		for _, name := range []string{"a%00b", "%0a", "%C3%BC", "%ff", "%7f", strings.Repeat("n", 256)} {
			add(name, 400, "INVALID_REQUEST")
		}
	default:
		for _, number := range []string{"-1", "+1", "x", "00", "0x0", "1.0", "1e0", "%20", "9007199254740992", "99999999999999999999", "%00", "0%2F"} {
			add(number, 400, "INVALID_REQUEST")
		}
	}
	// A path that ends with a slash is none; an empty segment is an empty name.
	if empty := rows[0]; at == len(strings.Split(template, "/"))-1 {
		add("", 404, "NOT_FOUND")
	} else {
		add("", empty.status, empty.code)
	}
	switch creates := []string{"createTopic", "putTransaction", "abortTransaction", "joinGroup"}; {
	case slices.Contains(creates, id):
	case param == "topic":
		add("nobodys", 404, "UNKNOWN_TOPIC_OR_PARTITION")
		add("T", 404, "UNKNOWN_TOPIC_OR_PARTITION")
	case param == "partition":
		add("2", 404, "UNKNOWN_TOPIC_OR_PARTITION")
		add("2147483647", 404, "UNKNOWN_TOPIC_OR_PARTITION")
	case param == "transaction_id":
		add("nobodys", 404, "TRANSACTIONAL_ID_NOT_FOUND")
	case param == "producer_id":
		add("999999", 404, "UNKNOWN_PRODUCER_ID")
	case param == "member_id":
		add("nobody", 404, "UNKNOWN_MEMBER_ID")
	case id == "getGroup" || id == "deleteGroup":
		add("nobodys", 404, "GROUP_ID_NOT_FOUND")
	case strings.Contains(template, "{member_id}"):
		add("nobodys", 404, "UNKNOWN_MEMBER_ID")
	}
	return rows
}

// queryRows are values that a parameter of the query cannot have.
func queryRows(p *openapi3.Parameter) (rows []row) {
	schema := p.Schema.Value
	values := []string{"", "%zz", "%00", "%0a", "a%ff", "x%20y"}
	switch {
	case schema.Type.Is("integer"):
		values = append(values, "-2", "%2B0", "00", "0x0", "0.0", "1e0", "x", "0,0", "9007199254740992", "18446744073709551616", "0;1")
	case schema.Enum != nil:
		values = append(values, "x", "ONGOING", "READ_COMMITTED")
	case p.Name == "at":
		values = append(values, "now", "-1", "01", "1.5", "253402300800000", "Earliest")
	case strings.HasPrefix(schema.Pattern, `^[\x20-\x7e]`):
		values = slices.DeleteFunc(values, func(v string) bool { return v == "x%20y" })
	}
	refused := func(name string, change func(url.Values) string) row {
		return row{name, func(r *request) {
			path, query, _ := strings.Cut(r.path, "?")
			given, err := url.ParseQuery(query)
			if err != nil {
				panic(err)
			}
			r.path = path + "?" + change(given)
		}, 400, "INVALID_REQUEST"}
	}
	for _, v := range values {
		r := refused(p.Name+" is "+v, func(given url.Values) string {
			given.Del(p.Name)
			return strings.TrimPrefix(given.Encode()+"&"+p.Name+"="+v, "&")
		})
		if p.Name == "topic" && !strings.HasPrefix(v, "%zz") {
			r.code = "INVALID_TOPIC_EXCEPTION"
		}
		rows = append(rows, r)
	}
	rows = append(rows, refused(p.Name+" is there twice", func(given url.Values) string {
		given[p.Name] = []string{"1", "1"}
		return given.Encode()
	}), refused(p.Name+" in the wrong case", func(given url.Values) string {
		return strings.Replace(given.Encode()+"&"+p.Name+"=1", p.Name, strings.ToUpper(p.Name), 1)
	}))
	if p.Required {
		rows = append(rows, refused("without "+p.Name, func(given url.Values) string { given.Del(p.Name); return given.Encode() }))
	}
	return rows
}

// shapeRows are paths that are none, and methods that the path does not have.
func shapeRows(w *world, e *endpoint) []row {
	path := func(name string, status int, code string, change func(path string) string) row {
		return row{name, func(r *request) {
			path, query, asks := strings.Cut(r.path, "?")
			if r.path = change(path); asks {
				r.path += "?" + query
			}
		}, status, code}
	}
	rows := []row{
		path("trailing slash", 404, "NOT_FOUND", func(p string) string { return p + "/" }),
		path("an empty segment", 404, "NOT_FOUND", func(p string) string { return "/" + p }),
		path("a dot", 404, "NOT_FOUND", func(p string) string { return "/." + p }),
		path("dots", 404, "NOT_FOUND", func(p string) string { return "/x/.." + p }),
		path("something behind", 404, "NOT_FOUND", func(p string) string { return p + "/nothing/of/it" }),
		path("another version", 404, "NOT_FOUND", func(p string) string { return "/v2" + p }),
		path("the wrong case", 404, "NOT_FOUND", func(p string) string { return strings.ToUpper(p[:4]) + p[4:] }),
		{"an unknown parameter", func(r *request) {
			_, _, asks := strings.Cut(r.path, "?")
			if asks {
				r.path += "&verbose=1"
			} else {
				r.path += "?verbose=1"
			}
		}, 400, "INVALID_REQUEST"},
	}
	for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
		item := document().Paths.Value(w.paths[e.id])
		if method != strings.ToUpper(method) || item.GetOperation(method) == nil {
			rows = append(rows, row{"method " + method, func(r *request) { r.method = method }, 405, "METHOD_NOT_ALLOWED"})
		}
	}
	return rows
}
