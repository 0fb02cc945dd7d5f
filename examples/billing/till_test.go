package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/examples/internal/script"
	"github.com/google/go-cmp/cmp"
)

// newScript returns the address of a server that answers registrations, and to produce requests gives the
// answers in turn, status and body; it breaks the connection instead of answering "". The requests go to seen,
// as sequence and number of records.
func newScript(t *testing.T, seen *[]string, answers ...string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/producers" {
			fmt.Fprint(w, `{"producer_id":7,"producer_epoch":3,"next_sequences":[{"topic":"t","partition":0,"next_sequence":9},{"topic":"t","next_sequence":2}]}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		*seen = append(*seen, fmt.Sprintf("%s of %s/%s: %d", r.Header.Get("Producer-Seq"), r.Header.Get("Producer-Id"),
			r.Header.Get("Producer-Epoch"), strings.Count(string(body), "customer")))
		answer := ""
		if len(answers) > 0 {
			answer, answers = answers[0], answers[1:]
		}
		script.Answer(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestTillHeedsAnswers goes through the answers that a till can get: its book has five purchases, of which two
// are stored when it starts, and a request takes two.
func TestTillHeedsAnswers(t *testing.T) {
	t.Parallel()
	const (
		four  = `200 {"next_sequence":4}`
		five  = `200 {"next_sequence":5}`
		first = "2 of 7/3: 2"
		last  = "4 of 7/3: 1"
	)
	for _, test := range []struct {
		name    string
		answers []string
		want    []string
		err     string
	}{
		{"all is well", []string{four, five}, []string{first, last}, ""},
		{"lost answers", []string{"", "", four, "", five}, []string{first, first, first, last, last}, ""},
		{"the database is away", []string{`503 {"code":"BROKER_NOT_AVAILABLE","retryable":true,"effect":"unknown"}`, four, five}, []string{first, first, last}, ""},
		{"somebody else's 502", []string{"502 <html>", four, five}, []string{first, first, last}, ""},
		{"stored in other requests", []string{`409 {"code":"OUT_OF_ORDER_SEQUENCE_NUMBER","expected_sequence":3}`, five}, []string{first, "3 of 7/3: 2"}, ""},
		{"acknowledged records are gone", []string{four, `409 {"code":"OUT_OF_ORDER_SEQUENCE_NUMBER","expected_sequence":3}`}, []string{first, last}, "till at sequence 4: 409 OUT_OF_ORDER_SEQUENCE_NUMBER: "},
		{"replaced", []string{`412 {"code":"PRODUCER_FENCED","producer_epoch":4}`}, []string{first}, errReplaced.Error()},
		{"other records stored", []string{`422 {"code":"SEQUENCE_REUSED"}`}, []string{first}, "till at sequence 2: 422 SEQUENCE_REUSED: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			w := &till{
				client: &client.Client{HTTP: http.DefaultClient, URLs: []string{newScript(t, &seen, test.answers...)}},
				name:   "till", topic: "t", book: make([]purchase, 5), batch: 2,
				reached: func(int, bool) {},
			}
			err := w.exactlyOnce(t.Context())
			if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOthersDoNotHeed shows what the other two do after a lost answer.
func TestOthersDoNotHeed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mode mode
		want []string
	}{
		{modes[0], []string{" of /: 2", " of /: 1"}},
		{modes[1], []string{" of /: 2", " of /: 2", " of /: 1"}},
	} {
		t.Run(test.mode.topic, func(t *testing.T) {
			t.Parallel()
			var seen []string
			w := &till{
				client: &client.Client{HTTP: http.DefaultClient, URLs: []string{newScript(t, &seen, "", "200 {}", "200 {}")}},
				name:   "till", topic: "t", book: make([]purchase, 3), batch: 2,
				reached: func(int, bool) {},
			}
			if err := test.mode.work(w, t.Context()); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}
