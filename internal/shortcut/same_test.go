package shortcut

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// deeds are the ways in which a handler may answer; the header Do chooses one.
var deeds = map[string]func(w http.ResponseWriter){
	"not read": func(w http.ResponseWriter) { io.WriteString(w, "not read") },
	"nothing":  func(http.ResponseWriter) {},
	"empty":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
	"empty with body": func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusNoContent)
		_, err := io.WriteString(w, "body")
		if err == nil {
			panic("a body was taken")
		}
	},
	"refuse":     func(w http.ResponseWriter) { http.Error(w, "refused", http.StatusConflict) },
	"odd status": func(w http.ResponseWriter) { w.WriteHeader(799) },
	"bad status": func(w http.ResponseWriter) { w.WriteHeader(99) },
	"two statuses": func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusConflict)
		w.WriteHeader(http.StatusOK)
	},
	"panic":      func(http.ResponseWriter) { panic("at the disco") },
	"abort":      func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	"late abort": func(w http.ResponseWriter) { io.WriteString(w, "half"); panic(http.ErrAbortHandler) },
	"large":      func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("large ", 20_000)) },
	"html":       func(w http.ResponseWriter) { io.WriteString(w, "<html>") },
	"no type":    func(w http.ResponseWriter) { w.Header()["Content-Type"] = nil; io.WriteString(w, "<html>") },
	"no date":    func(w http.ResponseWriter) { w.Header()["Date"] = nil; io.WriteString(w, "<html>") },
	"packed":     func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "br"); io.WriteString(w, "<html>") },
	"close":      func(w http.ResponseWriter) { w.Header().Set("Connection", "close"); io.WriteString(w, "bye") },
	"header late": func(w http.ResponseWriter) {
		w.Header().Set("Early", "1")
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Late", "1")
		w.Header().Set("Early", "2")
	},
	"split": func(w http.ResponseWriter) {
		w.Header().Set("Echo", " a\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n")
		w.Header()["A: b\r\nC"] = []string{"d"}
		w.Header()["Many"] = []string{"1", "", "2"}
		io.WriteString(w, "split")
	},
	"length":    func(w http.ResponseWriter) { w.Header().Set("Content-Length", "5"); io.WriteString(w, "right") },
	"too short": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9"); io.WriteString(w, "short") },
}

// doer answers as the request asks for, by default with the size of its body.
var doer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if do := deeds[r.Header.Get("Do")]; do != nil {
		do(w)
		return
	}
	if r.Header.Get("Do") == "change" {
		defer func() { // nothing of it may be seen by the next request
			r.Method, r.Host, r.RequestURI, r.RemoteAddr, r.Pattern, r.ContentLength, r.Close = "X", "x", "x", "x", "x", 9, true
			r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.Host = "/x", "/x", "x", "x"
			r.Header.Set("X", "x")
			r.Header["Content-Type"] = append(r.Header["Content-Type"], "x")
			r.Trailer, r.TransferEncoding, r.Form, r.Body = r.Header, []string{"x"}, map[string][]string{"x": nil}, http.NoBody
		}()
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"path":%q,"length":%d,"seq":%q}`, r.URL.Path, r.ContentLength, r.Header["Producer-Seq"])
})

// mustBeSame fails the test when a client can tell the shortcut from net/http,
// or a handler can. It returns how many requests took the shortcut.
func mustBeSame(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, test *testing.T, cut bool, steps []step,
) int {
	t.Helper()
	want, got := exchange(test, doer, false, cut, steps), exchange(test, doer, true, cut, steps)
	if cut { // half a request that is refused all the same is refused later; the client has left then
		want.Answers, got.Answers, want.State, got.State = nil, nil, "", ""
	}
	if !cut && want.State == "closed" && got.State == "open" && got.shortcut > 0 {
		// On a connection that is new to it, net/http judges nothing that is
		// shorter than what HTTP/2 begins with.
		steps = append(steps, step{send: []byte("PRI * HTTP/2.0")})
		want, got = exchange(test, doer, false, cut, steps), exchange(test, doer, true, cut, steps)
	}
	if n := len(want.Answers); n > 0 && want.Answers[n-1] == framesOfHTTP2 {
		want.State, got.State = "", "" // net/http hangs up a second after a fault, just when the test looks
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(outcome{})); diff != "" {
		t.Fatalf("the shortcut is not the same as net/http (-net/http +shortcut), cut %v:\n%s\nsent:\n%s", cut, diff, sent(steps))
	}
	return got.shortcut
}

func sent(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "after %v: %q\n", s.pause, s.send)
	}
	return b.String()
}

// whole sends everything at once.
func whole(raw string) []step { return []step{{send: []byte(raw)}} }

// bytewise sends each byte alone, with a pause between any two.
func bytewise(raw string, pause time.Duration) (steps []step) {
	for i := range len(raw) {
		steps = append(steps, step{pause: pause, send: []byte{raw[i]}})
	}
	return steps
}

// pieces sends a text in pieces, some of them late.
func pieces(raw string, r *rand.Rand) (steps []step) {
	for len(raw) > 0 {
		n := 1 + r.IntN(len(raw))
		pause := time.Duration(0)
		if len(steps) < 20 && r.IntN(4) == 0 {
			pause = time.Duration(r.IntN(250)) * time.Millisecond // restTime is in the middle
		}
		steps = append(steps, step{pause: pause, send: []byte(raw[:n])})
		raw = raw[n:]
	}
	return steps
}

func TestSameAsNetHTTP(t *testing.T) {
	t.Parallel()
	for _, test := range conversations() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if n := mustBeSame(t, t, false, whole(test.raw)); n != test.shortcut {
				t.Errorf("%d requests took the shortcut, want %d", n, test.shortcut)
			}
			if len(test.raw) < 2*readBytes {
				mustBeSame(t, t, false, bytewise(test.raw, 0))
			}
			random := rand.New(rand.NewPCG(1, uint64(len(test.raw))))
			for range 10 {
				mustBeSame(t, t, false, pieces(test.raw, random))
			}
			mustBeSame(t, t, true, whole(test.raw))
		})
	}
}

// TestCutAnywhere breaks a connection off behind each byte of a conversation:
// the handler must see what it would see behind net/http, and never a part of a
// body as a whole.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	raw := post("/a/records", "Producer-Seq: 1", `{"records":[{"value":1}]}`) +
		post("/a/records", "Producer-Seq: 2", `{"records":[{"value":2}]}`)
	for n := range len(raw) + 1 {
		mustBeSame(t, t, true, whole(raw[:n]))
	}
}

// TestLateHTTP2: net/http takes the preface of HTTP/2 at the beginning of a
// connection only; so does the shortcut, in whatever pieces it comes.
func TestLateHTTP2(t *testing.T) {
	t.Parallel()
	ok := post("/a/records", "", "{}")
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, steps := range [][]step{whole(ok + preface), bytewise(ok+preface, 0), append(whole(ok), bytewise(preface, 2*restTime)...)} {
		o := exchange(t, doer, true, false, steps)
		if len(o.Answers) != 1 || o.State != "closed" || len(o.Seen) != 1 {
			t.Errorf("got %d answers, %d requests, the connection %s; want one, and its end", len(o.Answers), len(o.Seen), o.State)
		}
	}
}
