package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFetchAnswersAsRouted: a fetch past the router gets the answer that it gets
// through it, header by header, refusals and compression included.
func TestFetchAnswersAsRouted(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	cursors := newFetched(t, p)
	const small, large = "/v1/topics/t/partitions/1/records", "/v1/topics/large/partitions/0/records"
	for _, test := range []struct {
		path, query, header string // header is one line
		status              int
	}{
		{small, "", "", 200},
		{small, "offset=1", "", 200},
		{small, "offset=3", "", 200},
		{small, "offset=3&wait_ms=1", "", 200},
		{small, "offset=1&max_records=1&max_bytes=1", "", 200},
		{small, "at=latest", "", 200},
		{small, "at=earliest", "", 200},
		{small, "at=1", "", 200},
		{small, "isolation_level=read_committed", "", 200},
		{small, "offset=4", "", 416},
		{small, "offset=0&at=latest", "", 400},
		{small, "offset=-1", "", 400},
		{small, "offset=01", "", 400},
		{small, "offset=%31", "", 200},
		{small, "offset=1&offset=1", "", 400},
		{small, "offset=", "", 400},
		{small, "Offset=1", "", 400},
		{small, "cursor=" + cursors["t"], "", 400},
		{small, "at=soon", "", 400},
		{small, "max_records=0", "", 400},
		{small, "max_bytes=10485761", "", 400},
		{small, "wait_ms=60001", "", 400},
		{small, "isolation_level=serializable", "", 400},
		{small, "offset=1;at=2", "", 400},
		{"/v1/topics/t/partitions/2/records", "", "", 200},
		{"/v1/topics/t/partitions/2/records", "wait_ms=1", "", 200},
		{"/v1/topics/t/partitions/3/records", "", "", 404},
		{"/v1/topics/t/partitions/3/records", "wait_ms=1", "", 404},
		{"/v1/topics/t/partitions/9999/records", "", "", 404},
		{"/v1/topics/t/partitions/10000/records", "", "", 404},
		{"/v1/topics/t/partitions/01/records", "", "", 400},
		{"/v1/topics/missing/partitions/0/records", "", "", 404},
		{"/v1/topics/missing/records", "wait_ms=1", "", 404},
		{"/v1/topics/../records", "", "", 400},
		{"/v1/topics/old/partitions/0/records", "offset=0", "", 410},
		{"/v1/topics/old/partitions/0/records", "", "", 200},
		{"/v1/topics/old/records", "cursor=" + cursors["old"], "", 410},
		{"/v1/topics/t/records", "", "", 200},
		{"/v1/topics/t/records", "at=latest", "", 200},
		{"/v1/topics/t/records", "max_records=1", "", 200},
		{"/v1/topics/t/records", "cursor=" + cursors["t"], "", 200},
		{"/v1/topics/t/records", "cursor=" + cursors["t"] + "&wait_ms=1", "", 200},
		{"/v1/topics/t/records", "cursor=" + cursors["old"], "", 400},
		{"/v1/topics/t/records", "cursor=AQEA", "", 400},
		{"/v1/topics/t/records", "cursor=" + cursors["t"] + "&at=latest", "", 400},
		{"/v1/topics/t/records", "offset=1", "", 400},
		{small, "", "Accept-Encoding: gzip", 200},
		{small, "offset=4", "Accept-Encoding: gzip", 416},
		{large, "max_records=10000", "", 200},
		{large, "max_records=10000", "Accept-Encoding: gzip", 200},
		{large, "max_records=10000", "Accept-Encoding: zstd, gzip", 200},
		{large, "max_records=10000", "Accept-Encoding: identity", 200},
		{large, "max_records=10000", "Accept-Encoding: gzip;q=0", 200},
		{"/v1/topics/large/records", "max_records=10000", "Accept-Encoding: gzip", 200},
		{small, "", "Request-Id: mine", 200},
		{small, "", "Request-Id: not mine", 200},
		{small, "offset=4", "Request-Id: mine", 416},
		{small, "", "If-None-Match: *", 200},
		{small, "", `If-Match: "a"`, 200},
		{small, "", "If-Modified-Since: Mon, 23 Nov 2076 00:00:00 GMT", 200},
		{small, "", "If-Unmodified-Since: Mon, 23 Nov 2015 00:00:00 GMT", 200},
		{large, "max_records=10000", "Range: bytes=0-9", 200},
		{small, "", "Accept: text/html", 200},
		{small, "", "Idempotency-Key: k", 200},
	} {
		name := strings.TrimSpace(test.path + "?" + test.query + " " + test.header)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			routed, direct := p.fetched(t, test.path, test.query, test.header, true), p.fetched(t, test.path, test.query, test.header, false)
			if diff := cmp.Diff(routed, direct); diff != "" {
				t.Errorf("the router's answer (-), and the direct one (+): %s", diff)
			}
			if status := fmt.Sprintf("%d ", test.status); !strings.HasPrefix(direct, status) {
				t.Errorf("%.300s, want %s", direct, status)
			}
		})
	}
}

// newFetched makes topics to fetch from: t with partitions, large with more than
// a piece of an answer, and old, without its first record. It returns cursors.
func newFetched(t *testing.T, p *proxy) map[string]string {
	t.Helper()
	c := p.client(t)
	cursors := map[string]string{}
	cursor := func(topic string) {
		var page struct{ Cursor string }
		if err := json.Unmarshal(c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/"+topic+"/records?max_records=1", "").body, &page); err != nil {
			t.Fatal(err)
		}
		cursors[topic] = page.Cursor
	}
	for topic, partitions := range map[string]int{"t": 3, "large": 1, "old": 1} {
		c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/"+topic, fmt.Sprintf(`{"partition_count":%d}`, partitions))
	}
	for _, partition := range "011" {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/partitions/"+string(partition)+"/records",
			`{"records":[{"key":"k","value":{"n":1},"headers":[{"name":"a","value":"b"}]}]}`)
	}
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/partitions/1/raw", "bytes")
	for range 3 {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/large/records", `{"records":[{"value":1}`+strings.Repeat(`,{"value":"0123456789"}`, 1999)+`]}`)
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/old/records", oneRecord)
	}
	cursor("t")
	c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/old/records?max_records=1", "")
	cursor("old")
	c.mustDo(t, http.StatusOK, http.MethodDelete, "/v1/topics/old/partitions/0/records?before_offset=2", "")
	return cursors
}

// fetched returns the answer to a fetch, but for its id; routed if its path is
// given as one with escapes, which direct leaves to the router.
func (p *proxy) fetched(t *testing.T, path, query, header string, routed bool) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.URL = &url.URL{Path: path, RawQuery: query}
	if routed {
		r.URL.RawPath = path
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	id := w.Header().Get("Request-Id")
	if id == "" {
		t.Error("there is no Request-Id")
	}
	return strings.ReplaceAll(fmt.Sprintln(w.Code, w.Header(), w.Body), id, "(id)")
}
