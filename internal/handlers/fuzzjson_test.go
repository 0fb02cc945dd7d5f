package handlers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// oddDocuments are bodies that a decoder may take for something else than they
// are.
var oddDocuments = []string{
	``, ` `, `null`, `[]`, `{}`, `{"records":null}`, `{"records":[]}`, `{"records":{}}`, `{"Records":[{"value":1}]}`,
	`{"records":[{"value":1}],"records":[{"value":2}]}`, `{"records":[{"value":1}],"record\u0073":[{"value":2}]}`,
	`{"records":[{"value":1}]} {}`, `{"records":[{"value":1}]}x`, "\ufeff" + `{"records":[{"value":1}]}`,
	`{"records":[{"value":1},]}`, `{"records":[{"value":1}],}`, `{"records":[null]}`, `{"records":["value"]}`,
	`{"records":[{"value":"\ud800\u0041"}]}`, `{"records":[{"value":"\udc00"}]}`,
	`{"records":[{"value":"\ud83c\udf89\\ud800"}]}`,
	`{"records":[{"\u0076alue":1}]}`, `{"records":[{"value":1,"extra":1}]}`, `{"records":[{"value":1e400}]}`,
	`{"records":[{"value":1,"headers":[{"name":"a","value":"b"},{"value":"\u0000","name":""}]}]}`,
	`{"records":[{"value":1,"headers":null}]}`, `{"records":[{"value":1,"headers":[{"name":"a"}]}]}`,
	`{"records":[{"value":1,"timestamp":-0}]}`, `{"records":[{"value":1,"timestamp":1e3}]}`,
	"{\"records\":[{\"value\":\"\xff\"}]}", "{\"records\":[{\"value\":\"\x7f\u2028\"}]}",
	"{\"records\":[{\"value\":\"\x00\"}]}",
	"{\"records\":[{\"value\" \n:\t[ 1 , { \"a\" : 1.0e+00 } ] \r}]}",
	"{\"a\":1\v}", "{\"a\":\"\xed\xa0\x80\"}",
}

// FuzzDecoder holds the decoder of produce requests against the twin over
// encoding/json, in both directions: they take the same records of the same
// bodies, and what they refuse is INVALID_JSON exactly where it is no strict
// JSON. What was taken goes back byte for byte.
func FuzzDecoder(f *testing.F) {
	for _, text := range slices.Concat(usual, unusual) {
		f.Add(documentOf(text))
	}
	for _, text := range oddDocuments {
		f.Add([]byte(text))
	}
	s := newDecoder()
	s.cfg.MaxRecords, s.cfg.MaxJSONDepth = 5, 8
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := s.records(slices.Clone(body), mediaJSON)
		malformed := errors.Is(err, eos.InvalidJSON.Errorf(""))
		strict := isStrict(body)
		if depth(body) < decodable && malformed == strict {
			t.Fatalf("%.300q: %v; strict JSON is %v", body, err, strict)
		}
		if !strict {
			if err == nil {
				t.Fatalf("%.300q is taken, and is no strict JSON", body)
			}
			return
		}
		want, ok := twinDocument(body, s.cfg.MaxRecords, s.cfg.MaxJSONDepth)
		if ok != (err == nil) {
			t.Fatalf("%.300q: %v; by encoding/json it is right: %v", body, err, ok)
		}
		if !ok {
			mustBeRefusal(t, err, eos.InvalidRequest, eos.InvalidRecord)
			return
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%.300q: encoding/json (-) and the decoder (+): %s", body, diff)
		}
		mustComeBack(t, got)
	})
}

// mustBeRefusal fails unless the error is one of these kinds.
func mustBeRefusal(t *testing.T, err error, kinds ...*eos.Kind) {
	t.Helper()
	var refusal *eos.Error
	if !errors.As(err, &refusal) || !slices.Contains(kinds, refusal.Kind) {
		t.Fatalf("refused by %v", err)
	}
}

// mustComeBack packs records as they are stored, and fails unless a fetch
// answers with the same bytes of each key and value.
func mustComeBack(t *testing.T, records []eos.Record) {
	t.Helper()
	p := store.Pack(records)
	b := store.Batch{Count: p.Count, Body: p.Body, Ends: p.Ends, Flags: p.Flags, Timestamps: p.Timestamps, Timestamp: 7}
	text := append(appendRecords([]byte{'['}, -1, &b, 0, p.Count), ']')
	list, ok := twinArray(text)
	if !ok || !isStrict(text) || len(list) != len(records) {
		t.Fatalf("the answer is %.300q", text)
	}
	for i, want := range records {
		fields, ok := twinObject(list[i], "offset", "timestamp", "key", "key_base64", "value", "value_base64")
		if !ok {
			t.Fatalf("the answer is %.300q", text)
		}
		delete(fields, "offset")
		timestamp, _ := twinInteger(fields["timestamp"], eos.MaxTimestamp)
		if delete(fields, "timestamp"); timestamp != want.Timestamp && (want.Timestamp >= 0 || timestamp != b.Timestamp) {
			t.Fatalf("timestamp %d came back as %d", want.Timestamp, timestamp)
		}
		plain, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := twinRecord(plain, 1<<20)
		value, isJSON := fields["value"], want.Flags&(eos.ValueBinary|eos.ValueNull) == 0
		if !ok || isJSON && !bytes.Equal(value, want.Value) {
			t.Fatalf("value %.300q came back as %.300q", want.Value, value)
		}
		if got.Flags != want.Flags || !bytes.Equal(got.Key, want.Key) {
			t.Fatalf("record %.300q (%d) came back as %.300q (%d)", want.Key, want.Flags, got.Key, got.Flags)
		}
	}
}

// FuzzBase64 holds binary keys and values against encoding/base64: those texts
// are taken that it would write itself, and they come back as they were.
func FuzzBase64(f *testing.F) {
	for _, text := range []string{
		"", "AA==", "AAE=", "AAEC", "AA", "AA=", "AB==", "AA==\n", "A A=", "AA==AA==", "-_==", "+/==", "+/8=", "====",
		"AAEC=", "é", "AA\r\n==",
		strings.Repeat("AAEC", 300),
	} {
		f.Add(text)
	}
	s := newDecoder()
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(strings.ToValidUTF8(text, "?"))
		if err != nil {
			t.Fatal(err)
		}
		body := documentOf(`{"key_base64":`+string(quoted)+`,"value":1}`, `{"value_base64":`+string(quoted)+`}`)
		records, err := s.records(body, mediaJSON)
		want, wrong := base64.StdEncoding.Strict().DecodeString(text)
		if ok := wrong == nil && base64.StdEncoding.EncodeToString(want) == text; ok != (err == nil) {
			t.Fatalf("%.300q: %v; encoding/base64 %v", text, err, wrong)
		}
		if err != nil {
			mustBeRefusal(t, err, eos.InvalidRecord)
			return
		}
		if !bytes.Equal(records[0].Key, want) || !bytes.Equal(records[1].Value, want) {
			t.Fatalf("%.300q is %x and %x, not %x", text, records[0].Key, records[1].Value, want)
		}
		mustComeBack(t, records)
	})
}
