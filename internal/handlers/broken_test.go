package handlers_test

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/faults"
)

// TestFetchBrokenOffDoesNotLookComplete: when the database goes away in the
// middle of an answer, the connection breaks, with and without compression.
// Before the first byte it is a problem like any other.
func TestFetchBrokenOffDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	writer := newProxyOn(t, db)
	c := writer.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for range 9 {
		// Nothing that compression makes small enough for the buffers on the way.
		random := make([]byte, 700_000)
		_, _ = rand.Read(random)
		text := base64.StdEncoding.EncodeToString(random)
		var records []string
		for part := range slices.Chunk([]byte(text), 1000) {
			records = append(records, `{"value":"`+string(part)+`"}`)
		}
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[`+strings.Join(records, ",")+"]}")
	}
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			cut := faults.New(t, db)
			reader := newProxyOn(t, cut.URL(), func(s *settings) { s.tailBytes, s.expectsWarnings = 0, true })
			w := newWire(t, reader)
			// Small, so that the proxy must wait for the client in the middle.
			if err := w.SetReadBuffer(64 << 10); err != nil {
				t.Fatal(err)
			}
			w.send(t, "GET /v1/topics/t/partitions/0/records?max_records=10000&max_bytes=10485760 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: "+encoding+"\r\n\r\n")
			if _, err := w.in.Peek(1); err != nil {
				t.Fatal(err)
			}
			cut.Refuse(true)
			cut.CutAll()
			resp, err := http.ReadResponse(w.in, &http.Request{Method: http.MethodGet})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			n, err := io.Copy(io.Discard, resp.Body)
			if err == nil {
				t.Errorf("an answer of %d bytes looks complete", n)
			}
			reader.client(t).do(t, &request{method: http.MethodGet, path: "/v1/topics/t/partitions/0/records", header: http.Header{}}).
				mustBe(t, http.StatusServiceUnavailable, "BROKER_NOT_AVAILABLE")
		})
	}
}
