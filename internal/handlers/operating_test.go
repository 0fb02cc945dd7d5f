package handlers_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

// TestMetricsDocumented: docs/operating.md lists exactly the metrics of ours.
func TestMetricsDocumented(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", oneRecord)
	page := c.mustDo(t, http.StatusOK, http.MethodGet, "/metrics", "")
	var served []string
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (eos_\S+) `).FindAllStringSubmatch(string(page.body), -1) {
		served = append(served, match[1])
	}
	doc, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\|([^|]*)\|`).FindAllStringSubmatch(string(doc), -1) {
		for _, match := range regexp.MustCompile("`(eos_[a-z_]+)").FindAllStringSubmatch(row[1], -1) {
			listed = append(listed, match[1])
		}
	}
	slices.Sort(served)
	slices.Sort(listed)
	if diff := cmp.Diff(served, listed); diff != "" {
		t.Errorf("served (-) and listed in docs/operating.md (+):\n%s", diff)
	}
}

// TestMetricsCount what happened.
func TestMetricsCount(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for range 2 {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"key":"a","value":1},{"value":2}]}`, "Idempotency-Key: k")
	}
	c.mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", `{"transactional_id":"x"}`)
	c.mustDo(t, http.StatusConflict, http.MethodPost, "/v1/topics/t/records", oneRecord, "Producer-Id: 1001", "Producer-Epoch: 0", "Producer-Seq: 5")
	c.mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", `{"transactional_id":"x"}`)
	c.mustDo(t, http.StatusPreconditionFailed, http.MethodPost, "/v1/topics/t/records", oneRecord, "Producer-Id: 1001", "Producer-Epoch: 0", "Producer-Seq: 0")
	got := p.metrics(t)
	want := map[string]float64{
		"eos_appended_records_total":      2,
		"eos_appended_bytes_total":        3,
		"eos_duplicate_requests_total":    1,
		"eos_out_of_order_requests_total": 1,
		"eos_fenced_requests_total":       1,
		"eos_waiting_fetches":             0,
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s is %g, want %g", name, got[name], n)
		}
	}
	page := string(c.mustDo(t, http.StatusOK, http.MethodGet, "/metrics", "").body)
	for _, line := range []string{
		`eos_requests_total{operation="produce",status="200"} 2`,
		`eos_requests_total{operation="produce",status="412"} 1`,
		`eos_transactions_total{fate="committed"} 0`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// TestMetricsOfGroups: polls that wait are counted, and changes of a group that
// members have to be told of.
func TestMetricsOfGroups(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":2}`)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/groups/g/members/m1", `{"topics":["t"]}`)
	before := p.metrics(t)
	if before["eos_waiting_polls"] != 0 {
		t.Errorf("%g waiting polls before the first", before["eos_waiting_polls"])
	}
	polled := make(chan *answer, 1)
	go func() {
		r := request{
			method: http.MethodPost, path: "/v1/groups/g/members/m1/poll",
			header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"member_epoch":1,"wait_ms":15000}`),
		}
		polled <- p.client(t).do(t, &r)
	}()
	p.untilMetric(t, "eos_waiting_polls", 1)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/groups/g/members/m2", `{"topics":["t"]}`)
	if a := <-polled; a.status != http.StatusOK || !strings.Contains(string(a.body), `"revoking"`) {
		t.Errorf("the poll was answered %d %s", a.status, a.body)
	}
	got := p.metrics(t)
	if n := got["eos_rebalances_total"] - before["eos_rebalances_total"]; n != 1 || got["eos_waiting_polls"] != 0 {
		t.Errorf("%g rebalances, %g waiting polls", n, got["eos_waiting_polls"])
	}
}

// TestRequestID: an answer carries the client's own id, if it is a proper one.
func TestRequestID(t *testing.T) {
	t.Parallel()
	c := newProxy(t).client(t)
	for id, kept := range map[string]bool{
		"4bf92f35.a_B-7": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\"b": false, "é": false,
	} {
		r := &request{method: http.MethodGet, path: "/v1/nothing", header: http.Header{"Request-Id": {id}}}
		a := c.do(t, r) // which compares the id in header and body
		if got := a.header.Get("Request-Id"); got == "" || (got == id) != kept {
			t.Errorf("Request-Id %q was answered with %q", id, got)
		}
	}
}

// TestDocumentIsServed in both forms, and as a page.
func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	fetch := func(path string) (*http.Response, []byte) {
		t.Helper()
		a := p.client(t).do(t, &request{method: http.MethodGet, path: path})
		return &http.Response{StatusCode: a.status, Header: a.header}, a.body
	}
	for _, path := range []string{"/openapi.json", "/openapi.yaml"} {
		resp, body := fetch(path)
		doc, err := openapi3.NewLoader().LoadFromData(body)
		if err != nil || resp.StatusCode != http.StatusOK || doc.Paths.Len() != document().Paths.Len() {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, err)
		}
	}
	if _, body := fetch("/openapi.json"); !json.Valid(body) {
		t.Error("/openapi.json is no JSON")
	}
	resp, page := fetch("/docs")
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/html") {
		t.Errorf("/docs: %d, %s", resp.StatusCode, got)
	}
	if from := regexp.MustCompile(`(?:src|href)="(?:https?:)?//[^"]*"`).Find(page); from != nil {
		t.Errorf("/docs needs the internet: %s", from)
	}
	for _, asset := range regexp.MustCompile(`(?:src|href)="(/docs/[^"]+)"`).FindAllStringSubmatch(string(page), -1) {
		if resp, _ := fetch(asset[1]); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", asset[1], resp.StatusCode)
		}
	}
	if resp, _ := fetch("/docs/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/docs/: %d", resp.StatusCode)
	}
}
