package handlers_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestP6StreamingUploadsOfOneFileAtOnce: several uploads of the same lines by
// one producer, each cut into other batches, over two proxies, some of them
// broken off: all end well, and every line is stored once.
func TestP6StreamingUploadsOfOneFileAtOnce(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	q := newProxyOn(t, p.db)
	const n = 20_000
	all := numbered(0, n)
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			at := p
			if i%2 == 1 {
				at = q
			}
			for round := uint64(0); ; round++ {
				random := rand.New(rand.NewPCG(uint64(i), round))
				var body io.Reader = &bursts{rest: all, random: random}
				if round < 2 {
					body = io.MultiReader(&bursts{rest: all[:random.IntN(len(all))], random: random}, &failing{})
				}
				got := at.stream(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "t", body, who...)
				if round >= 2 {
					got.mustComplete(t, n)
					return
				}
			}
		})
	}
	wait.Wait()
	p.mustHold(t, n)
}

// bursts gives a text in pieces of random length.
type bursts struct {
	rest   string
	random *rand.Rand
}

func (b *bursts) Read(into []byte) (int, error) {
	if b.rest == "" {
		return 0, io.EOF
	}
	n := copy(into[:min(len(into), 1+b.random.IntN(40_000))], b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// TestP6StreamingOverOtherBatches: what produce requests stored is compared
// and skipped, whatever parts of them the upload has.
func TestP6StreamingOverOtherBatches(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/many", `{"partition_count":4}`)
	line := func(i int) string {
		return fmt.Sprintf(`{"key":"k%d","value":%d,"headers":[{"name":"a","value":"%d"}]}`, i%7, i, i)
	}
	lines := func(first, end int) string {
		var b strings.Builder
		for i := first; i < end; i++ {
			b.WriteString(line(i) + "\n")
		}
		return b.String()
	}
	for _, transaction := range []string{"", "x"} {
		who := p.producer(t, "p"+transaction)
		header := who
		if transaction != "" {
			body := fmt.Sprintf(`{"producer_id":%s,"producer_epoch":0}`, strings.TrimPrefix(who[0], "Producer-Id: "))
			c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/x", body)
			header = slices.Concat(who, []string{"Transaction-Id: x"})
		}
		at := 0
		for _, n := range []int{10, 1, 200, 33} {
			c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/many/records", lines(at, at+n),
				append(header, "Content-Type: application/x-ndjson", "Producer-Seq: "+strconv.Itoa(at))...)
			at += n
		}
		if transaction != "" { // its records move at the commit, and are found all the same
			p.stream(t, http.DefaultClient, "many", strings.NewReader(lines(5, 100)), append(header, "Producer-Seq: 5")...).mustComplete(t, 100)
			c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/transactions/x/commit", "")
			header = who
		}
		for _, upload := range [][2]int{{0, 244}, {0, 5}, {5, 12}, {3, 9}, {10, 11}, {100, 244}, {11, 211}, {5, 250}} {
			body := strings.NewReader(lines(upload[0], upload[1]))
			from := "Producer-Seq: " + strconv.Itoa(upload[0])
			p.stream(t, http.DefaultClient, "many", body, append(header, from)...).mustComplete(t, int64(upload[1]))
			if changed := upload[1] - 2; changed >= upload[0] {
				text := strings.Replace(lines(upload[0], upload[1]), line(changed), strings.Replace(line(changed), `"value":"`, `"value":"_`, 1), 1)
				got := p.stream(t, http.DefaultClient, "many", strings.NewReader(text), append(header, from)...)
				got.mustRefuse(t, http.StatusUnprocessableEntity, "SEQUENCE_REUSED", int64(changed-upload[0]))
			}
		}
	}
	var stored string
	p.query(t, `SELECT count(*) || ' ' || count(DISTINCT convert_from(value, 'UTF8')) FROM records`, &stored)
	if stored != "500 250" {
		t.Errorf("records and values: %s", stored)
	}
}

// TestP4StreamingStoresNothingBehindAReusedSequence: lines that would fit are
// not appended when one in front of them is another than the stored one.
func TestP4StreamingStoresNothingBehindAReusedSequence(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	for stored := 500; stored <= 8500; stored += 2000 {
		p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, stored)), who...).mustComplete(t, int64(stored))
		for _, at := range []int{stored - 1, stored - 300} {
			wrong := numbered(0, at) + numbered(0, 5000)
			p.stream(t, http.DefaultClient, "t", strings.NewReader(wrong), who...).mustRefuse(t, http.StatusUnprocessableEntity, "SEQUENCE_REUSED", int64(at))
			p.mustHold(t, stored)
		}
	}
}

// TestP6StreamingCountsWhatRetentionRemoved: those lines cannot be compared.
func TestP6StreamingCountsWhatRetentionRemoved(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	c := p.client(t)
	for first := 0; first < 50; first += 10 {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", numbered(first, first+10),
			append(who, "Content-Type: application/x-ndjson", "Producer-Seq: "+strconv.Itoa(first))...)
	}
	var removed int
	p.query(t, `WITH d AS (DELETE FROM batches WHERE base_sequence IN (0, 10, 30) RETURNING 1) SELECT count(*) FROM d`, &removed)
	for _, test := range []struct {
		first, end int
		unverified int64
	}{{0, 60, 30}, {0, 60, 30}, {15, 25, 5}, {0, 5, 5}, {35, 45, 5}, {20, 30, 0}} {
		body := numbered(test.first, test.end)
		got := p.stream(t, http.DefaultClient, "t", strings.NewReader(body), append(who, "Producer-Seq: "+strconv.Itoa(test.first))...)
		got.mustComplete(t, int64(test.end))
		if got.last().Unverified != test.unverified {
			t.Errorf("%d to %d: %d unverified, want %d", test.first, test.end, got.last().Unverified, test.unverified)
		}
	}
	bad := strings.Replace(numbered(0, 60), `{"value":44}`, `{"value":-44}`, 1)
	p.stream(t, http.DefaultClient, "t", strings.NewReader(bad), who...).mustRefuse(t, http.StatusUnprocessableEntity, "SEQUENCE_REUSED", 44)
}

