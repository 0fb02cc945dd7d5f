package handlers

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/getkin/kin-openapi/openapi3"
)

// TestEveryErrorHasAStatus and the document shows its code under that status.
func TestEveryErrorHasAStatus(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(api.YAML)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		status int
		code   string
	}
	documented := map[answer]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for kind, status := range statuses {
				response := op.Responses.Status(status)
				if response == nil {
					continue
				}
				for _, example := range response.Value.Content["application/problem+json"].Examples {
					shown, ok := example.Value.Value.(map[string]any)
					if !ok {
						t.Fatalf("%s %s: an example of %d is no object", method, path, status)
					}
					if shown["code"] == kind.Code {
						documented[answer{status, kind.Code}] = true
					}
				}
			}
		}
	}
	seen := map[answer]string{}
	for _, kind := range eos.Kinds {
		status, ok := statuses[kind]
		at := answer{status, kind.Code}
		switch {
		case !ok:
			t.Errorf("%s (%s) has no status", kind.Code, kind.Title)
		case !documented[at]:
			t.Errorf("the document does not have %s under %d", kind.Code, status)
		case seen[at] != "" && seen[at] != kind.Title:
			t.Errorf("%d %s is titled %q and %q", status, kind.Code, seen[at], kind.Title)
		case kind.Retryable != (status == 408 || status == 429 || status >= 500):
			t.Errorf("%d %s: retryable is %t", status, kind.Code, kind.Retryable)
		}
		seen[at] = kind.Title
	}
	if len(statuses) != len(eos.Kinds) {
		t.Errorf("%d statuses of %d errors", len(statuses), len(eos.Kinds))
	}
}
