package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// newLong returns a proxy with a topic that is larger than what a connection
// holds of it for a client that does not read, and how many records that is.
func newLong(t *testing.T, change ...func(*settings)) (p *proxy, records int) {
	t.Helper()
	p = newProxy(t, append(change, func(s *settings) { s.tailBytes = 0 })...)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	record := `{"value":"` + strings.Repeat("x", 10_000) + `"}`
	batch := `{"records":[` + strings.Repeat(record+",", 49) + record + `]}`
	for range 60 { // small ones, for the memory that tests take
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", batch)
		records += 50
	}
	return p, records
}

// mustBlock opens a stream that has more to send than its connection takes, and
// waits until the connection, which nobody reads from, is full: what it has
// taken does not grow any more.
func (p *proxy) mustBlock(t *testing.T, path string) *follower {
	t.Helper()
	before := p.sent.Load()
	f := p.follow(t, path)
	last, same := before, 0
	until(t, "the connection to be full", func() bool {
		now := p.sent.Load()
		if same++; now != last {
			last, same = now, 0
		}
		return last-before > 64<<10 && same >= 100
	})
	return f
}

// TestSlowReaderThatRetentionPasses gets what was read for it, without a gap,
// and then the reason, with the place to go on.
func TestSlowReaderThatRetentionPasses(t *testing.T) {
	t.Parallel()
	p, n := newLong(t)
	start := `"log_start_offset":` + strconv.Itoa(n-1)
	for path, want := range map[string]string{
		"/v1/topics/t/partitions/0/stream": start,
		"/v1/topics/t/stream":              `"next_cursor":"`,
		"/v1/topics/t/partitions/0/follow": start,
	} {
		p.mustExec(t, `UPDATE partitions SET log_start_offset = 0`)
		f := p.mustBlock(t, path)
		p.mustExec(t, `UPDATE partitions SET log_start_offset = `+strconv.Itoa(n-1))
		seen := 0
		for {
			line, err := f.body.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "event: problem\n" {
				continue
			}
			if strings.Contains(line, `"code":`) {
				if !strings.Contains(line, want) || !strings.Contains(line, `"status":410`) {
					t.Errorf("%s: %s", path, line)
				}
				break
			}
			if at := strings.Index(line, `"offset":`); at >= 0 {
				if !strings.HasPrefix(line[at:], `"offset":`+strconv.Itoa(seen)+",") {
					t.Fatalf("%s: %d is followed by %.60s", path, seen-1, line)
				}
				seen++
			}
		}
		if seen == 0 || seen >= n-1 {
			t.Errorf("%s: %d records came before the problem", path, seen)
		}
		if strings.HasSuffix(path, "follow") {
			f.mustBreak(t)
		} else {
			f.mustRead(t, "\n")
			f.mustEnd(t)
		}
	}
}

// TestStalledReaderIsCutOff, and what it held is given back.
func TestStalledReaderIsCutOff(t *testing.T) {
	t.Parallel()
	p, n := newLong(t, func(s *settings) { s.EventIdle = time.Second })
	streams := []*follower{p.follow(t, "/v1/topics/t/partitions/0/stream"), p.follow(t, "/v1/topics/t/follow")}
	p.untilMetric(t, "eos_event_streams", 0)
	for _, f := range streams {
		got, line, err := 0, "", error(nil)
		for ; err == nil; line, err = f.body.ReadString('\n') {
			got += strings.Count(line, `"offset":`)
		}
		if errors.Is(err, io.EOF) || got >= n {
			t.Errorf("%d records, %v", got, err)
		}
	}
	events, _ := readEvents(p.rawStream(t, "/v1/topics/t/partitions/0/stream?wait_ms=0"), "")
	if len(events) != n {
		t.Errorf("%d records, want %d", len(events), n)
	}
}

