package handlers

import (
	"slices"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

// usual are records as clients write them, which the scanner must not leave to
// the reader.
var usual = []string{
	`{"value":1}`,
	`{"key":"customer-4711","value":{"amount":12.50,"to":["a","b",[]],"e":{}}}`,
	`{"key":null,"value":null,"timestamp":0,"partition":0}`,
	`{"key":"","value":"","timestamp":253402300799999,"partition":2147483647}`,
	` { "value" : "eight by\tes and \"more\" \\ \/ \b\f\n\r" , "key" : "k" } `,
	`{"value":-0.5e-10,"key":"Zürich ✓ 🎉"}`,
	`{"value":[0,-0,1E5,1.25,true,false,null,"Zürich ✓ 🎉"]}`,
	"{\t\"value\":\r{\"a\":{\"b\":{\"c\":[[[1]]]}}}}",
}

// unusual ones are left to the reader, which takes the first of them and
// refuses the rest.
var unusual = []string{
	`{"value":"\u00e9\ud83c\udf89","key":"\u0061"}`,
	`{"value_base64":"AAEC","key_base64":"/w==","headers":[{"name":"a","value":"b"}]}`,
	`{"value":{"a":1,"\u0062":2}}`,
	`{"value":{"0":1,"1":1,"2":1,"3":1,"4":1,"5":1,"6":1,"7":1,"8":1,"9":1,"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}}`,
	`{"value":{"a":1,"a":2}}`,
	`{"value":1,"value":2}`,
	`{"key":"a","key":"a","value":2}`,
	`{"value":"\ud800"}`,
	"{\"value\":\"\x80\"}",
	"{\"value\":{\"\xed\xa0\x80\":1}}",
	`{"value":01}`,
	`{"value":1.}`,
	`{"value":1,"timestamp":-1}`,
	`{"value":1,"timestamp":1.0}`,
	`{"value":1,"timestamp":253402300800000}`,
	`{"value":1,"timestamp":99999999999999999999999}`,
	`{"value":1,"partition":2147483648}`,
	`{"value":1,"partition":null}`,
	`{"value":1,}`,
	`{"value":[1,]}`,
	`{"value":1} x`,
	`{"key":"a"}`,
	`{}`,
	`{"Value":1}`,
	`{"value":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}`,
	``,
}

// document is records as a body of JSON.
func documentOf(records ...string) []byte {
	return []byte(`{"records":[` + strings.Join(records, ",") + `]}`)
}

func TestScannerTakesTheUsual(t *testing.T) {
	t.Parallel()
	for _, record := range usual {
		scan := scanner{b: []byte(record), maxDepth: 64}
		if _, ok := scan.line(); !ok {
			t.Errorf("the scanner leaves %s to the reader", record)
		}
	}
	scan := scanner{b: documentOf(usual...), maxDepth: 64}
	if list, ok := scan.document(len(usual)); !ok || len(list) != len(usual) {
		t.Errorf("%d records of the document, %t", len(list), ok)
	}
}

// TestScannerAgrees: what the scanner takes, the reader takes as the same
// records; of each record here, and of all that differ from it by a byte.
func TestScannerAgrees(t *testing.T) {
	t.Parallel()
	const bytes = "{}[]\",:\\/ \t\n\r\x00\x1f\x7f\x80\xc3\xed\xff019-+.eEtnu_a"
	for _, record := range slices.Concat(usual, unusual) {
		mustAgree(t, []byte(record))
		for i := range record {
			mustAgree(t, []byte(record[:i]+record[i+1:]))
			for j := range len(bytes) {
				mustAgree(t, []byte(record[:i]+bytes[j:j+1]+record[i+1:]))
				mustAgree(t, []byte(record[:i]+bytes[j:j+1]+record[i:]))
			}
		}
	}
}

func FuzzScannerAgrees(f *testing.F) {
	for _, record := range slices.Concat(usual, unusual) {
		f.Add([]byte(record))
		f.Add(documentOf(record, usual[0]))
	}
	f.Fuzz(mustAgree)
}

// mustAgree holds the scanner against the reader with a text as a line, as a
// record of a document, and as a document.
func mustAgree(t *testing.T, text []byte) {
	s := newDecoder()
	s.cfg.MaxJSONDepth = 8
	scan := scanner{b: text, maxDepth: s.cfg.MaxJSONDepth}
	if got, ok := scan.line(); ok {
		want, err := s.readRecordLine(text)
		mustBeSame(t, text, got, want, err)
	}
	for _, document := range [][]byte{text, documentOf(string(text)), documentOf(usual[0], string(text), usual[1])} {
		s.cfg.MaxRecords = 3
		scan := scanner{b: document, maxDepth: s.cfg.MaxJSONDepth}
		if got, ok := scan.document(s.cfg.MaxRecords); ok {
			want, err := s.readRecordDocument(document)
			mustBeSame(t, document, got, want, err)
		}
	}
}

func mustBeSame[T eos.Record | []eos.Record](t *testing.T, text []byte, got, want T, err error) {
	if err != nil {
		t.Fatalf("the scanner takes %q, the reader says: %v", text, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q: the reader and the scanner: %s", text, diff)
	}
}
