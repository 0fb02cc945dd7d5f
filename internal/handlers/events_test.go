package handlers_test

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestEventStreamOfAPartition: first what is there, then each record when it is
// committed.
func TestEventStreamOfAPartition(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	mustProduce(t, c, "/v1/topics/t/records", 0, 2)
	f := p.follow(t, "/v1/topics/t/partitions/0/stream", "Accept-Encoding: gzip, zstd")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "Content-Encoding": "", "X-Accel-Buffering": "no"} {
		if got := f.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	f.mustRead(t, numberedEvents(0, 2))
	mustProduce(t, c, "/v1/topics/t/records", 2, 3)
	f.mustRead(t, numberedEvents(2, 3))
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/x", "")
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"key":"k4","value":4}]}`, "Transaction-Id: x")
	mustProduce(t, c, "/v1/topics/t/records", 3, 4)
	f.mustRead(t, numberedEvents(3, 4))
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/transactions/x/commit", "")
	f.mustRead(t, numberedEvents(4, 5))
}

// TestEventsLeaveAtOnce: each batch is a chunk on the wire, with nothing in
// front of it or behind it.
func TestEventsLeaveAtOnce(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	w := newWire(t, p)
	w.send(t, "GET /v1/topics/t/partitions/0/stream HTTP/1.1\r\nHost: x\r\nRequest-Id: r1\r\n\r\n")
	const head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: text/event-stream\r\nRequest-Id: r1\r\nX-Accel-Buffering: no\r\n" +
		"Date: Mon, 02 Jan 2006 15:04:05 GMT\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nretry: 1000\n\n\r\n"
	const date = "\r\nDate: "
	got := make([]byte, len(head))
	if _, err := io.ReadFull(w.in, got); err != nil {
		t.Fatal(err)
	}
	at := strings.Index(head, date) + len(date)
	copy(got[at:], head[at:][:len(http.TimeFormat)])
	if diff := cmp.Diff(head, string(got)); diff != "" {
		t.Fatal(diff)
	}
	for i, body := range []string{`{"value":1}`, `{"value":2},{"value":3}`} {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[`+strings.ReplaceAll(body, `{"v`, `{"timestamp":1767225600000,"v`)+`]}`)
		chunk := []string{
			"49\r\nid: 0\ndata: {\"offset\":0,\"timestamp\":1767225600000,\"key\":null,\"value\":1}\n\n\r\n",
			"92\r\nid: 1\ndata: {\"offset\":1,\"timestamp\":1767225600000,\"key\":null,\"value\":2}\n\n" +
				"id: 2\ndata: {\"offset\":2,\"timestamp\":1767225600000,\"key\":null,\"value\":3}\n\n\r\n",
		}[i]
		got := make([]byte, len(chunk))
		if _, err := io.ReadFull(w.in, got); err != nil || string(got) != chunk {
			t.Fatalf("%q, %v, want %q", got, err, chunk)
		}
	}
	p.handler.Drain()
	if rest, err := io.ReadAll(io.LimitReader(w.in, 5)); string(rest) != "0\r\n\r\n" {
		t.Errorf("the end is %q, %v", rest, err)
	}
}

// TestEventsOfATopic have their partition, and the cursor behind them.
func TestEventsOfATopic(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":3}`)
	f, lines := p.follow(t, "/v1/topics/t/stream"), p.follow(t, "/v1/topics/t/follow")
	var cursors []string
	for i, partition := range []int{2, 0, 2} {
		mustProduce(t, c, "/v1/topics/t/partitions/"+strconv.Itoa(partition)+"/records", i, i+1)
		id, err := f.body.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		cursor := strings.TrimSuffix(strings.TrimPrefix(id, "id: "), "\n")
		record := `{"partition":` + strconv.Itoa(partition) + `,"offset":` + strconv.Itoa(i/2) + `,"timestamp":…,"key":"k` + strconv.Itoa(i) + `","value":` + strconv.Itoa(i)
		f.mustRead(t, "data: "+record+"}\n\n")
		lines.mustRead(t, record+`,"cursor":"`+cursor+"\"}\n")
		cursors = append(cursors, cursor)
	}
	for i, cursor := range cursors { // a fetch goes on there as well
		page := mustPage(t, c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/records?cursor="+cursor, ""))
		if len(page.Records) != len(cursors)-1-i {
			t.Errorf("behind record %d: %d records", i, len(page.Records))
		}
	}
}

// TestEventsOfValuesWithLineBreaks have the same value; a line of JSON is one
// line.
func TestEventsOfValuesWithLineBreaks(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records",
		"{\"records\":[{\"timestamp\":1,\"key\":\"a\\nb\",\"value\":{\n\"x\":\r\n[\r1,\n\n\"\\r\\n\"]}},{\"timestamp\":1,\"value_base64\":\"AAo=\"}]}")
	const second = `{"offset":1,"timestamp":1,"key":null,"value_base64":"AAo="}`
	stream := p.rawStream(t, "/v1/topics/t/partitions/0/stream?wait_ms=0")
	want := "id: 0\ndata: {\"offset\":0,\"timestamp\":1,\"key\":\"a\\nb\",\"value\":{\ndata: \"x\":\ndata: [\ndata: 1,\ndata: \ndata: \"\\r\\n\"]}}\n\n" +
		"id: 1\ndata: " + second + "\n\n"
	if diff := cmp.Diff(want, string(stream)); diff != "" {
		t.Error(diff)
	}
	events, _ := readEvents(stream, "")
	if len(events) != 2 || events[0].data != "{\"offset\":0,\"timestamp\":1,\"key\":\"a\\nb\",\"value\":{\n\"x\":\n[\n1,\n\n\"\\r\\n\"]}}" {
		t.Errorf("%q", events)
	}
	lines := p.rawStream(t, "/v1/topics/t/partitions/0/follow?wait_ms=0")
	want = `{"offset":0,"timestamp":1,"key":"a\nb","value":{ "x":  [ 1,  "\r\n"]}}` + "\n" + second + "\n"
	if diff := cmp.Diff(want, string(lines)); diff != "" {
		t.Error(diff)
	}
}

