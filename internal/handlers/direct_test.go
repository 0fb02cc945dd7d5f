package handlers

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/appender"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/google/go-cmp/cmp"
)

// newPromptIn is newPrompt for a test.
func newPromptIn(tb testing.TB) *Handler {
	tb.Helper()
	h, err := newPrompt(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// TestDirectAnswersAsRouted: a request past the router gets the answer that it
// gets through it, header by header.
func TestDirectAnswersAsRouted(t *testing.T) {
	t.Parallel()
	h := newPromptIn(t)
	direct, ok := h.Handler.(*direct)
	if !ok {
		t.Fatalf("the handler is %T", h.Handler)
	}
	many := string(documents(1000)[mediaJSON])
	for name, change := range map[string]func(*http.Request, *string){
		"plain":                   func(*http.Request, *string) {},
		"without identity":        func(r *http.Request, _ *string) { clear(r.Header); r.Header.Set("Content-Type", mediaJSON) },
		"producer id missing":     func(r *http.Request, _ *string) { r.Header.Del("Producer-Id") },
		"key":                     func(r *http.Request, _ *string) { clear(r.Header); keyed(r, "k") },
		"key of bad characters":   func(r *http.Request, _ *string) { clear(r.Header); keyed(r, "é") },
		"key too long":            func(r *http.Request, _ *string) { clear(r.Header); keyed(r, strings.Repeat("k", 256)) },
		"key badly quoted":        func(r *http.Request, _ *string) { clear(r.Header); keyed(r, `"k`) },
		"key and sequence":        func(r *http.Request, _ *string) { keyed(r, "k") },
		"sequence given twice":    func(r *http.Request, _ *string) { r.Header.Add("Producer-Seq", "1") },
		"sequence with a plus":    func(r *http.Request, _ *string) { r.Header.Set("Producer-Seq", "+1") },
		"sequence with a zero":    func(r *http.Request, _ *string) { r.Header.Set("Producer-Seq", "01") },
		"sequence below zero":     func(r *http.Request, _ *string) { r.Header.Set("Producer-Seq", "-0") },
		"sequence empty":          func(r *http.Request, _ *string) { r.Header.Set("Producer-Seq", "") },
		"sequence too large":      func(r *http.Request, _ *string) { r.Header.Set("Producer-Seq", "9007199254740992") },
		"transactional id":        func(r *http.Request, _ *string) { r.Header.Set("Transactional-Id", "..") },
		"transaction id":          func(r *http.Request, _ *string) { r.Header.Set("Transaction-Id", "") },
		"own request id":          func(r *http.Request, _ *string) { r.Header.Set("Request-Id", "mine") },
		"own bad request id":      func(r *http.Request, _ *string) { r.Header.Set("Request-Id", "not mine") },
		"other type":              func(r *http.Request, _ *string) { r.Header.Set("Content-Type", "text/csv") },
		"charset":                 func(r *http.Request, _ *string) { r.Header.Set("Content-Type", "Application/JSON; charset=UTF-8") },
		"other charset":           func(r *http.Request, _ *string) { r.Header.Set("Content-Type", "application/json; charset=latin1") },
		"long type":               func(r *http.Request, _ *string) { r.Header.Set("Content-Type", strings.Repeat("x", 2000)) },
		"no JSON":                 func(_ *http.Request, body *string) { *body = "{" },
		"empty":                   func(_ *http.Request, body *string) { *body = " " },
		"no record":               func(_ *http.Request, body *string) { *body = `{"records":[]}` },
		"bad record":              func(_ *http.Request, body *string) { *body = `{"records":[{"value":1},{"key":"a"}]}` },
		"deep":                    func(_ *http.Request, body *string) { *body = strings.Repeat("[", 65) },
		"many records":            func(_ *http.Request, body *string) { *body = many },
		"many records, packed":    func(r *http.Request, body *string) { *body = many; r.Header.Set("Accept-Encoding", "gzip") },
		"one record, packed":      func(r *http.Request, _ *string) { r.Header.Set("Accept-Encoding", "gzip") },
		"gzip":                    func(r *http.Request, body *string) { *body = zipped(*body); r.Header.Set("Content-Encoding", "gzip") },
		"not gzip":                func(r *http.Request, _ *string) { r.Header.Set("Content-Encoding", "gzip") },
		"other encoding":          func(r *http.Request, _ *string) { r.Header.Set("Content-Encoding", "br") },
		"partition":               func(r *http.Request, _ *string) { r.URL.Path = "/v1/topics/bench/partitions/3/records" },
		"partition beyond":        func(r *http.Request, _ *string) { r.URL.Path = "/v1/topics/bench/partitions/4/records" },
		"partition with a zero":   func(r *http.Request, _ *string) { r.URL.Path = "/v1/topics/bench/partitions/03/records" },
		"partition of five":       func(r *http.Request, _ *string) { r.URL.Path = "/v1/topics/bench/partitions/10000/records" },
		"bad topic":               func(r *http.Request, _ *string) { r.URL.Path = "/v1/topics/../records" },
		"query":                   func(r *http.Request, _ *string) { r.URL.RawQuery = "a=b" },
		"too large for one":       func(_ *http.Request, body *string) { *body = strings.Repeat(" ", 10<<20+1) },
		"more records than there": func(_ *http.Request, body *string) { *body = string(documents(10_001)[mediaJSON]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := func(h http.Handler) string {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/topics/bench/records", nil)
				body := oneRecordBody
				r.Header = http.Header{"Content-Type": {mediaJSON}, "Producer-Id": {"1"}, "Producer-Epoch": {"0"}, "Producer-Seq": {"7"}}
				change(r, &body)
				r.Body, r.ContentLength = &repeated{*strings.NewReader(body)}, int64(len(body))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				id := w.Header().Get("Request-Id")
				if id == "" {
					t.Error("there is no Request-Id")
				}
				return fmt.Sprint(w.Code, strings.ReplaceAll(fmt.Sprint(w.Header(), w.Body), id, "(id)"))
			}
			if diff := cmp.Diff(answer(direct.routed), answer(direct)); diff != "" {
				t.Errorf("the router's answer, and the direct one: %s", diff)
			}
		})
	}
}

func keyed(r *http.Request, key string) {
	r.Header.Set("Content-Type", mediaJSON)
	r.Header.Set("Idempotency-Key", key)
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text)) // a buffer takes everything
	_ = z.Close()
	return b.String()
}

