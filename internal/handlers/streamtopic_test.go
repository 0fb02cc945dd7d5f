package handlers_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestP8StreamingToATopicMadeAgain at another proxy: what this one remembers of the topic that was, and what is still
// stored of it, is not taken for what the new one holds.
func TestP8StreamingToATopicMadeAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		remove bool // the records, before the topic goes
		lines  int  // that come again
	}{
		"all":               {lines: 50},
		"a part":            {lines: 20},
		"what was removed":  {remove: true, lines: 50},
		"a part of removed": {remove: true, lines: 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, who := newUploads(t)
			q := newProxyOn(t, p.db)
			q.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 50)), who...).mustComplete(t, 50)
			c := p.client(t)
			if test.remove {
				c.mustDo(t, http.StatusOK, http.MethodDelete, "/v1/topics/t/partitions/0/records?before_offset=50", "")
				p.mustTrim(t)
			}
			c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
			again := strings.NewReader(numbered(0, test.lines))
			q.stream(t, http.DefaultClient, "t", again, who...).mustRefuse(t, http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", -1)
			c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
			again.Reset(numbered(0, test.lines))
			got := q.stream(t, http.DefaultClient, "t", again, who...)
			got.mustComplete(t, int64(test.lines))
			if got.last().Unverified != 0 {
				t.Errorf("%d unverified of a topic that is new", got.last().Unverified)
			}
			q.mustHold(t, test.lines)
		})
	}
}

// TestP8StreamingWhileItsTopicIsMadeAgain: what comes after that is not skipped for what the topic that was had of it.
func TestP8StreamingWhileItsTopicIsMadeAgain(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	c := p.client(t)
	p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 50)), who...).mustComplete(t, 50)
	up, send := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/topics/t/records/stream", up)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	for _, line := range who {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	go func() { _, _ = io.WriteString(send, numbered(0, 1)) }() // a pipe waits for its reader
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintln(`{"next_sequence":1}`) {
		t.Fatalf("%q, %v", line, err)
	}
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	go func() {
		_, _ = io.WriteString(send, numbered(1, 2))
		_ = send.Close()
	}()
	if rest, _ := io.ReadAll(in); !strings.Contains(string(rest), "UNKNOWN_TOPIC_OR_PARTITION") {
		t.Errorf("a line for a topic that is new: %q", rest)
	}
	p.mustHold(t, 0)
}

// TestStreamingToAPartitionThatWasAdded at another proxy.
func TestStreamingToAPartitionThatWasAdded(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	q := newProxyOn(t, p.db)
	q.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 5)), who...).mustComplete(t, 5)
	p.client(t).mustDo(t, http.StatusOK, http.MethodPatch, "/v1/topics/t", `{"partition_count":2}`)
	for range 2 {
		q.stream(t, http.DefaultClient, "t/partitions/1", strings.NewReader(numbered(0, 5)), who...).mustComplete(t, 5)
	}
}