// TestStalledReaderHoldsUpNoDrain: who does not read is cut off after a second
// when the proxy stops.
func TestStalledReaderHoldsUpNoDrain(t *testing.T) {
	t.Parallel()
	p, _ := newLong(t)
	p.mustBlock(t, "/v1/topics/t/partitions/0/stream")
	start := time.Now()
	p.handler.Drain()
	p.untilMetric(t, "eos_event_streams", 0)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestEventStreamsWithLittleMemory: where answers have little memory, pieces are
// small, and a record that does not fit is refused by a problem.
func TestEventStreamsWithLittleMemory(t *testing.T) {
	t.Parallel()
	const n = 300
	p := newProxy(t)
	small := newProxyOn(t, p.db, func(s *settings) { s.MaxBodiesBytes, s.tailBytes = 64<<10, 0 })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	record := `{"value":"` + strings.Repeat("x", 1000) + `"}`
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[`+strings.Repeat(record+",", n-1)+record+`]}`)
	for _, path := range []string{"/v1/topics/t/partitions/0/stream", "/v1/topics/t/stream"} {
		events, _ := readEvents(small.rawStream(t, path+"?wait_ms=0"), "")
		if len(events) != n {
			t.Errorf("%s: %d records, want %d", path, len(events), n)
		}
	}
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":"`+strings.Repeat("x", 70_000)+`"}]}`)
	f := small.follow(t, "/v1/topics/t/partitions/0/stream?offset="+strconv.Itoa(n-1))
	for range 3 {
		if _, err := f.body.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	f.mustFail(t, "BROKER_NOT_AVAILABLE")
	f.mustEnd(t)
	small.follow(t, "/v1/topics/t/partitions/0/stream?offset="+strconv.Itoa(n)).mustBeRefused(t, http.StatusServiceUnavailable)
}

// TestF4EventStreamsHoldNothing: thousands of them hold no connection to the
// database while they wait, and each gets what is written.
func TestF4EventStreamsHoldNothing(t *testing.T) {
	t.Parallel()
	const streams = 2000
	p := newProxy(t, func(s *settings) { s.EventComment = time.Hour })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":10}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make([]*httptest.ResponseRecorder, streams)
	var group sync.WaitGroup
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		path := "/v1/topics/t/partitions/" + strconv.Itoa(i%10) + "/" + []string{"stream", "follow"}[i/10%2]
		if i%100 == 0 {
			path = "/v1/topics/t/stream"
		}
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		group.Go(func() { p.handler.ServeHTTP(answers[i], r) })
	}
	p.untilMetric(t, "eos_waiting_fetches", streams)
	p.untilMetric(t, "eos_event_streams", streams)
	p.untilNoneIsHeld(t)
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/partitions/0/records", oneRecord)
	p.untilMetric(t, "eos_waiting_fetches", streams) // those that were woken, too
	p.untilNoneIsHeld(t)
	p.handler.Drain() // they read what they were woken for
	group.Wait()
	for i, a := range answers {
		want := 0
		if i%10 == 0 {
			want = 1
		}
		if got := strings.Count(a.Body.String(), `"value":1`); a.Code != http.StatusOK || got != want {
			t.Fatalf("stream %d, want %d records: %d %q", i, want, a.Code, a.Body)
		}
	}
}

// TestEventStreamsOverHTTP2: the same events; a problem of lines resets the
// stream; the connection goes on.
func TestEventStreamsOverHTTP2(t *testing.T) {
	t.Parallel()
	// The time between two writes is longer than a client may take for one.
	p := newProxy(t, func(s *settings) { s.EventComment, s.EventIdle = 1500*time.Millisecond, time.Second })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	open := func(kind string) io.Reader {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/v1/topics/t/partitions/0/"+kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
			t.Fatalf("%+v, %v", resp, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp.Body
	}
	stream, lines := open("stream"), open("follow")
	for _, comments := range []struct {
		from io.Reader
		want string
	}{{stream, "retry: 1000\n\n:\n\n:\n\n"}, {lines, "\n\n"}} {
		got := make([]byte, len(comments.want))
		if _, err := io.ReadFull(comments.from, got); err != nil || string(got) != comments.want {
			t.Fatalf("%q, %v, want %q", got, err, comments.want)
		}
	}
	mustProduce(t, c, "/v1/topics/t/records", 0, 3)
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	whole, err := io.ReadAll(stream)
	if !bytes.Contains(whole, []byte("event: problem\ndata: {")) || err != nil {
		t.Errorf("%q, %v", whole, err)
	}
	broken, err := io.ReadAll(lines)
	if !bytes.Contains(broken, []byte("UNKNOWN_TOPIC_OR_PARTITION")) || err == nil || !strings.Contains(err.Error(), "stream error") {
		t.Errorf("%q, %v", broken, err)
	}
}
