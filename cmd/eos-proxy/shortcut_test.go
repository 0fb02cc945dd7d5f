package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/google/go-cmp/cmp"
)

// TestProduceBothWays sends the same produce requests, and then fetches, on two
// connections to the real program: as they are, and with a header that only net/http takes. Nobody
// may see the difference, nor may the metrics.
func TestProduceBothWays(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "--database-url", pgtest.New(t), "--max-body-bytes", "1024", "--sequence-wait", "0s")
	type way struct {
		topic, header string
		producer      int
		conn          net.Conn
		answers       []string
	}
	ways := []*way{{topic: "a", header: ""}, {topic: "b", header: "TE: trailers\r\n"}}
	for _, w := range ways {
		w.producer = p.register()
		p.must(201, "PUT", "/v1/topics/"+w.topic, `{"partition_count":3}`)
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(time.Minute))
		w.conn = conn
	}
	const record, typed = `{"records":[{"value":1,"partition":0}]}`, "Content-Type: application/json\r\n"
	sequence := func(n string) string {
		return typed + "Producer-Id: PRODUCER\r\nProducer-Epoch: 0\r\nProducer-Seq: " + n + "\r\n"
	}
	for _, test := range []struct{ path, header, body string }{
		{"/v1/topics/TOPIC/records", typed, record},
		{"/v1/topics/TOPIC/partitions/2/records", typed, `{"records":[{"value":1}]}`},
		{"/v1/topics/TOPIC/partitions/9/records", typed, `{"records":[{"value":1}]}`},
		{"/v1/topics/missing/records", typed, record},
		{"/v1/topics/TOPIC/records", sequence("0"), record},
		{"/v1/topics/TOPIC/records", sequence("0"), record},
		{"/v1/topics/TOPIC/records", sequence("0"), `{"records":[{"value":2,"partition":0}]}`},
		{"/v1/topics/TOPIC/records", sequence("7"), record},
		{"/v1/topics/TOPIC/records", sequence("-1"), record},
		{"/v1/topics/TOPIC/records", sequence("1\r\nproducer-seq: 1"), record},
		{"/v1/topics/TOPIC/records", sequence(""), record},
		{"/v1/topics/TOPIC/records", typed + "Idempotency-Key: k\r\n", record},
		{"/v1/topics/TOPIC/records", typed + "Idempotency-Key: \"k\"\r\n", record},
		{"/v1/topics/TOPIC/records", typed + "idempotency-key: a\r\nIdempotency-Key: b\r\n", record},
		{"/v1/topics/TOPIC/records", typed + "Transaction-Id: none\r\n", record},
		{"/v1/topics/TOPIC/records", typed, "{"},
		{"/v1/topics/TOPIC/records", typed, `{"records":[]}`},
		{"/v1/topics/TOPIC/records", typed, strings.Repeat(" ", 2000) + record},
		{"/v1/topics/TOPIC/records", "", record},
		{"/v1/topics/TOPIC/records", typed + typed, record},
		{"/v1/topics/TOPIC/records", typed, `{"records":[` + strings.Repeat(`{"value":1,"partition":0},{"value":1,"partition":1},`, 15) + `{"value":1,"partition":2}]}`},
	} {
		for _, w := range ways {
			raw := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nRequest-Id: x\r\n%s%sContent-Length: %d\r\n\r\n%s", test.path, w.header, test.header, len(test.body), test.body)
			raw = strings.NewReplacer("TOPIC", w.topic, "PRODUCER", strconv.Itoa(w.producer)).Replace(raw)
			if _, err := io.WriteString(w.conn, raw); err != nil {
				t.Fatal(err)
			}
			w.answers = append(w.answers, mustAnswer(t, w.conn, w.topic))
		}
	}
	for _, path := range []string{
		"/v1/topics/TOPIC/partitions/0/records",
		"/v1/topics/TOPIC/partitions/0/records?offset=1&max_records=3&wait_ms=5",
		"/v1/topics/TOPIC/partitions/0/records?at=latest&wait_ms=1",
		"/v1/topics/TOPIC/partitions/0/records?offset=999",
		"/v1/topics/TOPIC/partitions/0/records?offset=-1",
		"/v1/topics/TOPIC/partitions/0/records?offset=1&at=latest",
		"/v1/topics/TOPIC/partitions/9/records",
		"/v1/topics/TOPIC/records?at=earliest",
		"/v1/topics/TOPIC/records?at=latest&wait_ms=1",
		"/v1/topics/TOPIC/records?cursor=AQEA",
		"/v1/topics/TOPIC/records?max_records=0",
		"/v1/topics/TOPIC/records?unknown=1",
		"/v1/topics/missing/records?wait_ms=1",
	} {
		for _, w := range ways {
			raw := "GET " + strings.ReplaceAll(path, "TOPIC", w.topic) + " HTTP/1.1\r\nHost: x\r\nRequest-Id: x\r\n" + w.header + "\r\n"
			if _, err := io.WriteString(w.conn, raw); err != nil {
				t.Fatal(err)
			}
			w.answers = append(w.answers, mustAnswer(t, w.conn, w.topic))
		}
	}
	if diff := cmp.Diff(ways[0].answers, ways[1].answers); diff != "" {
		t.Errorf("the answers differ (-shortcut +net/http):\n%s", diff)
	}
	counts := regexp.MustCompile(`eos_requests_total\{operation="(?:produce|fetch)[^"]*",status="(\d+)"\} (\d+)`).FindAllStringSubmatch(p.must(200, "GET", "/metrics", ""), -1)
	statuses := map[string]bool{}
	for _, c := range counts {
		if n, err := strconv.Atoi(c[2]); err != nil || n%2 != 0 {
			t.Errorf("metrics count one way other than the other: %s", c[0])
		}
		statuses[c[1]] = true
	}
	if got := slices.Sorted(maps.Keys(statuses)); !slices.Equal(got, []string{"200", "400", "404", "409", "413", "415", "416", "422"}) {
		t.Errorf("statuses %v were counted", got)
	}
}

