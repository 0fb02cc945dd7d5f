package handlers_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/klauspost/compress/zstd"
)

// client sends requests and holds each of them, and its answer, against the
// OpenAPI document.
type client struct {
	url  string
	http *http.Client
}

// request is a request as it is to be sent. Plain is its body before any
// Content-Encoding; nil when that is Body.
type request struct {
	method, path string
	header       http.Header
	body, plain  []byte
}

// answer is an answer; its body is unpacked.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and returns its answer, both checked.
func (c *client) do(t *testing.T, r *request) *answer {
	t.Helper()
	a, err := c.try(t, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

// try is do for a request that may get no answer.
func (c *client) try(t *testing.T, r *request) (*answer, error) {
	t.Helper()
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	sent, err := http.NewRequestWithContext(t.Context(), r.method, c.url+r.path, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		sent.Header[name] = values
	}
	resp, err := c.http.Do(sent)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if err := a.unpack(); err != nil {
		return nil, err
	}
	if err := check(r, a); err != nil {
		t.Errorf("%s %s answered %d %s\nagainst the document: %v", r.method, r.path, a.status, a.body, err)
	}
	return a, nil
}

func (a *answer) unpack() (err error) {
	if len(a.body) == 0 {
		return nil
	}
	switch encoding := a.header.Get("Content-Encoding"); encoding {
	case "":
		return nil
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			return err
		}
		a.body, err = io.ReadAll(z)
		return err
	case "zstd":
		z, err := zstd.NewReader(nil)
		if err != nil {
			return err
		}
		a.body, err = z.DecodeAll(a.body, nil)
		return err
	default:
		return fmt.Errorf("the answer's Content-Encoding is %q", encoding)
	}
}

// mustDo sends a request with a JSON body, or none when it is empty, and fails
// unless the answer has the status. Header lines are "Name: value".
func (c *client) mustDo(t *testing.T, status int, method, path, body string, header ...string) *answer {
	t.Helper()
	r := &request{method: method, path: path, header: http.Header{}}
	if body != "" {
		r.body = []byte(body)
		r.header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.header.Set(name, value)
	}
	a := c.do(t, r)
	if a.status != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// problem returns the body of a refusal.
func (a *answer) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%d %s is no problem: %v", a.status, a.body, err)
	}
	return p
}

// document is the OpenAPI document, read once.
var document = sync.OnceValue(func() *openapi3.T {
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(api.YAML)
	if err != nil {
		panic(err)
	}
	return doc
})

// check holds an answer against the document; and the request too, unless it
// was refused as malformed: what gets another answer must be valid.
func check(r *request, a *answer) error {
	input, err := requestInput(r)
	if err != nil {
		return err
	}
	if err := checkProblem(input.Route, a); err != nil {
		return err
	}
	if input.Route == nil {
		return nil
	}
	switch a.status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
	default:
		if err := openapi3filter.ValidateRequest(input.Request.Context(), input); err != nil {
			return fmt.Errorf("request: %w", err)
		}
	}
	// The validator takes every number for a float64.
	body := bytes.ReplaceAll(a.body, []byte("1e400"), []byte("1"))
	return openapi3filter.ValidateResponse(input.Request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input,
		Status:                 a.status,
		Header:                 a.header,
		Body:                   io.NopCloser(bytes.NewReader(body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
}

// requestInput returns the request as the validator wants it; without a Route
// when the document has no such operation.
func requestInput(r *request) (*openapi3filter.RequestValidationInput, error) {
	plain := r.plain
	if plain == nil {
		plain = r.body
	}
	plain = bytes.ReplaceAll(plain, []byte("1e400"), []byte("1"))
	var reader io.Reader
	if len(plain) > 0 {
		reader = bytes.NewReader(plain)
	}
	sent, err := http.NewRequest(r.method, r.path, reader)
	if err != nil {
		return nil, err
	}
	sent.Header = r.header.Clone()
	if sent.Header == nil {
		sent.Header = http.Header{}
	}
	// The document says that quotes may stand around a key.
	if key := sent.Header.Get("Idempotency-Key"); strings.HasPrefix(key, `"`) && len(key) > 2 {
		sent.Header.Set("Idempotency-Key", key[1:len(key)-1])
	}
	route, params := findRoute(r.method, sent.URL)
	if route != nil && strings.HasPrefix(route.Operation.OperationID, "produceRaw") {
		sent.Header.Set("Content-Type", "application/octet-stream") // it takes any type
	}
	return &openapi3filter.RequestValidationInput{
		Request: sent, Route: route, PathParams: params,
		Options: &openapi3filter.Options{MultiError: true},
	}, nil
}

// findRoute returns the operation of a request and its path parameters, or nil.
func findRoute(method string, u *url.URL) (*routers.Route, map[string]string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	given := strings.Split(u.EscapedPath(), "/")
	for path, item := range document().Paths.Map() {
		params, ok := matchPath(strings.Split(path, "/"), given)
		if op := item.GetOperation(method); ok && op != nil {
			return &routers.Route{Spec: document(), Path: path, PathItem: item, Method: method, Operation: op}, params
		}
	}
	return nil, nil
}

func matchPath(template, given []string) (map[string]string, bool) {
	if len(template) != len(given) {
		return nil, false
	}
	params := map[string]string{}
	for i, segment := range template {
		name, isParam := strings.CutPrefix(segment, "{")
		switch value, err := url.PathUnescape(given[i]); {
		case err != nil, isParam && value == "", !isParam && segment != value:
			return nil, false
		case isParam:
			params[strings.TrimSuffix(name, "}")] = value
		}
	}
	return params, true
}

// checkProblem checks what the document cannot say of a refusal: that its
// fields agree with the status and the headers, and that the operation's
// document lists its code.
func checkProblem(route *routers.Route, a *answer) error {
	if a.header.Get("Request-Id") == "" {
		return fmt.Errorf("no Request-Id")
	}
	if a.status < http.StatusBadRequest || len(a.body) == 0 {
		return nil
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("Content-Type is %q", got)
	}
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		return err
	}
	again := map[int]bool{408: true, 429: true, 500: true, 503: true}[a.status]
	switch {
	case p.Status != int64(a.status):
		return fmt.Errorf("status %d within %d", p.Status, a.status)
	case p.Type != "/problems/"+strings.ReplaceAll(strings.ToLower(p.Code), "_", "-"):
		return fmt.Errorf("type %s of code %s", p.Type, p.Code)
	case p.RequestID != a.header.Get("Request-Id"):
		return fmt.Errorf("request_id %s under Request-Id %s", p.RequestID, a.header.Get("Request-Id"))
	case p.Retryable != again:
		return fmt.Errorf("retryable is %t", p.Retryable)
	case p.Effect != api.ProblemEffectNone && a.status < http.StatusInternalServerError:
		return fmt.Errorf("effect is %q", p.Effect)
	case a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "":
		return fmt.Errorf("no Allow")
	case route == nil:
		return nil
	}
	response := route.Operation.Responses.Status(a.status)
	if response == nil {
		return fmt.Errorf("status is not documented")
	}
	for _, example := range response.Value.Content["application/problem+json"].Examples {
		if shown, ok := example.Value.Value.(map[string]any); ok && shown["code"] == p.Code {
			return nil
		}
	}
	return fmt.Errorf("code %s is not documented under %d of %s", p.Code, a.status, route.Operation.OperationID)
}
