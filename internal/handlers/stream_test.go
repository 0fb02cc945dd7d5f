package handlers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
)

// streamed is the answer to an upload.
type streamed struct {
	status     int
	lines      []streamedLine
	unfinished bool // whether the connection broke before the answer's end
}

// streamedLine is one line of it; a refusal has a Code.
type streamedLine struct {
	NextSequence int64          `json:"next_sequence"`
	Appended     []api.Appended `json:"appended"`
	Staged       []api.Staged   `json:"staged"`
	Complete     bool           `json:"complete"`
	Unverified   int64          `json:"unverified"`

	Code             string `json:"code"`
	Status           int    `json:"status"`
	RecordIndex      *int64 `json:"record_index"`
	ExpectedSequence *int64 `json:"expected_sequence"`
}

// last returns the last line.
func (s *streamed) last() streamedLine {
	if len(s.lines) == 0 {
		return streamedLine{}
	}
	return s.lines[len(s.lines)-1]
}

// mustComplete fails unless all is stored up to a sequence.
func (s *streamed) mustComplete(t *testing.T, next int64) {
	t.Helper()
	if last := s.last(); s.status != http.StatusOK || s.unfinished || !last.Complete || last.NextSequence != next {
		t.Fatalf("%d, unfinished %t, %+v; want complete at %d", s.status, s.unfinished, s.lines, next)
	}
}

// mustRefuse fails unless an ordinary answer, or the last line of a broken one,
// refuses from a record on, or as a whole when that is negative.
func (s *streamed) mustRefuse(t *testing.T, status int, code string, record int64) {
	t.Helper()
	last := s.last()
	if s.unfinished != (s.status == http.StatusOK) || last.Status != status || last.Code != code ||
		(last.RecordIndex != nil) != (record >= 0) || last.RecordIndex != nil && *last.RecordIndex != record {
		t.Fatalf("%d, unfinished %t, at last %+v; want %d %s at record %d", s.status, s.unfinished, last, status, code, record)
	}
}

// stream uploads a body to a path under /v1/topics/; header lines are "Name: value".
func (p *proxy) stream(t *testing.T, c *http.Client, path string, body io.Reader, header ...string) *streamed {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/topics/"+path+"/records/stream", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := c.Do(r)
	if err != nil {
		return &streamed{unfinished: true}
	}
	defer resp.Body.Close()
	return readStreamed(t, resp)
}

func readStreamed(t *testing.T, resp *http.Response) *streamed {
	t.Helper()
	s := &streamed{status: resp.StatusCode}
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		var l streamedLine
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatalf("line %q: %v", in.Bytes(), err)
		}
		s.lines = append(s.lines, l)
	}
	s.unfinished = in.Err() != nil
	return s
}

// newUploads returns a proxy with topic t, and the headers of a producer.
func newUploads(t *testing.T, change ...func(*settings)) (*proxy, []string) {
	t.Helper()
	p := newProxy(t, change...)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	who := p.producer(t, "")
	return p, who
}

// producer registers one and returns its headers.
func (p *proxy) producer(t *testing.T, transactionalID string) []string {
	t.Helper()
	body := "{}"
	if transactionalID != "" {
		body = fmt.Sprintf(`{"transactional_id":%q}`, transactionalID)
	}
	a := p.client(t).mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", body)
	var reg api.ProducerRegistration
	if err := json.Unmarshal(a.body, &reg); err != nil {
		t.Fatal(err)
	}
	return []string{"Producer-Id: " + strconv.FormatInt(reg.ProducerID, 10), "Producer-Epoch: " + strconv.FormatInt(reg.ProducerEpoch, 10)}
}

// numbered returns lines whose values are the numbers from first to end - 1.
func numbered(first, end int) string {
	var b strings.Builder
	for i := first; i < end; i++ {
		fmt.Fprintf(&b, "{\"value\":%d}\n", i)
	}
	return b.String()
}

