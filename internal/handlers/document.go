package handlers

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"
	"github.com/swaggest/swgui/v5emb"
)

// document is the OpenAPI document: what is served of it, and what requests
// are held against.
type document struct {
	yaml       []byte
	json       []byte
	operations map[string]*operation // by method and path
}

// operation is one operation of the document.
type operation struct {
	id     string
	params []param
}

func (op *operation) operationID() string { return op.id }

func newDocument(yaml []byte) (*document, error) {
	doc, err := openapi3.NewLoader().LoadFromData(yaml)
	if err != nil {
		return nil, err
	}
	d := &document{yaml: yaml, operations: map[string]*operation{}}
	if d.json, err = doc.MarshalJSON(); err != nil {
		return nil, err
	}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			op := &operation{id: o.OperationID}
			for _, ref := range append(append(openapi3.Parameters{}, item.Parameters...), o.Parameters...) {
				p, err := newParam(ref.Value)
				if err != nil {
					return nil, fmt.Errorf("%s, parameter %s: %w", o.OperationID, ref.Value.Name, err)
				}
				op.params = append(op.params, p)
			}
			d.operations[method+" "+path] = op
		}
	}
	return d, nil
}

// operationOf names what a request was, for metrics and the log.
func (d *document) operationOf(method, pattern string) string {
	if op := d.operations[method+" "+pattern]; op != nil {
		return op.id
	}
	return "other"
}

// mount serves the document, and a page that shows it without the internet.
func (d *document) mount(r chi.Router, notFound http.HandlerFunc) {
	r.Get("/openapi.yaml", serve("application/yaml", d.yaml))
	r.Get("/openapi.json", serve("application/json", d.json))
	page := v5emb.New("eos-proxy", "/openapi.json", "/docs/")
	r.Get("/docs", func(w http.ResponseWriter, r *http.Request) {
		shown := r.Clone(r.Context())
		shown.URL.Path = "/docs/"
		page.ServeHTTP(w, shown)
	})
	r.Get("/docs/*", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") {
			notFound(w, r)
			return
		}
		page.ServeHTTP(w, r)
	})
}

func serve(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}
}
