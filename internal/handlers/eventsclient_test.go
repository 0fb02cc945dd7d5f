package handlers_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// follower reads an event stream over a connection of its own.
type follower struct {
	*wire
	status int
	header http.Header
	body   *bufio.Reader
}

// follow opens an event stream over HTTP/1.1.
func (p *proxy) follow(t *testing.T, path string, header ...string) *follower {
	t.Helper()
	w := newWire(t, p)
	w.send(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+strings.Join(append(header, ""), "\r\n")+"\r\n")
	resp, err := http.ReadResponse(w.in, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	f := &follower{wire: w, status: resp.StatusCode, header: resp.Header, body: bufio.NewReader(resp.Body)}
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		f.mustRead(t, "retry: 1000\n\n") // a browser comes back soon when the proxy stops
	}
	return f
}

// mustRead fails unless the next bytes of the stream are these. Times of now
// are "…" in it.
func (f *follower) mustRead(t *testing.T, want string) {
	t.Helper()
	var got strings.Builder
	for range strings.Count(want, "\n") {
		line, err := f.body.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			t.Fatalf("after %q: %v, want %q", got.String(), err, want)
		}
	}
	if text := withoutTimes(t, got.String()); text != want {
		t.Fatalf("got  %q\nwant %q", text, want)
	}
}

// mustEnd fails unless the stream ends here, whole.
func (f *follower) mustEnd(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(f.body); err != nil || len(rest) > 0 {
		t.Errorf("instead of the end: %q, %v", rest, err)
	}
}

// mustBreak fails unless the connection breaks here, without the end of the
// answer.
func (f *follower) mustBreak(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(f.body); !errors.Is(err, io.ErrUnexpectedEOF) || len(rest) > 0 {
		t.Errorf("instead of a broken connection: %q, %v", rest, err)
	}
}

// mustFail fails unless the next that comes is a problem of that code; it
// returns the problem.
func (f *follower) mustFail(t *testing.T, code string) string {
	t.Helper()
	if f.header.Get("Content-Type") == "text/event-stream" {
		f.mustRead(t, "event: problem\n")
	}
	line, err := f.body.ReadString('\n')
	problem := strings.TrimPrefix(line, "data: ")
	if err != nil || !strings.Contains(problem, `"code":"`+code+`"`) || !strings.Contains(problem, `"request_id":"`+f.header.Get("Request-Id")+`"`) {
		t.Fatalf("%q, %v, want %s", line, err, code)
	}
	if strings.HasPrefix(line, "data: ") {
		f.mustRead(t, "\n")
	}
	return problem
}

// mustBeRefused fails unless the answer has this status.
func (f *follower) mustBeRefused(t *testing.T, status int) {
	t.Helper()
	if f.status != status {
		t.Errorf("status %d, want %d", f.status, status)
	}
}

// event is one event, as a browser would hand it out.
type event struct{ id, name, data string }

// readEvents reads events as the HTML standard says (section 9.2.6), to the end
// of what there is. The last id is that of the last event, or one that stood
// alone behind it.
func readEvents(stream []byte, lastID string) (events []event, last string) {
	var e event
	var data []string
	id := lastID
	for len(stream) > 0 {
		raw, rest, whole := bytes.Cut(stream, []byte("\n"))
		if !whole {
			break // a line without an end does not count
		}
		stream = rest
		line := string(raw)
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			lastID = id
			if data != nil {
				e.id, e.data = id, strings.Join(data, "\n")
				events = append(events, e)
			}
			e, data = event{}, nil
		case field == "id":
			id = value
		case field == "event":
			e.name = value
		case field == "data":
			data = append(data, value)
		}
	}
	return events, lastID
}

// mustProduce appends records with the values from one number to before another
// to a path, each request with ten.
func mustProduce(t *testing.T, c *client, path string, from, to int) {
	t.Helper()
	for ; from < to; from += 10 {
		var records []string
		for i := from; i < min(to, from+10); i++ {
			records = append(records, `{"key":"k`+strconv.Itoa(i)+`","value":`+strconv.Itoa(i)+`}`)
		}
		c.mustDo(t, http.StatusOK, http.MethodPost, path, `{"records":[`+strings.Join(records, ",")+`]}`)
	}
}

// events returns the events of records with values that are their offsets.
func numberedEvents(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "id: %d\ndata: {\"offset\":%d,\"timestamp\":…,\"key\":\"k%d\",\"value\":%d}\n\n", i, i, i, i)
	}
	return b.String()
}

// rawStream returns the whole body of a stream that has an end, as bytes.
func (p *proxy) rawStream(t *testing.T, path string, header ...string) []byte {
	t.Helper()
	f := p.follow(t, path, header...)
	body, err := io.ReadAll(f.body)
	if err != nil || f.status != http.StatusOK {
		t.Fatalf("%s: %d %s, %v", path, f.status, body, err)
	}
	return body
}
