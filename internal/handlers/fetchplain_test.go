package handlers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/go-chi/chi/v5"
	"pgregory.net/rapid"
)

// What is read as plain, the OpenAPI document allows.
func TestPlainQueriesAreAllowed(t *testing.T) {
	t.Parallel()
	doc, err := newDocument(api.YAML)
	if err != nil {
		t.Fatal(err)
	}
	const topic, partition = " /v1/topics/{topic}/records", " /v1/topics/{topic}/partitions/{partition}/records"
	plain := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		var pairs []string
		for range rapid.IntRange(0, 3).Draw(rt, "parameters") {
			name := rapid.SampledFrom([]string{"offset", "max_records", "max_bytes", "wait_ms", "at", "cursor", "Offset", ""}).Draw(rt, "name")
			value := rapid.OneOf(rapid.StringMatching(`[0-9]{1,5}`), rapid.StringMatching(`[-+ 0-9.]{0,3}`),
				rapid.SampledFrom([]string{"latest", "AQEA", "AQ==", "10000", "10001", "10485760", "10485761", "60000", "60001", "9007199254740991", "9007199254740992", "%31"})).Draw(rt, "value")
			pairs = append(pairs, name+"="+value)
		}
		query, path := strings.Join(pairs, "&"), rapid.SampledFrom([]string{topic, partition}).Draw(rt, "path")
		params, ok := plainParams(query, path == partition)
		if _, err := startAt(params.at); !ok || err != nil {
			return
		}
		plain[path]++
		route := chi.NewRouteContext()
		route.URLParams.Add("topic", "t")
		route.URLParams.Add("partition", "0")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		if err := doc.operations[http.MethodGet+path].check(r.WithContext(context.WithValue(t.Context(), chi.RouteCtxKey, route))); err != nil {
			rt.Fatalf("%q is read as plain of %s, but: %v", query, path, err)
		}
	})
	if plain[topic] == 0 || plain[partition] == 0 {
		t.Errorf("queries that were plain: %v", plain)
	}
}
