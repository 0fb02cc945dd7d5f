package handlers_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/google/go-cmp/cmp"
)

// metrics returns the value of each metric without labels.
func (p *proxy) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	a := p.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/metrics", "")
	values := map[string]float64{}
	for _, line := range metricPattern.FindAllStringSubmatch(string(a.body), -1) {
		n, err := strconv.ParseFloat(line[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		values[line[1]] = n
	}
	return values
}

var metricPattern = regexp.MustCompile(`(?m)^([a-z_]+) (\S+)$`)

// until waits until done reports true.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-again.C:
		case <-timeout:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// untilMetric waits until a metric has a value.
func (p *proxy) untilMetric(t *testing.T, name string, want float64) {
	t.Helper()
	until(t, name, func() bool { return p.metrics(t)[name] == want })
}

// highWatermark returns that of the first partition of a topic.
func highWatermark(t *testing.T, p *proxy, topic string) int64 {
	t.Helper()
	a := p.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/"+topic, "")
	var got api.Topic
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	return got.Partitions[0].HighWatermark
}

// start sends a request in the background; the answer comes on the channel.
func (p *proxy) start(t *testing.T, method, path, body string, header ...string) <-chan *answer {
	t.Helper()
	c := p.client(t)
	done := make(chan *answer, 1)
	r := &request{method: method, path: path, header: http.Header{}}
	if body != "" {
		r.body = []byte(body)
		r.header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(done)
		a, err := c.try(t, r)
		if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return
		}
		done <- a
	}()
	return done
}

// received returns the answer that comes on the channel.
func received(t *testing.T, done <-chan *answer) *answer {
	t.Helper()
	select {
	case a := <-done:
		if a == nil {
			t.FailNow()
		}
		return a
	case <-time.After(patience):
		t.Fatalf("no answer within %s", patience)
		return nil
	}
}

// TestP5EarlyRequestWaitsForItsPredecessor also when the predecessor comes
// third.
func TestP5EarlyRequestWaitsForItsPredecessor(t *testing.T) {
	t.Parallel()
	p := newProxy(t, func(s *settings) { s.sequenceWait = patience })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", "")
	produce := func(sequence string) <-chan *answer {
		return p.start(t, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":`+sequence+`}]}`,
			"Producer-Id", "1001", "Producer-Epoch", "0", "Producer-Seq", sequence)
	}
	third := produce("2")
	p.untilMetric(t, "eos_flush_requests_count", 1)
	second := produce("1")
	p.untilMetric(t, "eos_flush_requests_count", 2)
	first := produce("0")
	for sequence, done := range []<-chan *answer{first, second, third} {
		n := strconv.Itoa(sequence)
		want := `{"topic":"t","appended":[{"partition":0,"base_offset":` + n + `,"record_count":1}],"next_sequence":` + strconv.Itoa(sequence+1) + "}\n"
		if a := received(t, done); a.status != http.StatusOK || string(a.body) != want {
			t.Errorf("sequence %d: %d %s, want %s", sequence, a.status, a.body, want)
		}
	}
}

// TestF3WaitingFetchIsWoken by an append and by a commit, on the proxy that
// wrote and on another one.
func TestF3WaitingFetchIsWoken(t *testing.T) {
	t.Parallel()
	writer := newProxy(t)
	other := newProxyOn(t, writer.db)
	c := writer.client(t)
	for i, reader := range []*proxy{writer, other} {
		topic := "t" + strconv.Itoa(i)
		c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/"+topic, `{"partition_count":2}`)
		wait := func(offset string) []<-chan *answer {
			cursor := c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/"+topic+"/records?at=latest", "")
			var at api.FetchTopicResult
			if err := json.Unmarshal(cursor.body, &at); err != nil {
				t.Fatal(err)
			}
			waiting := []<-chan *answer{
				reader.start(t, http.MethodGet, "/v1/topics/"+topic+"/partitions/1/records?wait_ms=60000&offset="+offset, ""),
				reader.start(t, http.MethodGet, "/v1/topics/"+topic+"/partitions/1/records?wait_ms=60000&at=latest", ""),
				reader.start(t, http.MethodGet, "/v1/topics/"+topic+"/records?wait_ms=60000&cursor="+at.Cursor, ""),
			}
			reader.untilMetric(t, "eos_waiting_fetches", 3)
			return waiting
		}
		check := func(waiting []<-chan *answer, want string) {
			t.Helper()
			for _, done := range waiting {
				a := received(t, done)
				var got api.FetchResult
				if err := json.Unmarshal(a.body, &got); err != nil {
					t.Fatal(err)
				}
				if len(got.Records) != 1 || string(got.Records[0].Value) != want {
					t.Errorf("%d %s, want the record %s", a.status, a.body, want)
				}
			}
		}
		waiting := wait("0")
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/"+topic+"/partitions/1/records", `{"records":[{"value":"appended"}]}`)
		check(waiting, `"appended"`)

		waiting = wait("1")
		c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/"+topic, "")
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/"+topic+"/partitions/1/records", `{"records":[{"value":"staged"}]}`, "Transaction-Id: "+topic)
		select {
		case a := <-waiting[0]:
			t.Errorf("woken by what is only staged: %s", a.body)
		default:
		}
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/transactions/"+topic+"/commit", "")
		check(waiting, `"staged"`)
	}
}

