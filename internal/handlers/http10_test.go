package handlers_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// mustReset fails unless the answer ends by a reset of the connection; it
// returns what came of it.
func (w *wire) mustReset(t *testing.T) string {
	t.Helper()
	all, err := io.ReadAll(w.in)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ends with %v after %q", err, all)
	}
	return string(all)
}

// TestHTTP10BrokenUpload: an upload over HTTP/1.0 that is refused behind its
// first answers ends by a reset: the end of the connection would be that of a
// complete answer.
func TestHTTP10BrokenUpload(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	first, second := numbered(0, 5), "{\"value\":5}\n{\"valeu\":6}\n"
	w := newWire(t, p)
	w.send(t, fmt.Sprintf("POST /v1/topics/t/records/stream HTTP/1.0\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n%s\r\n\r\n%s",
		len(first)+len(second), strings.Join(who, "\r\n"), first))
	p.untilMetric(t, "eos_appended_records_total", 5)
	// The answer has begun when its head is there.
	if head, err := w.in.ReadString('\n'); err != nil || head != "HTTP/1.0 200 OK\r\n" {
		t.Fatalf("%q, %v", head, err)
	}
	w.send(t, second)
	if got := w.mustReset(t); !strings.Contains(got, `"next_sequence":6`) || !strings.Contains(got, `"code":"INVALID_RECORD"`) || !strings.Contains(got, "line 7: ") {
		t.Errorf("before the reset: %q", got)
	}
	p.mustHold(t, 6)
}

// TestHTTP10BrokenFollow: so does a log that is followed by lines.
func TestHTTP10BrokenFollow(t *testing.T) {
	t.Parallel()
	p, _ := newUploads(t)
	c := p.client(t)
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", oneRecord)
	w := newWire(t, p)
	w.send(t, "GET /v1/topics/t/partitions/0/follow HTTP/1.0\r\n\r\n")
	p.untilMetric(t, "eos_waiting_fetches", 1)
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	if got := w.mustReset(t); !strings.Contains(got, `"offset":0`) || !strings.Contains(got, "UNKNOWN_TOPIC_OR_PARTITION") {
		t.Errorf("before the reset: %q", got)
	}
}