// TestEventStreamsBegin where a fetch with the same parameters does, and end
// where it does; but Last-Event-ID wins.
func TestEventStreamsBegin(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for i := range 10 {
		n := strconv.Itoa(i)
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"timestamp":`+strconv.Itoa(1000*i)+`,"key":"k`+n+`","value":`+n+`}]}`)
	}
	for query, want := range map[string]int{
		"": 10, "?offset=4": 6, "?offset=10": 0, "?at=earliest": 10, "?at=latest": 0, "?at=3000": 7, "?at=3001": 6, "?at=9001": 0,
		"?offset=2&max_records=3": 3, "?max_bytes=1": 1, "?max_bytes=8&offset=1": 2, "?max_bytes=9": 3, "?max_bytes=10000&max_records=10000&isolation_level=read_committed": 10,
	} {
		fetched := mustPage(t, c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/partitions/0/records"+query, "")).Records
		join := "?wait_ms=0"
		if query != "" {
			join = query + "&wait_ms=0"
		}
		events, last := readEvents(p.rawStream(t, "/v1/topics/t/partitions/0/stream"+join), "")
		lines := bytes.Split(bytes.TrimSuffix(p.rawStream(t, "/v1/topics/t/partitions/0/follow"+join), []byte("\n")), []byte("\n"))
		if len(fetched) != want || len(events) != want || want > 0 && len(lines) != want {
			t.Errorf("%s: %d fetched, %d events, %d lines, want %d", query, len(fetched), len(events), len(lines), want)
			continue
		}
		for i, e := range events {
			if offset := strconv.FormatInt(fetched[i].Offset, 10); e.id != offset || !strings.HasPrefix(e.data, `{"offset":`+offset+`,`) || e.data != string(lines[i]) {
				t.Errorf("%s: event %d is %v, the line %s", query, i, e, lines[i])
			}
		}
		if strings.HasPrefix(query, "?at=") && query != "?at=earliest" && last != "9" {
			t.Errorf("%s: the last id is %q", query, last)
		}
	}
	for header, want := range map[string]int{"-1": 10, "0": 9, "6": 3, "9": 0} {
		for _, query := range []string{"", "offset=3&", "at=latest&", "offset=99&"} {
			events, _ := readEvents(p.rawStream(t, "/v1/topics/t/partitions/0/stream?"+query+"wait_ms=0", "Last-Event-ID: "+header), "")
			if len(events) != want {
				t.Errorf("Last-Event-ID %s, %s: %d events, want %d", header, query, len(events), want)
			}
		}
	}
	if got := string(p.rawStream(t, "/v1/topics/t/partitions/0/stream?at=latest&wait_ms=0")); got != "id: 9\n\n" {
		t.Errorf("at the end stands %q", got)
	}
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/empty", "")
	if got := string(p.rawStream(t, "/v1/topics/empty/partitions/0/stream?at=latest&wait_ms=0")); got != "id: -1\n\n" {
		t.Errorf("at the end of an empty log stands %q", got)
	}
}

// TestEventStreamsWaitAsLongAsTheyAreTold for each record.
func TestEventStreamsWaitAsLongAsTheyAreTold(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	f := p.follow(t, "/v1/topics/t/partitions/0/stream?wait_ms=2000&max_records=3")
	p.untilMetric(t, "eos_waiting_fetches", 1)
	mustProduce(t, c, "/v1/topics/t/records", 0, 1)
	f.mustRead(t, numberedEvents(0, 1))
	start := time.Now()
	f.mustEnd(t)
	if took := time.Since(start); took < 1500*time.Millisecond || took > patience/2 {
		t.Errorf("ended after %v", took)
	}
	f = p.follow(t, "/v1/topics/t/partitions/0/stream?max_records=3")
	mustProduce(t, c, "/v1/topics/t/records", 1, 9)
	f.mustRead(t, numberedEvents(0, 3))
	f.mustEnd(t)
	f.usable(t, p, &answer{header: http.Header{}})
}

// TestEventStreamsAreRefused by ordinary statuses, while nothing was answered.
func TestEventStreamsAreRefused(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":2}`)
	mustProduce(t, c, "/v1/topics/t/partitions/0/records", 0, 9)
	old := mustPage(t, c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/records?max_records=1", "")).Cursor
	end := mustPage(t, c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/records?at=latest", "")).Cursor
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/other", "")
	p.mustExec(t, `UPDATE partitions SET log_start_offset = 5 WHERE partition = 0`)
	p.mustExec(t, `UPDATE batches SET base_offset = 5, record_count = 4, ends = ends[11:18] WHERE base_offset = 0`) // its first five are gone
	for _, kind := range []string{"stream", "follow"} {
		const of = "/v1/topics/t/partitions/0/"
		for _, test := range []struct {
			path, id string
			status   int
			code     string
		}{
			{"/v1/topics/none/" + kind, "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
			{"/v1/topics/none/partitions/0/" + kind, "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
			{"/v1/topics/t/partitions/2/" + kind + "?at=latest", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
			{"/v1/topics/t/partitions/-1/" + kind, "", 400, "INVALID_REQUEST"},
			{"/v1/topics/%20/" + kind, "", 400, "INVALID_TOPIC_EXCEPTION"},
			{of + kind + "?offset=4", "", 410, "OFFSET_OUT_OF_RANGE"},
			{of + kind, "3", 410, "OFFSET_OUT_OF_RANGE"},
			{"/v1/topics/t/" + kind + "?cursor=" + old, "", 410, "OFFSET_OUT_OF_RANGE"},
			{"/v1/topics/t/" + kind + "?at=latest", old, 410, "OFFSET_OUT_OF_RANGE"},
			{of + kind + "?offset=10", "", 416, "OFFSET_OUT_OF_RANGE"},
			{of + kind, "9", 416, "OFFSET_OUT_OF_RANGE"},
			{of + kind, "9007199254740991", 416, "OFFSET_OUT_OF_RANGE"},
			{of + kind + "?offset=1&at=latest", "5", 400, "INVALID_REQUEST"},
			{"/v1/topics/t/" + kind + "?at=latest&cursor=" + end, end, 400, "INVALID_REQUEST"},
			{of + kind + "?offset=01", "", 400, "INVALID_REQUEST"},
			{of + kind + "?at=now", "", 400, "INVALID_REQUEST"},
			{of + kind + "?max_records=0", "", 400, "INVALID_REQUEST"},
			{of + kind + "?max_bytes=10485761", "", 400, "INVALID_REQUEST"},
			{of + kind + "?wait_ms=60001", "", 400, "INVALID_REQUEST"},
			{of + kind + "?Offset=1", "", 400, "INVALID_REQUEST"},
			{of + kind, "-2", 400, "INVALID_REQUEST"},
			{of + kind, "5.0", 400, "INVALID_REQUEST"},
			{of + kind, end, 400, "INVALID_REQUEST"},
			{"/v1/topics/t/" + kind, "!", 400, "INVALID_REQUEST"},
			{"/v1/topics/t/" + kind, "7", 400, "INVALID_REQUEST"},
			{"/v1/topics/other/" + kind, end, 400, "INVALID_REQUEST"},
			{"/v1/topics/t/partitions/" + kind, "", 404, "NOT_FOUND"},
		} {
			r := &request{method: http.MethodGet, path: test.path, header: http.Header{}}
			if test.id != "" {
				r.header.Set("Last-Event-ID", test.id)
			}
			a := c.do(t, r)
			if a.status != test.status || a.problem(t).Code != test.code {
				t.Errorf("%s, Last-Event-ID %q: %d %s, want %d %s", test.path, test.id, a.status, a.body, test.status, test.code)
			}
			if problem := a.problem(t); test.status == 410 && problem.LogStartOffset == nil && problem.NextCursor == nil {
				t.Errorf("%s: %s", test.path, a.body)
			}
		}
		a := c.mustDo(t, http.StatusMethodNotAllowed, http.MethodPost, of+kind, "")
		if allow := a.header.Get("Allow"); allow != "GET, HEAD" {
			t.Errorf("Allow: %s", allow)
		}
		c.mustDo(t, http.StatusOK, http.MethodHead, "/v1/topics/t/"+kind, "")
		c.mustDo(t, http.StatusGone, http.MethodHead, of+kind+"?offset=0", "")
	}
}
