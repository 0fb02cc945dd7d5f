package api_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

const problemType = "application/problem+json"

func mustLoad(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.YAML)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// operations calls f for each operation of the document, in a subtest of its own.
func operations(t *testing.T, f func(t *testing.T, path *openapi3.PathItem, op *openapi3.Operation)) {
	t.Helper()
	for url, path := range mustLoad(t).Paths.Map() {
		for method, op := range path.Operations() {
			t.Run(method+" "+url, func(t *testing.T) {
				t.Parallel()
				f(t, path, op)
			})
		}
	}
}

// responses calls f for each status that an operation answers.
func responses(t *testing.T, f func(t *testing.T, status int, r *openapi3.Response)) {
	t.Helper()
	operations(t, func(t *testing.T, _ *openapi3.PathItem, op *openapi3.Operation) {
		t.Helper()
		for code, r := range op.Responses.Map() {
			status, err := strconv.Atoi(code)
			if err != nil {
				t.Errorf("response %q is no status", code)
				continue
			}
			f(t, status, r.Value)
		}
	})
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	doc := mustLoad(t)
	if doc.OpenAPI != "3.0.3" {
		t.Errorf("OpenAPI version %s: others make validators slow and generators fail", doc.OpenAPI)
	}
	all := []openapi3.ValidationOption{
		openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation(), openapi3.EnableMultiError(),
	}
	if err := doc.Validate(t.Context(), all...); err != nil {
		t.Error(err)
	}
}

// TestDocumentIsFlat keeps out what generators make unreadable types of.
func TestDocumentIsFlat(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"oneOf", "anyOf", "allOf", "discriminator"} {
		if strings.Contains(string(api.YAML), word) {
			t.Errorf("the document has %s", word)
		}
	}
}

func TestOperationsAreDescribed(t *testing.T) {
	t.Parallel()
	var tags []string
	for _, tag := range mustLoad(t).Tags {
		tags = append(tags, tag.Name)
	}
	operations(t, func(t *testing.T, path *openapi3.PathItem, op *openapi3.Operation) {
		if op.OperationID == "" || op.Summary == "" || op.Description == "" {
			t.Errorf("operationId %q, summary %q, description %q: want all three", op.OperationID, op.Summary, op.Description)
		}
		if len(op.Tags) != 1 || !slices.Contains(tags, op.Tags[0]) {
			t.Errorf("tags %q: want one of %q", op.Tags, tags)
		}
		for _, p := range slices.Concat(path.Parameters, op.Parameters) {
			if p.Value.Description == "" {
				t.Errorf("no description of parameter %s", p.Value.Name)
			}
		}
	})
}

func TestBodiesHaveExamples(t *testing.T) {
	t.Parallel()
	operations(t, func(t *testing.T, _ *openapi3.PathItem, op *openapi3.Operation) {
		if op.RequestBody != nil {
			for name, media := range op.RequestBody.Value.Content {
				if len(media.Examples) == 0 {
					t.Errorf("no example of a request of type %s", name)
				}
			}
		}
		for status, r := range op.Responses.Map() {
			for name, media := range r.Value.Content {
				if len(media.Examples) == 0 {
					t.Errorf("no example of answer %s of type %s", status, name)
				}
			}
		}
	})
}

// TestObjectsAreOpenOrClosed: a request with an unknown field is refused, an answer may gain one.
func TestObjectsAreOpenOrClosed(t *testing.T) {
	t.Parallel()
	operations(t, func(t *testing.T, _ *openapi3.PathItem, op *openapi3.Operation) {
		if op.RequestBody != nil {
			for _, media := range op.RequestBody.Value.Content {
				checkObjects(t, media.Schema, false)
			}
		}
		for _, r := range op.Responses.Map() {
			for _, media := range r.Value.Content {
				checkObjects(t, media.Schema, true)
			}
		}
	})
}

// checkObjects reports each object under s that does not say about additional properties what it should.
func checkObjects(t *testing.T, s *openapi3.SchemaRef, open bool) {
	t.Helper()
	if s.Value.Type.Is(openapi3.TypeObject) {
		if has := s.Value.AdditionalProperties.Has; has == nil || *has != open {
			t.Errorf("%s: want additionalProperties: %t", s.Ref, open)
		}
		for _, p := range s.Value.Properties {
			checkObjects(t, p, open)
		}
	}
	if s.Value.Items != nil {
		checkObjects(t, s.Value.Items, open)
	}
}

func TestAnswersCarryTheirHeaders(t *testing.T) {
	t.Parallel()
	responses(t, func(t *testing.T, status int, r *openapi3.Response) {
		want := []string{"Request-Id"}
		switch status {
		case http.StatusMethodNotAllowed:
			want = append(want, "Allow")
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			want = append(want, "Retry-After")
		}
		for _, name := range want {
			if h := r.Headers[name]; h == nil || !h.Value.Required {
				t.Errorf("%d: header %s is not required", status, name)
			}
		}
	})
}

// TestProblems checks that each refusal is a problem and nothing else, that its description names exactly the codes
// that its examples show, and that the examples follow the rules of status, type, retryable and effect.
func TestProblems(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("(?m)^(?:- )?`([A-Z_]+)`: ")
	responses(t, func(t *testing.T, status int, r *openapi3.Response) {
		if status < http.StatusBadRequest {
			return
		}
		if got := slices.Collect(maps.Keys(r.Content)); !slices.Equal(got, []string{problemType}) {
			t.Errorf("%d: types %q, want %s", status, got, problemType)
			return
		}
		if ref := r.Content[problemType].Schema.Ref; ref != "#/components/schemas/Problem" {
			t.Errorf("%d: schema %q, want Problem", status, ref)
		}
		shown := map[string]bool{}
		for name, example := range r.Content[problemType].Examples {
			p := mustProblem(t, example.Value.Value)
			checkProblem(t, name, status, p)
			shown[p.Code] = true
		}
		described := map[string]bool{}
		for _, match := range named.FindAllStringSubmatch(*r.Description, -1) {
			described[match[1]] = true
		}
		if diff := cmp.Diff(described, shown); diff != "" {
			t.Errorf("%d: codes described (-) and shown (+):\n%s", status, diff)
		}
	})
}

func mustProblem(t *testing.T, value any) api.Problem {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var p api.Problem
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func checkProblem(t *testing.T, name string, status int, p api.Problem) {
	t.Helper()
	if p.Status != int64(status) {
		t.Errorf("example %s under %d has status %d", name, status, p.Status)
	}
	if name != p.Code && !strings.HasPrefix(name, p.Code+"_") {
		t.Errorf("example %s under %d has code %s", name, status, p.Code)
	}
	if want := "/problems/" + strings.ReplaceAll(strings.ToLower(p.Code), "_", "-"); p.Type != want {
		t.Errorf("example %s under %d has type %s, want %s", name, status, p.Type, want)
	}
	again := []int{
		http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusServiceUnavailable,
	}
	if want := slices.Contains(again, status); p.Retryable != want {
		t.Errorf("example %s under %d: retryable is not %t", name, status, want)
	}
	if p.Effect != api.ProblemEffectNone && status < http.StatusInternalServerError {
		t.Errorf("example %s under %d has effect %s: a refusal has none", name, status, p.Effect)
	}
}