// remembering is a log that keeps what it is given.
type remembering struct {
	prompt
	mu    sync.Mutex
	parts map[string]*store.Packed // guarded by mu; by idempotency key
}

func (l *remembering) Flush(ctx context.Context, ops []*store.Op, _ store.Join) []store.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range ops {
		l.parts[op.Append.Key] = op.Append.Parts[0].Packed
	}
	return l.prompt.Flush(ctx, ops, nil)
}

// TestRequestsKeepTheirOwnBytes: what is appended for one request stays what it
// sent, and so does its fingerprint, whatever others send meanwhile and after.
func TestRequestsKeepTheirOwnBytes(t *testing.T) {
	t.Parallel()
	log := &remembering{prompt: newPromptLog(), parts: map[string]*store.Packed{}}
	app := appender.New(log, appender.Config{})
	go app.Run(t.Context())
	s := newDecoder()
	s.appender, s.metrics, s.bodies.limit = app, NewMetrics(nil, newHub()), 1<<30
	const clients, each = 8, 100
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for i := range each {
				text := textOf(client, i)
				body := `{"records":[{"value":"` + text + `"},{"value_base64":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"}]}`
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
				r.Header, r.ContentLength = http.Header{"Content-Type": {mediaJSON}, "Idempotency-Key": {keyOf(client, i)}}, int64(len(body))
				given := &requestBody{ReadCloser: &repeated{*strings.NewReader(body)}, memory: &s.bodies}
				if _, err := s.append(r, given, "bench", 0, s.readRecords); err != nil {
					t.Error(err)
				}
				given.release()
				records := []eos.Record{{Value: []byte(text)}}
				if got, want := eos.FingerprintRecords(records), fingerprintAlone(records); got != want {
					t.Errorf("fingerprint %x, want %x", got, want)
				}
			}
		})
	}
	group.Wait()
	for client := range clients {
		for i := range each {
			text := textOf(client, i)
			if got := string(log.parts[keyOf(client, i)].Body); got != `"`+text+`"`+text {
				t.Fatalf("request %d of client %d has stored %q", i, client, got)
			}
		}
	}
	if used := s.bodies.used.Load(); used != 0 {
		t.Errorf("%d bytes of memory are not given back", used)
	}
}

func textOf(client, i int) string { return strings.Repeat(keyOf(client, i)+" ", 1+i) }
func keyOf(client, i int) string  { return fmt.Sprintf("%d-%d", client, i) }

// fingerprintAlone is the fingerprint of records by a hash of its own.
func fingerprintAlone(records []eos.Record) eos.Fingerprint {
	f := eos.NewFingerprinter()
	f.Records(records)
	return f.Sum()
}

// TestNoAllocationPerRecord: reading, hashing, routing and packing take memory
// by the request, not by the record.
func TestNoAllocationPerRecord(t *testing.T) { //nolint:paralleltest // allocations are counted for the whole process
	for media, body := range documents(1000) {
		s := newDecoder()
		records := mustDecode(t, s, body, media)
		topic := newPromptLog().topic
		topic.PartitionIDs = topic.PartitionIDs[:1]
		allocations := testing.AllocsPerRun(10, func() {
			mustDecode(t, s, body, media)
			eos.FingerprintRecords(records)
			if _, err := store.NewRequest(eos.Append{}, &topic, -1, records, 0); err != nil {
				t.Error(err)
			}
		})
		if allocations > 10 {
			t.Errorf("%s: %v allocations for 1000 records", media, allocations)
		}
	}
}