// TestHTTP10BreaksOff: the real program resets the connection of an HTTP/1.0
// client whose answer breaks off, although another server had it first.
func TestHTTP10BreaksOff(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "--database-url", pgtest.New(t))
	p.must(201, "PUT", "/v1/topics/t", "")
	p.must(200, "POST", "/v1/topics/t/records", `{"records":[{"value":1}]}`)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, "GET /v1/topics/t/partitions/0/follow HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for line := ""; !strings.Contains(line, `"offset":0`); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	p.must(204, "DELETE", "/v1/topics/t", "")
	if rest, err := io.ReadAll(in); !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(string(rest), "UNKNOWN_TOPIC") {
		t.Errorf("%q, %v; want a problem and then a reset", rest, err)
	}
}

// notTheSame is what two topics do not have in common.
var notTheSame = regexp.MustCompile(`"(timestamp|cursor)":("[^"]*"|[0-9]+)`)

// mustAnswer reads an answer, without its date and with another name for the
// topic.
func mustAnswer(t *testing.T, conn net.Conn, topic string) string {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil) // there is nothing behind it
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Request-Id") != "x" || res.Header.Get("Date") == "" {
		t.Errorf("an answer without date or id: %v", res.Header)
	}
	res.Header.Del("Date")
	body = notTheSame.ReplaceAll(body, []byte(`"$1":…`))
	text := fmt.Sprintf("%s close %v %v %s", res.Status, res.Close, res.Header, body)
	return strings.NewReplacer(`"`+topic+`"`, `"TOPIC"`, `\"`+topic+`\"`, `\"TOPIC\"`).Replace(text)
}

// TestSIGTERMUnderProduce stops the program while clients send on connections
// that they keep alive: whoever sends what was not answered again finds each
// record stored once.
func TestSIGTERMUnderProduce(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := newProcess(t, "--database-url", url)
	const clients = 8
	producers, next := make([]int, clients), make([]int, clients)
	for c := range clients {
		producers[c] = p.register()
	}
	var all sync.WaitGroup
	var acknowledged atomic.Int64
	enough := make(chan struct{})
	for c := range clients {
		all.Go(func() {
			for {
				status, body := p.produce(producers[c], next[c])
				if status == 0 {
					return
				}
				if status != 200 {
					t.Errorf("client %d, sequence %d: %d %s", c, next[c], status, body)
					return
				}
				next[c]++
				if acknowledged.Add(1) == 40*clients {
					close(enough)
				}
			}
		})
	}
	<-enough
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	all.Wait()
	p = newProcess(t, "--database-url", url)
	p.must(200, "GET", "/readyz", "")
	for c := range clients {
		if status, body := p.produce(producers[c], next[c]); status != 200 {
			t.Errorf("client %d, sequence %d again: %d %s", c, next[c], status, body)
		}
	}
	if got, want := p.highWatermark(), int(acknowledged.Load())+clients; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}
