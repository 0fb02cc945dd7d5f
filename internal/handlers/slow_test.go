package handlers_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSlowHeader: who does not finish the header loses the connection, whatever
// it began to ask for.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	p := newProxy(t, func(s *settings) { s.headerTimeout = 100 * time.Millisecond })
	var slow []*wire
	for path, item := range document().Paths.Map() {
		for method := range item.Operations() {
			w := newWire(t, p)
			w.send(t, method+" "+strings.NewReplacer("{", "", "}", "").Replace(path)+" HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			slow = append(slow, w)
		}
	}
	for _, w := range slow {
		if _, err := w.in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection is still there: %v", err)
		}
	}
	p.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
}

// TestSlowBody: a body may take as long as it likes, but not pause for long.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	p := newProxy(t, func(s *settings) { s.BodyIdle = idle })
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for name, test := range map[string]struct {
		send   string
		status int
		code   string
	}{
		"a document stalls":      {post("Content-Length: 100") + "\r\n" + oneRecord, 408, "REQUEST_TIMEOUT"},
		"nothing comes":          {post("Content-Length: 100") + "\r\n", 408, "REQUEST_TIMEOUT"},
		"a chunk stalls":         {post("Transfer-Encoding: chunked") + "\r\n19\r\n" + oneRecord, 408, "REQUEST_TIMEOUT"},
		"gzip stalls at once":    {post("Content-Length: 100", "Content-Encoding: gzip") + "\r\n\x1f", 408, "REQUEST_TIMEOUT"},
		"gzip stalls later":      {packed(t, "gzip", strings.Repeat(oneRecord, 1000), 5), 408, "REQUEST_TIMEOUT"},
		"zstd stalls":            {packed(t, "zstd", strings.Repeat(oneRecord, 1000), 5), 408, "REQUEST_TIMEOUT"},
		"refused for its type":   {post("Content-Length: 100", "Content-Type: text/csv") + "\r\n" + oneRecord, 415, "UNSUPPORTED_MEDIA_TYPE"},
		"refused for a header":   {post("Content-Length: 100", "Producer-Id: 1") + "\r\n" + oneRecord, 400, "INVALID_REQUEST"},
		"refused for its path":   {"PUT /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 404, "NOT_FOUND"},
		"refused for its method": {"PUT /v1/topics HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 405, "METHOD_NOT_ALLOWED"},
		"a commit with a body":   {"POST /v1/transactions/x/commit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}", 408, "REQUEST_TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, p)
			if strings.Contains(test.send, "Content-Encoding") && test.status == 408 {
				test.send = strings.Replace(test.send, "Content-Length: ", "Content-Length: 9", 1) // more than comes
			}
			w.send(t, test.send)
			method, _, _ := strings.Cut(test.send, " ")
			w.answer(t, method).mustBe(t, test.status, test.code)
			if b, err := w.in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection is kept although the rest of the body may come: %d, %v", b, err)
			}
			p.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
			if got := highWatermark(t, p, "t"); got != 0 {
				t.Errorf("%d records are stored", got)
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		q := newProxyOn(t, p.db, func(s *settings) { s.BodyIdle = idle })
		q.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/slow", "")
		w := newWire(t, q)
		w.send(t, strings.Replace(post("Content-Length: 25"), "/t/", "/slow/", 1)+"\r\n")
		pause := time.NewTicker(idle / 4)
		defer pause.Stop()
		for part := range 5 {
			w.send(t, oneRecord[5*part:5*part+5])
			<-pause.C
		}
		w.answer(t, http.MethodPost).mustBe(t, http.StatusOK, "")
	})
}

// TestHungUpClientGetsNoAnswer: a client that ends its sending side while it
// waits has hung up, as far as net/http can see. What it may still read must
// not look like success.
func TestHungUpClientGetsNoAnswer(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for _, encoding := range []string{"identity", "gzip"} {
		w := newWire(t, p)
		w.send(t, "GET /v1/topics/t/partitions/0/records?wait_ms=60000 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: "+encoding+"\r\n\r\n")
		p.untilMetric(t, "eos_waiting_fetches", 1)
		if err := w.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(w.in); err != nil || len(got) > 0 {
			t.Errorf("answered %q, %v", got, err)
		}
		p.untilMetric(t, "eos_waiting_fetches", 0)
	}
}

// TestReadyForWhoHasEndedSending: it reads whether the database answers, not
// that it has hung up.
func TestReadyForWhoHasEndedSending(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	for range 30 {
		w := newWire(t, p)
		w.send(t, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := w.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w.answer(t, http.MethodGet).mustBe(t, http.StatusOK, "")
	}
}

// TestBodiesBeyondTheMemory: what many large bodies take together is bounded,
// and given back when they are answered.
func TestBodiesBeyondTheMemory(t *testing.T) {
	t.Parallel()
	p := newProxy(t, func(s *settings) { s.MaxBodiesBytes = 64 << 10 })
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	slow := newWire(t, p)
	slow.send(t, post("Content-Length: 60000", "Expect: 100-continue")+"\r\n")
	slow.answer(t, http.MethodPost).mustBe(t, http.StatusContinue, "") // it has taken its share
	large := `{"records":[{"value":"` + strings.Repeat("x", 8000) + `"}]}`
	refused := c.do(t, &request{method: http.MethodPost, path: "/v1/topics/t/records", body: []byte(large), header: http.Header{"Content-Type": {"application/json"}}})
	refused.mustBe(t, http.StatusServiceUnavailable, "BROKER_NOT_AVAILABLE")
	slow.send(t, `{"records":[{"value":"`)
	slow.send(t, strings.Repeat("x", 60000-22-4)+`"}]}`)
	slow.answer(t, http.MethodPost).mustBe(t, http.StatusOK, "")
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", large)
}

// TestRefusedBeforeTheBody: a client that asks before it sends is told no at
// once, and the connection ends; it is not asked for a body that nobody wants.
func TestRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	w := newWire(t, newProxy(t))
	w.send(t, post("Content-Length: 20000000", "Expect: 100-continue")+"\r\n")
	w.answer(t, http.MethodPost).mustBe(t, http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE")
	if rest, err := io.ReadAll(w.in); err != nil || len(rest) > 0 {
		t.Errorf("then %q, %v", rest, err)
	}
}
