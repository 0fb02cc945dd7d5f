package handlers_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
)

// recordForm is one of the ways in which a record comes.
type recordForm struct {
	name        string
	endpoint    string // whose request carries it
	media       string
	around      string // the body, with %s for the record
	index       int64  // of the record
	ofPartition bool
	inside      string // the transaction that it is staged in
}

var recordForms = []recordForm{
	{"a document", "produce", mediaJSON, `{"records":[{"value":1},%s]}`, 1, false, ""},
	{"lines", "produce", mediaLines, "{\"value\":1}\n%s\n", 1, false, ""},
	{"a document, staged", "produce", mediaJSON, `{"records":[{"value":1},%s]}`, 1, false, "open"},
	{"lines, staged", "produce", mediaLines, "{\"value\":1}\n%s", 1, false, "open"},
	{"a document to a partition", "produceToPartition", mediaJSON, `{"records":[{"value":1},%s]}`, 1, true, ""},
	{"lines to a partition", "produceToPartition", mediaLines, "{\"value\":1}\n%s\n", 1, true, ""},
	{"an upload", "produceStream", mediaLines, "%s\n{\"value\":1}\n", 0, false, ""},
	{"an upload to a partition", "produceStreamToPartition", mediaLines, "%s\n", 0, true, ""},
	{"a transaction", "putTransaction", mediaJSON, `{"commit":true,"produce":[{"topic":"t","records":[{"value":1}]},{"topic":"t","records":[{"value":2},%s]}]}`, 2, false, ""},
}

// badRecords are those that are refused as what they are.
var badRecords = []string{
	`null`, `[]`, `"value"`, `1`, `true`, `{}`, `{"key":"a"}`, `{"value":1,"value_base64":"AA=="}`,
	`{"value":null,"value_base64":"AA=="}`,
	`{"key":"a","key_base64":"AA==","value":1}`, `{"key":null,"key_base64":"AA==","value":1}`, `{"key":1,"value":1}`,
	`{"key":{},"value":1}`,
	`{"key_base64":null,"value":1}`, `{"value_base64":null}`, `{"value_base64":1}`, `{"value_base64":"AA"}`,
	`{"value_base64":"A==="}`, `{"value_base64":"-_-_"}`,
	`{"value_base64":"AAAA\nAAAA"}`, `{"value_base64":"AB=="}`, `{"value_base64":" AA=="}`,
	`{"key_base64":"?","value":1}`,
	`{"value":1,"offset":3}`, `{"Value":1}`, `{"value":1,"":1}`,
	`{"value":1,"timestamp":-1}`, `{"value":1,"timestamp":253402300800000}`,
	`{"value":1,"timestamp":9223372036854775808}`, `{"value":1,"timestamp":1.0}`,
	`{"value":1,"timestamp":1e3}`, `{"value":1,"timestamp":"1"}`, `{"value":1,"timestamp":null}`,
	`{"value":1,"partition":-1}`, `{"value":1,"partition":2147483648}`, `{"value":1,"partition":0.0}`,
	`{"value":1,"partition":"0"}`, `{"value":1,"partition":null}`,
	`{"value":1,"headers":null}`, `{"value":1,"headers":{"a":"b"}}`, `{"value":1,"headers":["a"]}`,
	`{"value":1,"headers":[{"name":"a"}]}`, `{"value":1,"headers":[{"value":"a"}]}`,
	`{"value":1,"headers":[{"name":"a","value":1}]}`, `{"value":1,"headers":[{"name":"a","value":null}]}`,
	`{"value":1,"headers":[{"name":1,"value":"b"}]}`,
	`{"value":1,"headers":[{"name":"a","value":"b","more":"c"}]}`, `{"value":1,"headers":[null]}`,
	`{"value":1,"headers":[[]]}`,
	`{"value":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
}

// brokenRecords are no strict JSON.
var brokenRecords = []string{
	`{"value":1`, `{"value":}`, `{"value":01}`, `{"value":+1}`, `{"value":.5}`, `{"value":1,}`, `{"value":'a'}`,
	`{"value":NaN}`, `{"value":tru}`, `{"value":[1,]}`,
	`{"value":{"a":1,"a":2}}`, `{"value":1,"value":1}`, `{"key":"a","key":"a","value":1}`, `{"value":"\ud800"}`,
	`{"key":"\udc00","value":1}`, `{"value":"\x"}`,
	"{\"value\":\"\xff\"}", "{\"key\":\"\xc3\x28\",\"value\":1}", "{\"value\":\"\x00\"}", "{\"value\":\"\x1f\"}",
	`{"value":"a` + "\t" + `b"}`, "\ufeff" + `{"value":1}`,
}

// TestBadRecords sends each bad record in each form that takes records.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustDo(t, http.StatusOK, http.MethodPatch, "/v1/topics/t", `{"max_record_bytes":100}`)
	cases := 0
	for _, form := range recordForms {
		rows := form.rows()
		cases += len(rows)
		t.Run(form.name, func(t *testing.T) {
			for i := range endpoints {
				if e := endpoints[i]; e.id == form.endpoint {
					e.media, e.body = form.media, ""
					if form.inside != "" {
						e.header = []string{"Transaction-Id: " + form.inside}
					}
					w.mustRefuse(t, &e, rows, func(row row, p api.Problem) {
						// Where the document ends is not within the record.
						if index := p.RecordIndex; (index != nil || p.Code != "INVALID_JSON") && (index == nil || *index != form.index) {
							t.Errorf("%s: %s of another record than %d", row.name, p.Detail, form.index)
						}
					})
				}
			}
		})
	}
	t.Logf("%d cases of %d forms", cases, len(recordForms))
}

func (f *recordForm) rows() (rows []row) {
	add := func(record string, status int, code string) {
		rows = append(rows, row{record, func(r *request) { r.body = fmt.Appendf(nil, f.around, record) }, status, code})
	}
	for _, record := range badRecords {
		add(record, 422, "INVALID_RECORD")
	}
	for _, record := range brokenRecords {
		add(record, 400, "INVALID_JSON")
	}
	for _, record := range []string{
		`{"value":"` + strings.Repeat("v", 99) + `"}`, `{"key":"` + strings.Repeat("k", 100) + `","value":1}`,
		`{"value":1,"headers":[{"name":"` + strings.Repeat("n", 100) + `","value":""}]}`,
		`{"value_base64":"` + strings.Repeat("AAAA", 34) + `"}`,
	} {
		add(record, 413, "MESSAGE_TOO_LARGE")
	}
	for _, partition := range []string{"2", "2147483647"} { // the topic has two
		if f.ofPartition {
			add(`{"value":1,"partition":`+partition+`}`, 422, "INVALID_RECORD")
		} else {
			add(`{"value":1,"partition":`+partition+`}`, 404, "UNKNOWN_TOPIC_OR_PARTITION")
		}
	}
	if f.ofPartition {
		add(`{"value":1,"partition":1}`, 422, "INVALID_RECORD")
	}
	return rows
}