// mustHold fails unless the only partition of topic t holds the values 0 to n - 1
// in order, each once.
func (p *proxy) mustHold(t *testing.T, n int) {
	t.Helper()
	const sql = `
		SELECT count(*) || ' ' || count(*) FILTER (WHERE convert_from(value, 'UTF8')::bigint = "offset")
		FROM records
		WHERE topic = 't' AND partition = 0`
	var got string
	p.query(t, sql, &got)
	if want := fmt.Sprintf("%d %d", n, n); got != want {
		t.Errorf("records, and those in their place: %s, want %s", got, want)
	}
}

func TestStreamingUpload(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	const n = 25_000
	first := p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, n)), who...)
	first.mustComplete(t, n)
	next := int64(0)
	for _, l := range first.lines[:len(first.lines)-1] {
		if len(l.Appended) != 1 || l.Appended[0].BaseOffset != next || l.Appended[0].RecordCount != l.NextSequence-next {
			t.Fatalf("after %d comes %+v", next, l)
		}
		next = l.NextSequence
	}
	p.mustHold(t, n)
}

// TestP3StreamingRepeatAppendsNothing: the same upload again, whole, longer,
// shorter, from the middle.
func TestP3StreamingRepeatAppendsNothing(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	const n = 10_000
	for _, upload := range [][2]int{{0, n}, {0, n}, {0, n + 1}, {0, n / 3}, {n / 2, n}, {n/2 + 1, n/2 + 2}, {0, 0}, {n + 1, n + 1}, {n - 1, n + 5000}} {
		body := strings.NewReader(numbered(upload[0], upload[1]))
		p.stream(t, http.DefaultClient, "t", body, append(who, "Producer-Seq: "+strconv.Itoa(upload[0]))...).mustComplete(t, int64(upload[1]))
	}
	p.mustHold(t, n+5000)
}

var errCut = errors.New("cut")

// TestStreamingCutUpload: of a body that is cut, whole lines are appended.
func TestStreamingCutUpload(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	all := numbered(0, 5000)
	for at := 7; at < len(all); at += 9973 {
		body := io.MultiReader(strings.NewReader(all[:at]), &failing{})
		if got := p.stream(t, &http.Client{Transport: &http.Transport{}}, "t", body, who...); got.status == http.StatusOK && !got.unfinished {
			t.Fatalf("cut at %d: %+v", at, got)
		}
	}
	p.stream(t, http.DefaultClient, "t", strings.NewReader(strings.TrimSuffix(all, "\n")), who...).mustComplete(t, 5000)
	p.mustHold(t, 5000)
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errCut }

// TestStreamingPrompt: a client that waits for each line's answer gets it.
func TestStreamingPrompt(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	h1, h2 := &http.Transport{}, &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	for i, transport := range []*http.Transport{h1, h2} {
		t.Cleanup(transport.CloseIdleConnections)
		p.uploadInTurns(t, transport, i+1, 100*i, slices.Concat(who, []string{"Producer-Seq: " + strconv.Itoa(100*i)}))
	}
	p.mustHold(t, 200)
}

// uploadInTurns uploads 100 lines, each after the answer to the one before.
func (p *proxy) uploadInTurns(t *testing.T, transport *http.Transport, major, first int, header []string) {
	t.Helper()
	up, send := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/topics/t/records/stream", up)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	go func() { _, _ = fmt.Fprintf(send, "{\"value\":%d}\n", first) }() // a pipe waits for its reader
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != major {
		t.Errorf("answered by %s", resp.Proto)
	}
	in := bufio.NewScanner(resp.Body)
	for next := first + 1; ; next++ {
		if want := fmt.Sprintf(`{"next_sequence":%d,`, next); !in.Scan() || !bytes.HasPrefix(in.Bytes(), []byte(want)) {
			t.Fatalf("%q, %v; want %s…", in.Bytes(), in.Err(), want)
		}
		if next == first+100 {
			break
		}
		if _, err := fmt.Fprintf(send, "{\"value\":%d}\n", next); err != nil {
			t.Fatal(err)
		}
	}
	if err := send.Close(); err != nil {
		t.Fatal(err)
	}
	if !in.Scan() || in.Text() != fmt.Sprintf(`{"next_sequence":%d,"complete":true}`, first+100) {
		t.Errorf("at the end: %q, %v", in.Bytes(), in.Err())
	}
}
