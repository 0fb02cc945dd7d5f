package handlers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/getkin/kin-openapi/openapi3"
)

// jsonBody is a JSON body that the document declares.
type jsonBody struct {
	method, path string
	required     bool
	schema       *openapi3.Schema
	accepted     string // status and code of one that is right, when the database is away
}

// jsonBodies returns those of all operations, in the order of their paths.
func jsonBodies(tb testing.TB) (bodies []jsonBody) {
	tb.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.YAML)
	if err != nil {
		tb.Fatal(err)
	}
	example := strings.NewReplacer(
		"{topic}", "t", "{partition}", "0", "{transaction_id}", "x", "{group}", "g", "{member_id}", "m",
	)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil || op.RequestBody.Value.Content["application/json"] == nil {
				continue
			}
			b := jsonBody{
				method: method, path: example.Replace(path), required: op.RequestBody.Value.Required,
				schema:   op.RequestBody.Value.Content["application/json"].Schema.Value,
				accepted: "503 BROKER_NOT_AVAILABLE",
			}
			if strings.HasPrefix(op.OperationID, "produce") {
				b.accepted = "200"
			}
			bodies = append(bodies, b)
		}
	}
	slices.SortFunc(bodies, func(a, b jsonBody) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return bodies
}

// FuzzBodies sends any body to any operation that takes JSON, and holds what
// becomes of it against the document: what is taken is as its schema says, and
// what is as its schema says is taken, but for what no schema can say.
func FuzzBodies(f *testing.F) {
	bodies := jsonBodies(f)
	right := []string{
		`{}`, `{"partition_count":3,"retention_ms":604800000,"retention_bytes":-1,"max_record_bytes":1048576}`,
		`{"transactional_id":"billing-7","transaction_timeout_ms":60000}`,
		`{"records":[{"key":"c-17","value":{"a":1},"headers":[{"name":"n","value":"v"}],"timestamp":5,"partition":0}]}`,
		`{"producer_id":1,"producer_epoch":0,"timeout_ms":60000,"produce":[{"topic":"t","records":[{"value":null}]}],` +
			`"offsets":[{"group":"g","member_id":"m","member_epoch":1,` +
			`"offsets":[{"topic":"t","partition":0,"from":40,"offset":42,"metadata":"m"}]}],"commit":true}`,
		`{"offsets":[{"group":"g","offsets":[{"topic":"t","partition":0,"offset":42}]}]}`,
		`{"topics":["billing"],"instance_id":"i","session_timeout_ms":45000,"rebalance_timeout_ms":1000,` +
			`"assignor":"range","auto_offset_reset":"latest"}`,
		`{"topics_pattern":"billing-.*"}`, `{"member_epoch":1}`,
		`{"member_epoch":1,"commit":[{"topic":"t","partition":0,"offset":42,"metadata":"x"}],` +
			`"positions":[{"topic":"t","partition":0,"offset":50}],"max_records":5,"max_bytes":5,"wait_ms":0}`,
		`{"offsets":[{"topic":"t","partition":0,"offset":42}],"member_id":"m","member_epoch":1}`,
		`{"topics":[{"topic":"t","partitions":[0,1]}],"at":"earliest","dry_run":true}`, `{"offset":7}`,
	}
	odd := []string{
		``, `null`, `[]`, `"{}"`, `{"commit":1}`, `{"timeout_ms":60000.0}`, `{"timeout_ms":6e4}`,
		`{"timeout_ms":"1"}`, `{"timeout_ms":1e400}`, `{"timeout_ms":9223372036854775808}`,
		`{"Commit":true}`, `{"commit":true,"commit":true}`, `{"produce":[]}`, `{"produce":null}`, `{"producer_id":1}`,
		`{"topics":[]}`, `{"topics":["."]}`, `{"topics_pattern":"("}`, `{"topics_pattern":""}`, `{"member_epoch":-1}`,
		`{} {}`,
	}
	for i := range bodies {
		for _, body := range slices.Concat(right, odd) {
			f.Add(uint8(i), []byte(body))
		}
	}
	h, _ := newDry(f, Config{MaxBodyBytes: 1 << 20, MaxRecords: 1000, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64})
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		b := bodies[int(which)%len(bodies)]
		w := serveOnce(t, h, b.method, b.path, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
		got := fmt.Sprint(w.Code)
		if w.Code >= http.StatusBadRequest {
			got += " " + problemCode(t, w)
		}
		if len(body) == 0 && !b.required {
			if got != b.accepted {
				t.Fatalf("%s %s without a body: %s", b.method, b.path, w.Body)
			}
			return
		}
		if strict := isStrict(body); strict == (got == "400 INVALID_JSON") {
			t.Fatalf("%s %s: %.2000q is strict JSON: %v; %s", b.method, b.path, body, strict, w.Body)
		} else if !strict {
			return
		}
		wrong := b.against(body)
		switch {
		case got == b.accepted && wrong != nil:
			t.Fatalf("%s %s takes %.2000q; by the document: %v", b.method, b.path, body, wrong)
		case got != b.accepted && w.Code != http.StatusUnprocessableEntity:
			t.Fatalf("%s %s, %.2000q: %s", b.method, b.path, body, w.Body)
		case got != b.accepted && wrong == nil && !unsaid.Match(w.Body.Bytes()):
			t.Fatalf("%s %s refuses %.2000q: %s; by the document it is right", b.method, b.path, body, w.Body)
		}
	})
}

// against holds a body against its schema.
func (b *jsonBody) against(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return err
	}
	return b.schema.VisitJSON(value, openapi3.MultiErrors())
}

// unsaid are the refusals for what a schema cannot say: that 1.0 is no integer
// here, "." no name, base64 has one form; what excludes what, and what comes
// together; what may be there once; limits of the configuration.
var unsaid = regexp.MustCompile(strings.Join([]string{
	`must be an integer from`, `and not \. or \.\.`, `standard padded base64`, `topics_pattern: `, `without NUL`,
	`exclude each other`, `come together or not at all`, `has neither value nor value_base64`,
	`there are two positions`, `has two offsets for`,
	`is named twice`, `there are more than`, `nested more than`, `either`,
}, "|"))
