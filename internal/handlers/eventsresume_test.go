package handlers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestResumeAfterACutAtEachByte: whatever part of a stream a client has got,
// another proxy goes on behind it, without loss or repetition.
func TestResumeAfterACutAtEachByte(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":3}`)
	mustProduce(t, c, "/v1/topics/t/partitions/1/records", 0, 15)
	mustProduce(t, c, "/v1/topics/t/partitions/0/records", 15, 23)
	mustProduce(t, c, "/v1/topics/t/partitions/2/records", 23, 40)
	for _, path := range []string{"/v1/topics/t/partitions/1/stream?", "/v1/topics/t/stream?"} {
		for _, at := range []string{"", "at=latest&", "at=1&"} {
			stream := p.rawStream(t, path+at+"wait_ms=0")
			all, _ := readEvents(stream, "")
			rests := map[string][]event{} // by the last id that the client has
			for cut := range len(stream) + 1 {
				got, last := readEvents(stream[:cut], "")
				rest, ok := rests[last]
				if !ok {
					var header []string
					if last != "" { // as a browser does
						header = []string{"Last-Event-ID: " + last}
					}
					rest, _ = readEvents(other.rawStream(t, path+at+"wait_ms=0", header...), last)
					rests[last] = rest
				}
				seen := append(append([]event{}, got...), rest...)
				if want := all; !equalRecords(t, seen, want) {
					t.Fatalf("%s%s: cut at %d of %d, after id %q: %v, want %v", path, at, cut, len(stream), last, seen, want)
				}
			}
		}
	}
}

// equalRecords reports whether two lists of events are of the same records,
// each partition's in the same order.
func equalRecords(t *testing.T, a, b []event) bool {
	t.Helper()
	byPartition := func(events []event) map[int]string {
		lists := map[int]string{}
		for _, e := range events {
			var record struct{ Partition, Value int }
			if err := json.Unmarshal([]byte(e.data), &record); err != nil {
				t.Fatal(err)
			}
			lists[record.Partition] += " " + strconv.Itoa(record.Value)
		}
		return lists
	}
	return fmt.Sprint(byPartition(a)) == fmt.Sprint(byPartition(b))
}

// TestResumeAtThePlaceOfAnEmptyStream: a client that follows from the end and
// loses the stream before the first event misses nothing of what is written
// meanwhile.
func TestResumeAtThePlaceOfAnEmptyStream(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":2}`)
	for i, path := range []string{"/v1/topics/t/partitions/0/stream", "/v1/topics/t/stream"} {
		f := p.follow(t, path+"?at=latest")
		id, err := f.body.ReadString('\n')
		if err != nil || !strings.HasPrefix(id, "id: ") {
			t.Fatalf("%q, %v", id, err)
		}
		f.mustRead(t, "\n")
		f.Close()
		mustProduce(t, c, "/v1/topics/t/partitions/0/records", 3*i, 3*i+3)
		events, _ := readEvents(p.rawStream(t, path+"?at=latest&wait_ms=0", "Last-Event-ID: "+strings.TrimSpace(id[4:])), "")
		if len(events) != 3 {
			t.Errorf("%s: %d events after %s", path, len(events), id)
		}
	}
}

// TestResumeWhileConnectionsBreak: records are written all the time, and a
// follower of each kind loses its connection again and again, and goes on at the
// other proxy: it sees each record once.
func TestResumeWhileConnectionsBreak(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	proxies := []*proxy{p, newProxyOn(t, p.db)}
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", `{"partition_count":3}`)
	const n = 600
	var group sync.WaitGroup
	for _, path := range []string{"/v1/topics/t/stream", "/v1/topics/t/follow", "/v1/topics/t/partitions/2/stream", "/v1/topics/t/partitions/2/follow"} {
		group.Go(func() {
			want := n
			if strings.Contains(path, "partitions") {
				want = n / 3
			}
			followThroughCuts(t, proxies, path, want)
		})
	}
	for i := 0; i < n; i += 3 {
		for partition := range 3 {
			mustProduce(t, c, "/v1/topics/t/partitions/"+strconv.Itoa(partition)+"/records", i+partition, i+partition+1)
		}
	}
	group.Wait()
}

