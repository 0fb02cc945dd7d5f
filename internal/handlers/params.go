package handlers

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"
)

// param is a parameter as the OpenAPI document declares it.
type param struct {
	name     string // of headers in canonical form
	in       string // path, query or header
	required bool
	integer  bool
	low      int64
	high     int64
	pattern  *regexp.Regexp
	shortest int
	longest  int // 0: no bound
	enum     []string
}

func newParam(p *openapi3.Parameter) (param, error) {
	schema := p.Schema.Value
	out := param{name: p.Name, in: p.In, required: p.Required, integer: schema.Type.Is("integer"), high: eos.MaxInteger, shortest: int(schema.MinLength)}
	if p.In == openapi3.ParameterInHeader {
		out.name = http.CanonicalHeaderKey(p.Name)
	}
	if schema.Min != nil {
		out.low = int64(*schema.Min)
	}
	if schema.Max != nil {
		out.high = int64(*schema.Max)
	}
	if schema.MaxLength != nil {
		out.longest = int(*schema.MaxLength)
	}
	for _, e := range schema.Enum {
		if s, ok := e.(string); ok {
			out.enum = append(out.enum, s)
		}
	}
	if schema.Pattern == "" {
		return out, nil
	}
	var err error
	out.pattern, err = regexp.Compile(schema.Pattern)
	return out, err
}

var integerPattern = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// check refuses a value that the document does not allow.
func (p *param) check(value string) error {
	if p.name == "at" {
		_, err := parseAt(value)
		return err
	}
	if p.name == "topic" {
		if !ValidName(value) {
			return eos.InvalidTopic.Errorf("%q is no topic name: 1 to 249 of A-Z a-z 0-9 . _ -, and not . or ..", value)
		}
		return nil
	}
	if p.integer {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < p.low || n > p.high || !integerPattern.MatchString(value) {
			return eos.InvalidParameter.Errorf("%s must be an integer from %d to %d, not %q", p.name, p.low, p.high, value)
		}
		return nil
	}
	ok := (p.name != headerTransactionalID || ValidName(value)) && len(value) >= p.shortest && (p.longest == 0 || len(value) <= p.longest) &&
		(p.pattern == nil || p.pattern.MatchString(value)) && (p.enum == nil || slices.Contains(p.enum, value))
	switch {
	case ok:
		return nil
	case p.enum != nil:
		return eos.InvalidParameter.Errorf("%s must be %s, not %q", p.name, strings.Join(p.enum, " or "), value)
	case p.longest > 0:
		return eos.InvalidParameter.Errorf("%s must be %d to %d characters that match %s, not %q", p.name, p.shortest, p.longest, p.pattern, value)
	}
	return eos.InvalidParameter.Errorf("%s must match %s, not %q", p.name, p.pattern, value)
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// ValidName reports whether name may name a topic, group, member or
// transactional id.
func ValidName(name string) bool {
	return namePattern.MatchString(name) && name != "." && name != ".."
}

// params checks the path, the query and the headers of a request strictly:
// what the document does not declare, or declares otherwise, is refused, and
// nothing may be given twice.
func (s *server) params(doc *document) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := doc.operationFor(r).check(r); err != nil {
				s.problem(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// operationFor returns the operation of a request that is routed.
func (d *document) operationFor(r *http.Request) *operation {
	pattern := chi.RouteContext(r.Context()).RoutePattern()
	if op := d.operations[r.Method+" "+pattern]; op != nil {
		return op
	}
	return d.operations[http.MethodGet+" "+pattern] // HEAD
}

func (op *operation) check(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return eos.InvalidParameter.Errorf("the query is malformed: %v", err)
	}
	for name := range query {
		if !slices.ContainsFunc(op.params, func(p param) bool { return p.in == openapi3.ParameterInQuery && p.name == name }) {
			return eos.InvalidParameter.Errorf("there is no query parameter %q", name)
		}
	}
	for i := range op.params {
		p := &op.params[i]
		var values []string
		switch p.in {
		case openapi3.ParameterInQuery:
			values = query[p.name]
		case openapi3.ParameterInHeader:
			values = r.Header[p.name]
		default:
			value, err := url.PathUnescape(chi.URLParam(r, p.name))
			if err != nil {
				return eos.InvalidParameter.Errorf("the path is malformed: %v", err)
			}
			values = []string{value}
		}
		switch {
		case len(values) > 1:
			return eos.InvalidParameter.Errorf("%s is given %d times", p.name, len(values))
		case len(values) == 0 && p.required:
			return eos.InvalidParameter.Errorf("%s is missing", p.name)
		case len(values) == 0:
			continue
		}
		value := values[0]
		if p.name == headerIdempotencyKey {
			if value, err = unquote(value); err != nil {
				return err
			}
		}
		if err := p.check(value); err != nil {
			return err
		}
	}
	return nil
}

const (
	headerIdempotencyKey  = "Idempotency-Key"
	headerTransactionalID = "Transactional-Id"
)

// unquote returns the text of a header that is a quoted string (RFC 9651,
// section 4.2.5) or a bare one.
func unquote(value string) (string, error) {
	if !strings.HasPrefix(value, `"`) {
		return value, nil
	}
	malformed := eos.InvalidParameter.Errorf("%s is not a well-formed quoted string: %s", headerIdempotencyKey, value)
	var text strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"' && i == len(value)-1:
			return text.String(), nil
		case c == '"':
			return "", malformed
		case c == '\\':
			if i++; i == len(value) || value[i] != '"' && value[i] != '\\' {
				return "", malformed
			}
			text.WriteByte(value[i])
		default:
			text.WriteByte(c)
		}
	}
	return "", malformed
}
