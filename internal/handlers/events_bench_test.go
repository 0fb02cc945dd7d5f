package handlers_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkFollowOld has one follower read a million records that lie in the
// database, as events and as lines, of a partition and of its topic; and one
// reader who fetches them, which is the yardstick. An operation is the whole
// log.
func BenchmarkFollowOld(b *testing.B) {
	const batches = 1000
	p := newProxy(b, func(s *settings) { s.tailBytes = 0 })
	mustPut(b, p)
	mustFill(b, p, batches)
	report := func(b *testing.B, size int64) {
		b.Helper()
		b.ReportMetric(float64(b.N)*batches*1000/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		b.ReportMetric(float64(size)/b.Elapsed().Seconds()/1e6, "MB/s")
	}
	b.Run("fetch", func(b *testing.B) {
		c := newLeanClient(b, p)
		var size int64
		for b.Loop() {
			for at := int64(0); at < batches*1000; {
				next, n, err := c.fetch("max_records=10000&max_bytes=10485760", at)
				if err != nil || next == at {
					b.Fatal(next, err)
				}
				at, size = next, size+n
			}
		}
		report(b, size)
	})
	for _, path := range []string{"partitions/0/stream", "partitions/0/follow", "stream", "follow"} {
		b.Run(strings.ReplaceAll(path, "/", "-"), func(b *testing.B) {
			var size int64
			for b.Loop() {
				n, err := readStream(p, "/v1/topics/t/"+path+"?wait_ms=0", `"offset":`+strconv.Itoa(batches*1000-1)+",")
				if err != nil {
					b.Fatal(err)
				}
				size += n
			}
			report(b, size)
		})
	}
}

// readStream reads a stream to its end, which must hold a text, and returns its
// bytes.
func readStream(p *proxy, path, want string) (size int64, err error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0, err
	}
	buf := make([]byte, 256<<10)
	for kept := 0; ; {
		n, err := conn.Read(buf[kept:])
		if err != nil {
			return 0, err
		}
		size += int64(n)
		all := buf[:kept+n]
		if bytes.HasSuffix(all, []byte("\r\n0\r\n\r\n")) {
			if !bytes.Contains(all, []byte(want)) {
				err = fmt.Errorf("it ends with %s", all)
			}
			return size, err
		}
		kept = min(len(all), 1024)
		copy(buf, all[len(all)-kept:])
	}
}

// BenchmarkEvent measures from the moment that a writer reads its 200 to the
// one that a follower on the same proxy has the event.
func BenchmarkEvent(b *testing.B) {
	for _, path := range []string{"partitions/0/stream", "stream"} {
		b.Run(strings.ReplaceAll(path, "/", "-"), func(b *testing.B) {
			p := newProxy(b)
			mustPut(b, p)
			resp, err := http.Get(p.url + "/v1/topics/t/" + path)
			if err != nil {
				b.Fatal(err)
			}
			defer resp.Body.Close()
			events := make(chan time.Time, 1)
			go func() {
				defer close(events)
				buf := make([]byte, 4096)
				for {
					n, err := resp.Body.Read(buf)
					if err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("data: ")) {
						events <- time.Now()
					}
				}
			}()
			var took []time.Duration
			for b.Loop() {
				again := time.NewTicker(time.Millisecond)
				for p.waiting() == 0 {
					<-again.C
				}
				again.Stop()
				mustPost(b, p)
				acknowledged := time.Now()
				at, ok := <-events
				if !ok {
					b.Fatal(errors.New("the stream has ended"))
				}
				took = append(took, at.Sub(acknowledged))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
		})
	}
}
