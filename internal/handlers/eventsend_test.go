package handlers_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestEventStreamComments come while nothing else does.
func TestEventStreamComments(t *testing.T) {
	t.Parallel()
	p := newProxy(t, func(s *settings) { s.EventComment = 40 * time.Millisecond })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	stream, topic := p.follow(t, "/v1/topics/t/partitions/0/stream"), p.follow(t, "/v1/topics/t/stream")
	lines := p.follow(t, "/v1/topics/t/partitions/0/follow")
	for range 3 {
		stream.mustRead(t, ":\n\n")
		topic.mustRead(t, ":\n\n")
		lines.mustRead(t, "\n")
	}
	mustProduce(t, c, "/v1/topics/t/records", 0, 1)
	for _, f := range []*follower{stream, topic, lines} {
		for line := "\n"; len(line) < 10; { // in between may be comments
			var err error
			if line, err = f.body.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines.mustRead(t, "\n")
}

// TestEventStreamOfWhatIsDeleted ends with a problem, on any proxy.
func TestEventStreamOfWhatIsDeleted(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	var streams []*follower
	for _, at := range []*proxy{p, other} {
		for _, path := range []string{"partitions/0/stream", "stream", "partitions/0/follow", "follow"} {
			streams = append(streams, at.follow(t, "/v1/topics/t/"+path))
		}
		at.untilMetric(t, "eos_waiting_fetches", 4)
	}
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", oneRecord)
	for i, f := range streams {
		f.mustFail(t, "UNKNOWN_TOPIC_OR_PARTITION")
		if i%4 < 2 {
			f.mustEnd(t)
		} else {
			f.mustBreak(t)
		}
	}
}

// TestEventStreamDrain: streams end at once and whole, but for those that have
// an end of their own and have not reached it.
func TestEventStreamDrain(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	var whole, failing []*follower
	for _, path := range []string{"/v1/topics/t/partitions/0/", "/v1/topics/t/"} {
		whole = append(whole, p.follow(t, path+"stream"), p.follow(t, path+"follow"))
		failing = append(failing, p.follow(t, path+"stream?wait_ms=60000"), p.follow(t, path+"follow?max_records=1"), p.follow(t, path+"follow?max_bytes=1"))
	}
	p.untilMetric(t, "eos_waiting_fetches", float64(len(whole)+len(failing)))
	p.handler.Drain()
	for _, f := range whole {
		f.mustEnd(t)
	}
	for _, f := range failing {
		f.mustFail(t, "BROKER_NOT_AVAILABLE")
	}
}

// TestFollowedLinesAreJSON: what jq reads is a sequence of JSON texts with white
// space in between.
func TestFollowedLinesAreJSON(t *testing.T) {
	t.Parallel()
	p := newProxy(t, func(s *settings) { s.EventComment = 10 * time.Millisecond })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	mustProduce(t, c, "/v1/topics/t/records", 0, 10)
	f := p.follow(t, "/v1/topics/t/partitions/0/follow")
	texts := json.NewDecoder(f.body)
	var got []int
	for n := range 11 {
		if n == 10 { // after some empty lines
			p.untilMetric(t, "eos_waiting_fetches", 1)
			mustProduce(t, c, "/v1/topics/t/records", 10, 11)
		}
		var record struct{ Value int }
		if err := texts.Decode(&record); err != nil {
			t.Fatal(err)
		}
		got = append(got, record.Value)
	}
	if !slices.IsSorted(got) || got[0] != 0 || got[10] != 10 {
		t.Errorf("%v", got)
	}
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	var problem struct{ Code string }
	if err := texts.Decode(&problem); err != nil || problem.Code != "UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("%+v, %v", problem, err)
	}
	if err := texts.Decode(&problem); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the last line ends the answer well: %v", err)
	}
}
