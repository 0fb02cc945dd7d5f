package handlers_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

// wire is a TCP connection to a proxy, for what no HTTP client would send.
type wire struct {
	*net.TCPConn
	in *bufio.Reader
}

// newWire connects to the proxy.
func newWire(t *testing.T, p *proxy) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is no TCP connection", conn)
	}
	return &wire{tcp, bufio.NewReader(conn)}
}

// send sends text as it is.
func (w *wire) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads an answer to a request of the method.
func (w *wire) answer(t *testing.T, method string) *answer {
	t.Helper()
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatalf("the answer %d is cut off: %v", resp.StatusCode, err)
	}
	if resp.Close {
		a.header.Set("Connection", "close")
	}
	return a
}

// mustBe fails unless the answer is a problem of that status and code; of a
// request that never reached a route, code is empty and plain text will do.
func (a *answer) mustBe(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d %s, want %d %s", a.status, a.body, status, code)
	}
	if code == "" {
		return
	}
	if err := checkProblem(nil, a); err != nil {
		t.Errorf("%d %s: %v", a.status, a.body, err)
	}
	if p := a.problem(t); p.Code != code {
		t.Errorf("%d %s (%s), want %s", a.status, p.Code, p.Detail, code)
	}
}

// usable fails unless the connection, if the answer kept it, and a new one
// answer requests.
func (w *wire) usable(t *testing.T, p *proxy, a *answer) {
	t.Helper()
	if a.header.Get("Connection") != "close" {
		w.send(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		w.answer(t, http.MethodGet).mustBe(t, http.StatusOK, "")
	}
	p.client(t).mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
}

// post returns the head of a produce request to topic t, without the empty
// line at its end.
func post(header ...string) string {
	head := "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for _, h := range header {
		head += h + "\r\n"
	}
	return head
}

const oneRecord = `{"records":[{"value":1}]}`
