package handlers_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustFill appends batches of 1000 records with a key and a value of 100 bytes.
func mustFill(b *testing.B, p *proxy, batches int) {
	b.Helper()
	var body strings.Builder
	body.WriteString(`{"records":[`)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"key":"customer-%04d","value":{"account":"%04d","pad":"%s"}}`, i, i, strings.Repeat("x", 100-len(`{"account":"0000","pad":""}`)))
	}
	body.WriteString("]}")
	for range batches {
		resp, err := http.Post(p.url+"/v1/topics/t/records", "application/json", strings.NewReader(body.String()))
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status)
		}
	}
}

// leanClient fetches over one connection and decodes nothing but the end of
// an answer, so that the proxy and not the client is measured.
type leanClient struct {
	conn net.Conn
	buf  []byte
}

func newLeanClient(b *testing.B, p *proxy) *leanClient {
	b.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &leanClient{conn: conn, buf: make([]byte, 256<<10)}
}

// fetch returns the next offset that the answer names, and its bytes.
func (c *leanClient) fetch(query string, offset int64) (next, size int64, err error) {
	const path = "GET /v1/topics/t/partitions/0/records?"
	if _, err := c.conn.Write(append(strconv.AppendInt([]byte(path+query+"&offset="), offset, 10), " HTTP/1.1\r\nHost: x\r\n\r\n"...)); err != nil {
		return 0, 0, err
	}
	kept, length := 0, int64(-1) // of the whole answer, where its head says so
	for {
		n, err := c.conn.Read(c.buf[kept:])
		if err != nil {
			return 0, 0, err
		}
		all := c.buf[:kept+n]
		if size == 0 {
			length = wholeLength(all)
		}
		size += int64(n)
		if size == length || length < 0 && bytes.HasSuffix(all, []byte("}\n\r\n0\r\n\r\n")) {
			name := []byte(`],"next_offset":`)
			at := bytes.LastIndex(all, name)
			if at < 0 {
				return 0, 0, fmt.Errorf("answered %s", all)
			}
			digits, _, _ := bytes.Cut(all[at+len(name):], []byte(","))
			next, err = strconv.ParseInt(string(digits), 10, 64)
			return next, size, err
		}
		kept = min(len(all), 4096) // has the end of the answer
		copy(c.buf, all[len(all)-kept:])
	}
}

// wholeLength returns the length of an answer with its head, which stands at
// the beginning of what came, or -1 when the answer comes in chunks.
func wholeLength(came []byte) int64 {
	head, _, _ := bytes.Cut(came, []byte("\r\n\r\n"))
	_, after, found := bytes.Cut(head, []byte("\r\nContent-Length: "))
	if !found {
		return -1
	}
	digits, _, _ := bytes.Cut(after, []byte("\r\n"))
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return -1
	}
	return int64(len(head)+4) + n
}

// BenchmarkFetchOld reads records that lie in the database, and
// BenchmarkFetchRecent the same ones from memory.
func BenchmarkFetchOld(b *testing.B) { benchmarkFetch(b, 0) }

func BenchmarkFetchRecent(b *testing.B) { benchmarkFetch(b, 256<<20) }

// benchmarkFetch reads 10,000 records an answer over HTTP with four readers.
func benchmarkFetch(b *testing.B, tailBytes int64) {
	const batches, readers = 300, 4
	p := newProxy(b, func(s *settings) { s.tailBytes = tailBytes })
	mustPut(b, p)
	mustFill(b, p, batches)
	clients := make([]*leanClient, readers)
	for i := range clients {
		clients[i] = newLeanClient(b, p)
	}
	records, size := make([]int64, readers), make([]int64, readers)
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			at := int64(i * batches * 1000 / readers)
			for range b.N {
				next, n, err := c.fetch("max_records=10000&max_bytes=10485760", at)
				if err != nil || next == at {
					b.Errorf("fetch from %d: next %d, %v", at, next, err)
					return
				}
				records[i] += next - at
				size[i] += n
				if at = next; at == batches*1000 {
					at = 0
				}
			}
		})
	}
	group.Wait()
	var all, bytes int64
	for i := range records {
		all, bytes = all+records[i], bytes+size[i]
	}
	b.ReportMetric(float64(all)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
}

// BenchmarkFetchTail reads one record at the end, with one reader.
func BenchmarkFetchTail(b *testing.B) {
	p := newProxy(b)
	mustPut(b, p)
	mustFill(b, p, 1)
	mustPost(b, p)
	c := newLeanClient(b, p)
	b.ReportAllocs()
	for b.Loop() {
		if next, _, err := c.fetch("max_records=500", 1000); next != 1001 || err != nil {
			b.Fatal(next, err)
		}
	}
}

// BenchmarkWake measures from the moment that a writer reads its 200 to the
// one that a reader, who waits on the same proxy, has the record.
func BenchmarkWake(b *testing.B) {
	p := newProxy(b)
	mustPut(b, p)
	c := newLeanClient(b, p)
	type answered struct {
		next int64
		at   time.Time
		err  error
	}
	answers := make(chan answered, 1)
	var took []time.Duration
	for at := int64(0); b.Loop(); at++ {
		go func() {
			next, _, err := c.fetch("wait_ms=60000", at)
			answers <- answered{next, time.Now(), err}
		}()
		again := time.NewTicker(time.Millisecond)
		for p.waiting() == 0 {
			<-again.C
		}
		again.Stop()
		mustPost(b, p)
		acknowledged := time.Now()
		a := <-answers
		if a.err != nil || a.next != at+1 {
			b.Fatal(a)
		}
		took = append(took, a.at.Sub(acknowledged))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
}

func mustPut(b *testing.B, p *proxy) {
	b.Helper()
	r, err := http.NewRequest(http.MethodPut, p.url+"/v1/topics/t", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusCreated {
		b.Fatal(resp, err)
	}
	resp.Body.Close()
}

func mustPost(b *testing.B, p *proxy) {
	b.Helper()
	resp, err := http.Post(p.url+"/v1/topics/t/records", "application/json", strings.NewReader(oneRecord))
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(resp, err)
	}
	resp.Body.Close()
}
