package handlers_test

import (
	"fmt"
	"strings"
)

// recordForm is one of the ways in which records come.
type recordForm struct {
	name   string
	of     string // the operation whose request carries it
	media  string
	around string // the body, with %s for the record
	index  int64  // of the record
	staged bool   // in a transaction
}

var recordForms = []recordForm{
	{"a document", "produce", mediaJSON, `{"records":[{"value":1},%s]}`, 1, false},
	{"lines", "produce", mediaLines, "{\"value\":1}\n%s\n", 1, false},
	{"a document, staged", "produce", mediaJSON, `{"records":[{"value":1},%s]}`, 1, true},
	{"lines, staged", "produce", mediaLines, "{\"value\":1}\n%s", 1, true},
	{"a document", "produceToPartition", mediaJSON, `{"records":[{"value":1},%s]}`, 1, false},
	{"lines", "produceToPartition", mediaLines, "{\"value\":1}\n%s\n", 1, false},
	{"a document, staged", "produceToPartition", mediaJSON, `{"records":[{"value":1},%s]}`, 1, true},
	{"an upload", "produceStream", mediaLines, "%s\n{\"value\":1}\n", 0, false},
	{"an upload", "produceStreamToPartition", mediaLines, "%s\n", 0, false},
	{
		"a transaction", "putTransaction", mediaJSON,
		`{"commit":true,"produce":[{"topic":"t","records":[{"value":1}]},{"topic":"t","records":[{"value":2},%s]}]}`,
		2, false,
	},
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
	// beyond the end, or in another partition than the path says
	`{"value":1,"partition":1}`, `{"value":1,"partition":2}`, `{"value":1,"partition":2147483647}`,
	// no strict JSON
	`{"value":1`, `{"value":}`, `{"value":01}`, `{"value":+1}`, `{"value":.5}`, `{"value":1,}`, `{"value":'a'}`,
	`{"value":NaN}`, `{"value":tru}`, `{"value":[1,]}`,
	`{"value":{"a":1,"a":2}}`, `{"value":1,"value":1}`, `{"key":"a","key":"a","value":1}`, `{"value":"\ud800"}`,
	`{"key":"\udc00","value":1}`, `{"value":"\x"}`,
	"{\"value\":\"\xff\"}", "{\"key\":\"\xc3\x28\",\"value\":1}", "{\"value\":\"\x00\"}",
	"{\"key\":\"\x00\",\"value\":1}", "{\"value\":\"\x1f\"}",
	`{"value":"a` + "\t" + `b"}`, "\ufeff" + `{"value":1}`,
	// one byte above the limit
	`{"value":"` + strings.Repeat("v", 99) + `"}`,
	`{"key":"` + strings.Repeat("k", 100) + `","value":1}`,
	`{"value":1,"headers":[{"name":"` + strings.Repeat("n", 100) + `","value":""}]}`,
	`{"value_base64":"` + strings.Repeat("AAAA", 33) + `AAA="}`,
}

// recordSections send each bad record in each form that the operation takes.
func (m *matrix) recordSections() (list []section) {
	for _, form := range recordForms {
		if form.of != m.op.OperationID {
			continue
		}
		s := section{
			title: "records, in " + form.name, index: &form.index,
			rule: "422 INVALID_RECORD|400 INVALID_JSON|413 MESSAGE_TOO_LARGE|404 UNKNOWN_TOPIC_OR_PARTITION",
		}
		for _, record := range badRecords {
			isElsewhere := strings.HasSuffix(form.of, "ToPartition")
			if !isElsewhere && record == `{"value":1,"partition":1}` { // the topic has it
				continue
			}
			s.rows = append(s.rows, row{text: record, change: form.carries(record)})
		}
		list = append(list, s)
		if !m.isUpload() {
			separator := ","
			if form.media == mediaLines {
				separator = "\n"
			}
			many := strings.TrimSuffix(strings.Repeat(`{"value":1}`+separator, 50), separator)
			list = append(list, section{
				title: "too many records, in " + form.name, rule: "422 INVALID_REQUEST",
				rows: []row{{text: "51 records", change: form.carries(many)}},
			})
		}
	}
	return list
}

// carries returns the change to a request that carries the record.
func (f *recordForm) carries(record string) func(*request) {
	return func(r *request) {
		r.body = fmt.Appendf(nil, f.around, record)
		r.header.Set("Content-Type", f.media)
		if f.staged {
			for _, name := range []string{"Producer-Id", "Producer-Epoch", "Producer-Seq", "Transactional-Id"} {
				r.header.Del(name)
			}
			r.header.Set("Transaction-Id", "open")
		}
	}
}
