package handlers

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/go-chi/chi/v5"
)

// fetchPath is the route of Fetch.
const fetchPath = "/v1/topics/{topic}/partitions/{partition}/records"

// fetchPlain answers the fetches that followers send all the time, without the
// generated code, whose reflection costs more than a fetch from memory, and
// whose deep stack would stay with a fetch that waits. What is not plain, or
// wrong, goes the way of all other requests.
func (s *server) fetchPlain(otherwise http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		topic := chi.URLParam(r, "topic")
		partition, ok := plainInteger(chi.URLParam(r, "partition"), 0, eos.MaxPartitions-1)
		params, plain := plainParams(r.URL.RawQuery)
		if !ok || !plain || !ValidName(topic) {
			otherwise(w, r)
			return
		}
		s.Fetch(w, r, topic, partition, params)
	}
}

// plainParams reads a query of integers within their ranges, as openapi.yaml
// has them, each given once.
func plainParams(query string) (params api.FetchParams, plain bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, text, _ := strings.Cut(pair, "=")
		var field **int64
		low, high := int64(1), int64(0)
		switch name {
		case "offset":
			field, low, high = &params.Offset, 0, eos.MaxInteger
		case "max_records":
			field, high = &params.MaxRecords, 10_000
		case "max_bytes":
			field, high = &params.MaxBytes, 10<<20
		case "wait_ms":
			field, low, high = &params.WaitMs, 0, 60_000
		}
		if field == nil || *field != nil {
			return params, false
		}
		n, ok := plainInteger(text, low, high)
		if !ok {
			return params, false
		}
		*field = &n
	}
	return params, true
}

// plainInteger reads an integer of digits only, without a leading zero.
func plainInteger(text string, low, high int64) (n int64, ok bool) {
	if text == "" || len(text) > 1 && text[0] == '0' || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && low <= n && n <= high
}