// followThroughCuts reads until it has seen so many records, over connections
// that it closes after some bytes each.
func followThroughCuts(t *testing.T, proxies []*proxy, path string, want int) {
	random := rand.New(rand.NewPCG(1, uint64(len(path))))
	last, seen, cuts := "", map[string]int{}, 0
	for ; len(seen) < want; cuts++ {
		var header []string
		if last != "" {
			header = []string{"Last-Event-ID: " + last}
		}
		f := proxies[cuts%2].follow(t, path, header...)
		got := make([]byte, 0, 1000)
		for left := random.IntN(5000); left >= 0 && len(seen) < want; left-- {
			b, err := f.body.ReadByte()
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			if got = append(got, b); b != '\n' {
				continue
			}
			if bytes.HasSuffix(got, []byte("\n\n")) || strings.Contains(path, "follow") {
				last = countRecords(t, got, last, path, seen)
				got = got[:0]
			}
		}
		f.Close()
	}
	for value, times := range seen {
		if times != 1 {
			t.Errorf("%s: record %s was seen %d times", path, value, times)
		}
	}
	t.Logf("%s: %d connections", path, cuts)
}

// countRecords counts the whole records of what came, and returns the id of the
// last one.
func countRecords(t *testing.T, got []byte, last, path string, seen map[string]int) string {
	events, id := readEvents(got, last)
	if strings.Contains(path, "follow") {
		events, id = []event{{data: string(got)}}, ""
	}
	for _, e := range events {
		var record struct {
			Offset int
			Value  json.Number
			Cursor string
		}
		if err := json.Unmarshal([]byte(e.data), &record); err != nil {
			t.Errorf("%s: %q: %v", path, e.data, err)
			return last
		}
		seen[record.Value.String()]++
		if id == "" {
			id = record.Cursor
		}
		if id == "" {
			id = strconv.Itoa(record.Offset)
		}
	}
	if id == "" {
		return last
	}
	return id
}

// TestF6EventStreamsSeeWholeTransactions.
func TestF6EventStreamsSeeWholeTransactions(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	other := newProxyOn(t, p.db)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	done := make(chan struct{})
	var group sync.WaitGroup
	for i, path := range []string{"/v1/topics/t/partitions/0/stream", "/v1/topics/t/follow"} {
		at := []*proxy{p, other}[i]
		group.Go(func() {
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				if got := bytes.Count(at.rawStream(t, path+"?wait_ms=0"), []byte(`"offset"`)); got%7 != 0 {
					t.Errorf("%s: %d records, of transactions of seven", path, got)
				}
			}
		})
	}
	for i := range 40 {
		id := "/v1/transactions/x" + strconv.Itoa(i)
		c.mustDo(t, http.StatusCreated, http.MethodPut, id, `{"produce":[{"topic":"t","records":[{"value":1},{"value":2},{"value":3},{"value":4}]}]}`)
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":5},{"value":6},{"value":7}]}`, "Transaction-Id: x"+strconv.Itoa(i))
		c.mustDo(t, http.StatusOK, http.MethodPost, id+"/commit", "")
	}
	close(done)
	group.Wait()
}

// TestTopicThatGrows: who waits for all partitions of a topic, by a stream or a
// fetch, is woken by records in new ones, on any proxy, and also by those that were
// there before it looked again.
func TestTopicThatGrows(t *testing.T) {
	t.Parallel()
	p := newProxy(t, func(s *settings) { s.EventComment = time.Hour })
	other := newProxyOn(t, p.db)
	c := other.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	follows := []*follower{p.follow(t, "/v1/topics/t/follow"), other.follow(t, "/v1/topics/t/follow")}
	var fetches []<-chan *answer
	for _, at := range []*proxy{p, other} {
		page := mustPage(t, at.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/records", ""))
		fetches = append(fetches, at.start(t, http.MethodGet, "/v1/topics/t/records?wait_ms=60000&cursor="+page.Cursor, ""))
		at.untilMetric(t, "eos_waiting_fetches", 2)
	}
	c.mustDo(t, http.StatusOK, http.MethodPatch, "/v1/topics/t", `{"partition_count":3}`)
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/partitions/2/records", oneRecord)
	for _, f := range follows {
		line, err := f.body.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, `{"partition":2,"offset":0,`) {
			t.Errorf("%q, %v", line, err)
		}
	}
	for _, f := range fetches { // within patience, which is half of the wait
		if a := received(t, f); !strings.Contains(string(a.body), `"records":[{"partition":2,"offset":0,`) {
			t.Errorf("%s", a.body)
		}
	}
}
