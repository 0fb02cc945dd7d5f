package handlers

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/charset"
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
	pattern  string // none if empty
	matches  func(value string) bool
	shortest int
	longest  int // 0: no bound
	enum     []string
}

func newParam(p *openapi3.Parameter) (param, error) {
	schema := p.Schema.Value
	out := param{
		name: p.Name, in: p.In, required: p.Required,
		integer: schema.Type.Is("integer"), high: eos.MaxInteger, shortest: int(schema.MinLength),
	}
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
	out.pattern = schema.Pattern
	switch schema.Pattern {
	case "":
		out.matches = func(string) bool { return true }
	case patternName:
		out.matches = func(value string) bool { return isName(value, 249) }
	case patternPrintable:
		out.matches = isPrintable
	default:
		pattern, err := regexp.Compile(schema.Pattern)
		if err != nil {
			return out, err
		}
		out.matches = pattern.MatchString
	}
	return out, nil
}

// Patterns of what each produce request may bring: reading them by a regular
// expression would take longer than reading the records.
const (
	patternName      = `^[A-Za-z0-9._-]{1,249}$`
	patternPrintable = `^[\x20-\x7e]{1,255}$`
)

func isPrintable(value string) bool {
	for _, c := range []byte(value) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(value) >= 1 && len(value) <= 255
}

// canonical reports whether a number that strconv has read is written in the
// one way that JSON and people write it: no plus sign, no leading zero, no -0.
func canonical(number string) bool {
	digits := strings.TrimPrefix(number, "-")
	return digits[0] >= '1' && digits[0] <= '9' || number == "0"
}

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
		if err != nil || n < p.low || n > p.high || !canonical(value) {
			return eos.InvalidParameter.Errorf("%s must be an integer from %d to %d, not %q", p.name, p.low, p.high, value)
		}
		return nil
	}
	ok := (p.pattern != patternName || ValidName(value)) && len(value) >= p.shortest && (p.longest == 0 || len(value) <= p.longest) &&
		p.matches(value) && (p.enum == nil || slices.Contains(p.enum, value))
	switch {
	case ok:
		return nil
	case p.enum != nil:
		return eos.InvalidParameter.Errorf("%s must be %s, not %q", p.name, strings.Join(p.enum, " or "), value)
	case p.longest > 0:
		return eos.InvalidParameter.Errorf("%s must be %d to %d characters that match %s, not %q",
			p.name, p.shortest, p.longest, p.pattern, value)
	}
	return eos.InvalidParameter.Errorf("%s must match %s, not %q", p.name, p.pattern, value)
}

// ValidName reports whether name may name a topic, group, member or
// transactional id.
func ValidName(name string) bool {
	return isName(name, 249) && name != "." && name != ".."
}

var nameChars = charset.Of(charset.Letters + charset.Digits + "._-")

// isName reports whether s is 1 to longest characters of A-Z a-z 0-9 . _ -.
func isName(s string, longest int) bool {
	return len(s) >= 1 && len(s) <= longest && charset.Only(nameChars, s)
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
		if err := p.checkAll(values); err != nil {
			return err
		}
	}
	return nil
}

// checkHeaders is check for a request whose path and query are right.
func (op *operation) checkHeaders(h http.Header) error {
	for i := range op.params {
		p := &op.params[i]
		if p.in != openapi3.ParameterInHeader {
			continue
		}
		if err := p.checkAll(h[p.name]); err != nil {
			return err
		}
	}
	return nil
}

// checkAll checks what was given for the parameter, of which there may be one.
func (p *param) checkAll(values []string) error {
	switch {
	case len(values) > 1:
		return eos.InvalidParameter.Errorf("%s is given %d times", p.name, len(values))
	case len(values) == 0 && p.required:
		return eos.InvalidParameter.Errorf("the parameter %s (%s) is missing", p.name, p.in)
	case len(values) == 0:
		return nil
	}
	value := values[0]
	if p.name == headerIdempotencyKey {
		var err error
		if value, err = unquote(value); err != nil {
			return err
		}
	}
	return p.check(value)
}

// Headers of a produce request, in canonical form.
const (
	headerProducerID      = "Producer-Id"
	headerProducerEpoch   = "Producer-Epoch"
	headerProducerSeq     = "Producer-Seq"
	headerIdempotencyKey  = "Idempotency-Key"
	headerTransactionalID = "Transactional-Id"
	headerTransactionID   = "Transaction-Id"
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
