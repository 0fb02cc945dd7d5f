package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/examples/internal/script"
)

// newScript returns the address of a server that gives the answers in turn, status and body, and breaks the connection
// instead of answering "". Behind the last one it says that the member is replaced. The requests go to seen.
func newScript(t *testing.T, seen *[]string, answers ...string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*seen = append(*seen, fmt.Sprintf("%s %s %s", r.Method, strings.TrimPrefix(r.URL.Path, "/v1/"), body))
		answer := `412 {"code":"FENCED_INSTANCE_ID"}`
		if len(answers) > 0 {
			answer, answers = answers[0], answers[1:]
		}
		script.Answer(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestWorkerHeedsAnswers goes through the answers that a worker can get.
func TestWorkerHeedsAnswers(t *testing.T) {
	t.Parallel()
	const (
		joined   = `200 {"member_epoch":7,"assignment":[{"topic":"ad-views","partitions":[3]}]}`
		rejoined = `200 {"member_epoch":9,"assignment":[]}`
		records  = `200 {"member_epoch":7,"assignment":[],"partitions":[` +
			`{"topic":"ad-views","partition":3,"committed_offset":40,"next_offset":41,"records":[{"value":{"campaign":"c","number":1,"format":"video"}}]}]}`
		moved = `200 {"member_epoch":8,"assignment":[]}`
		away  = `503 {"code":"BROKER_NOT_AVAILABLE","retryable":true,"effect":"unknown"}`
		done  = `201 {}`

		join    = `PUT groups/g/members/m {"topics":["ad-views"],"session_timeout_ms":6000}`
		poll7   = `POST groups/g/members/m/poll {"max_records":10,"member_epoch":7,"wait_ms":2000}`
		poll8   = `POST groups/g/members/m/poll {"max_records":10,"member_epoch":8,"wait_ms":2000}`
		poll9   = `POST groups/g/members/m/poll {"max_records":10,"member_epoch":9,"wait_ms":2000}`
		commit7 = `PUT transactions/g.m.7.ID {"produce":[{"topic":"ad-bills","records":[` +
			`{"key":"c","value":{"campaign":"c","number":1,"micros":9500}}]}],` +
			`"offsets":[{"group":"g","member_id":"m","member_epoch":7,"offsets":[` +
			`{"topic":"ad-views","partition":3,"from":40,"offset":41}]}],"commit":true}`
		replaced = "poll: 412 FENCED_INSTANCE_ID: "
	)
	for _, test := range []struct {
		name    string
		answers []string
		want    []string
		err     string
	}{
		{
			"all is well",
			[]string{joined, records, done},
			[]string{join, poll7, commit7, poll7},
			replaced,
		},
		{
			"lost answers",
			[]string{"", joined, "", records, "", "", done},
			[]string{join, join, poll7, poll7, commit7, commit7, commit7, poll7},
			replaced,
		},
		{
			"the database is away",
			[]string{joined, records, away, done},
			[]string{join, poll7, commit7, commit7, poll7},
			replaced,
		},
		{
			"a rebalance",
			[]string{joined, moved},
			[]string{join, poll7, poll8},
			replaced,
		},
		{
			"the session was over at a commit",
			[]string{joined, records, `404 {"code":"UNKNOWN_MEMBER_ID"}`, rejoined},
			[]string{join, poll7, commit7, join, poll9},
			replaced,
		},
		{
			"the session was over at a poll",
			[]string{joined, `404 {"code":"UNKNOWN_MEMBER_ID"}`, rejoined},
			[]string{join, poll7, join, poll9},
			replaced,
		},
		{
			"a late repeat of its join",
			[]string{joined, records, `412 {"code":"FENCED_MEMBER_EPOCH"}`, rejoined},
			[]string{join, poll7, commit7, join, poll9},
			replaced,
		},
		{
			"the partition has moved",
			[]string{joined, records, `409 {"code":"PARTITION_NOT_OWNED"}`},
			[]string{join, poll7, commit7, poll7},
			replaced,
		},
		{
			"somebody else has done it",
			[]string{joined, records, `409 {"code":"COMMITTED_OFFSET_MISMATCH"}`},
			[]string{join, poll7, commit7, poll7},
			replaced,
		},
		{
			"a mistake",
			[]string{joined, records, `422 {"code":"INVALID_REQUEST"}`},
			[]string{join, poll7, commit7},
			"commit: 422 INVALID_REQUEST: ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			w := &worker{
				client: &client.Client{HTTP: http.DefaultClient, URLs: []string{newScript(t, &seen, test.answers...)}},
				group:  "g", member: "m", session: 6 * time.Second, batch: 10, out: t.Output(),
			}
			if err := w.run(t.Context()); err == nil || err.Error() != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			for i := range seen {
				seen[i] = regexp.MustCompile(`\.[0-9a-f]{16} `).ReplaceAllString(seen[i], ".ID ")
			}
			if diff := cmp.Diff(test.want, seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTransactionIDNamesTheWork tells it apart from other work, as from the same offsets after a reset.
func TestTransactionIDNamesTheWork(t *testing.T) {
	t.Parallel()
	offsets := []offset{{viewsTopic, 3, 40, 41}}
	w := worker{group: "g", member: "m", epoch: 7}
	id := w.transactionID(offsets)
	if again := w.transactionID([]offset{{viewsTopic, 3, 40, 41}}); again != id {
		t.Errorf("the same work is %s and %s", id, again)
	}
	later := worker{group: "g", member: "m", epoch: 8}
	for name, other := range map[string]string{
		"another epoch":  later.transactionID(offsets),
		"another offset": w.transactionID([]offset{{viewsTopic, 3, 40, 42}}),
		"another place":  w.transactionID([]offset{{viewsTopic, 4, 40, 41}}),
	} {
		if other == id {
			t.Errorf("%s is taken for the same work", name)
		}
	}
}