// TestP6StreamingAfterAllIsRemoved: where the producer stands outlives its
// records, so that a file is not uploaded a second time.
func TestP6StreamingAfterAllIsRemoved(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	c := p.client(t)
	p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 50)), who...).mustComplete(t, 50)
	c.mustDo(t, http.StatusOK, http.MethodDelete, "/v1/topics/t/partitions/0/records?before_offset=50", "")
	p.mustTrim(t)
	for _, stored := range []int64{50, 60} { // the second time there are ten to compare
		got := p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 60)), who...)
		got.mustComplete(t, 60)
		if got.last().Unverified != 50 {
			t.Errorf("%d lines are stored: %d unverified, want 50", stored, got.last().Unverified)
		}
	}
	p.mustHold(t, 10)
}

// TestStreamingRefusesARecord: those in front of it are stored, whatever is
// wrong with it and wherever it stands.
func TestStreamingRefusesARecord(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		line   string
		status int
		code   string
	}{
		"no JSON":          {`{"value":`, http.StatusBadRequest, "INVALID_JSON"},
		"empty":            {``, http.StatusBadRequest, "INVALID_JSON"},
		"two documents":    {`{"value":1}{"value":2}`, http.StatusBadRequest, "INVALID_JSON"},
		"unknown field":    {`{"value":1,"offset":2}`, http.StatusUnprocessableEntity, "INVALID_RECORD"},
		"no value":         {`{"key":"a"}`, http.StatusUnprocessableEntity, "INVALID_RECORD"},
		"too large":        {`{"value":"` + strings.Repeat("x", 1<<20) + `"}`, http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE"},
		"line too long":    {`{"value":"` + strings.Repeat("x", 11<<20) + `"}`, http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE"},
		"no partition":     {`{"value":1,"partition":7}`, http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION"},
		"nested too deep":  {`{"value":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, http.StatusUnprocessableEntity, "INVALID_RECORD"},
		"carriage returns": {"\r\r", http.StatusBadRequest, "INVALID_JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, who := newUploads(t)
			for _, at := range []int{0, 1, 999, 1000, 2500} {
				body := numbered(0, at) + test.line + "\n" + numbered(at+1, 9000)
				p.stream(t, http.DefaultClient, "t", strings.NewReader(body), who...).mustRefuse(t, test.status, test.code, int64(at))
				p.mustHold(t, at)
			}
			p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 5000)), who...).mustComplete(t, 5000)
			p.mustHold(t, 5000)
		})
	}
}

// TestStreamingPackedBody: bodies are unpacked as they come.
func TestStreamingPackedBody(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	all := numbered(0, 50_000)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.WriteString(z, all); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	cut := bytes.NewReader(packed.Bytes()[:packed.Len()/2])
	p.stream(t, http.DefaultClient, "t", cut, append(who, "Content-Encoding: gzip")...).mustRefuse(t, http.StatusBadRequest, "INVALID_JSON", -1)
	p.stream(t, http.DefaultClient, "t", &packed, append(who, "Content-Encoding: gzip")...).mustComplete(t, 50_000)
	pz, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	all += numbered(50_000, 60_000) + strings.Repeat(" ", 9<<20) + "{\"value\":60000}\n" + numbered(60_001, 60_010)
	whole := bytes.NewReader(pz.EncodeAll([]byte(all), nil))
	p.stream(t, http.DefaultClient, "t", whole, append(who, "Content-Encoding: zstd")...).mustComplete(t, 60_010)
	p.mustHold(t, 60_010)
}

// TestP9StreamingFencedOnTheWay: from the registration on, nothing more of the
// older epoch is appended; the next epoch continues.
func TestP9StreamingFencedOnTheWay(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	old := p.producer(t, "till-1")
	up, send := io.Pipe()
	answered := make(chan *streamed, 1)
	go func() { answered <- p.stream(t, http.DefaultClient, "t", up, old...) }()
	all := numbered(0, 4000)
	middle := strings.Index(all, `{"value":2000}`)
	if _, err := io.WriteString(send, all[:middle]); err != nil {
		t.Fatal(err)
	}
	p.untilMetric(t, "eos_appended_records_total", 2000)
	now := p.producer(t, "till-1")
	go func() {
		_, _ = io.WriteString(send, all[middle:]) // it may be refused before it is read
		_ = send.Close()
	}()
	got := <-answered
	got.mustRefuse(t, http.StatusPreconditionFailed, "PRODUCER_FENCED", -1)
	p.mustHold(t, 2000)
	p.stream(t, http.DefaultClient, "t", strings.NewReader(all), now...).mustComplete(t, 4000)
	p.mustHold(t, 4000)
	// What is stored is told under the fenced epoch, too (P3); more is not.
	p.stream(t, http.DefaultClient, "t", strings.NewReader(all), old...).mustComplete(t, 4000)
	p.stream(t, http.DefaultClient, "t", strings.NewReader(numbered(0, 4001)), old...).mustRefuse(t, http.StatusPreconditionFailed, "PRODUCER_FENCED", -1)
}