// TestWaitingFetchLearnsThatItsTopicIsGone, on any proxy.
func TestWaitingFetchLearnsThatItsTopicIsGone(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	var waiting []<-chan *answer
	for _, reader := range []*proxy{p, other} {
		for _, path := range []string{"/v1/topics/t/partitions/0/records", "/v1/topics/t/records"} {
			waiting = append(waiting, reader.start(t, http.MethodGet, path+"?wait_ms=60000", ""))
		}
		reader.untilMetric(t, "eos_waiting_fetches", 2)
	}
	c.mustDo(t, http.StatusNoContent, http.MethodDelete, "/v1/topics/t", "")
	for _, done := range waiting {
		received(t, done).mustBe(t, http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION")
	}
}

func TestDrainAnswersWaitingFetches(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	waiting := p.start(t, http.MethodGet, "/v1/topics/t/partitions/0/records?wait_ms=60000", "")
	p.untilMetric(t, "eos_waiting_fetches", 1)
	p.handler.Drain()
	p.handler.Drain()
	received(t, waiting).mustBe(t, http.StatusOK, "")
}

// TestSameRequestAtTheSameMoment on two proxies has one effect and one answer
// (P3, P10, T3, T8).
func TestSameRequestAtTheSameMoment(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", "")
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/open", `{"produce":[{"topic":"t","records":[{"value":1}]}]}`)
	for i, test := range []struct {
		method, path, body string
		header             []string
	}{
		{http.MethodPost, "/v1/topics/t/records", oneRecord, []string{"Producer-Id", "1001", "Producer-Epoch", "0", "Producer-Seq", "0"}},
		{http.MethodPost, "/v1/topics/t/records", oneRecord, []string{"Idempotency-Key", "k"}},
		{http.MethodPut, "/v1/transactions/x", `{"commit":true,"produce":[{"topic":"t","records":[{"value":1}]}]}`, nil},
		{http.MethodPost, "/v1/transactions/open/commit", "", nil},
	} {
		var attempts []<-chan *answer
		for range 5 {
			for _, at := range []*proxy{p, other} {
				attempts = append(attempts, at.start(t, test.method, test.path, test.body, test.header...))
			}
		}
		var bodies []string
		first := 0
		for _, done := range attempts {
			a := received(t, done)
			if a.status >= 300 {
				t.Errorf("%s: %d %s", test.path, a.status, a.body)
			}
			if a.header.Get("Idempotent-Replayed") == "" {
				first++
			}
			bodies = append(bodies, string(a.body))
		}
		for _, body := range bodies {
			if diff := cmp.Diff(bodies[0], body); diff != "" {
				t.Errorf("%s: two answers:\n%s", test.path, diff)
			}
		}
		if first != 1 {
			t.Errorf("%s: %d first answers", test.path, first)
		}
		if got, want := highWatermark(t, p, "t"), int64(i+1); got != want {
			t.Errorf("%s: %d records are stored, want %d", test.path, got, want)
		}
	}
}

// TestT3CommitAgainstAbort: one of the two wins, and both clients are told
// which.
func TestT3CommitAgainstAbort(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	var group sync.WaitGroup
	for i := range 10 {
		path := "/v1/transactions/x" + strconv.Itoa(i)
		c.mustDo(t, http.StatusCreated, http.MethodPut, path, "")
		group.Go(func() {
			commit := p.start(t, http.MethodPost, path+"/commit", "")
			abort := other.start(t, http.MethodPost, path+"/abort", "")
			committed, aborted := received(t, commit), received(t, abort)
			if committed.status == aborted.status {
				t.Errorf("commit %d %s, abort %d %s", committed.status, committed.body, aborted.status, aborted.body)
			}
		})
	}
	group.Wait()
}

// mustPage returns the answer to either kind of fetch.
func mustPage(t *testing.T, a *answer) (page struct {
	Records []api.FetchedRecord `json:"records"`
	Cursor  string              `json:"cursor"`
},
) {
	t.Helper()
	if err := json.Unmarshal(a.body, &page); err != nil {
		t.Fatal(err)
	}
	return page
}
