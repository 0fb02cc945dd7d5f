package shortcut

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fetch is a GET that takes the shortcut, if its target and headers, lines
// without their ends, do not forbid it.
func fetch(target, headers string) string {
	if headers != "" {
		headers = strings.ReplaceAll(headers, "|", "\r\n") + "\r\n"
	}
	return "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n"
}

// TestGetIsTheSameAsNetHTTP: what is unusual about a GET goes there, and the
// rest cannot be told from it.
func TestGetIsTheSameAsNetHTTP(t *testing.T) {
	t.Parallel()
	ok, write := fetch("/a/records", ""), post("/a/records", "", "{}")
	for name, test := range map[string]struct {
		shortcut int
		raw      string
	}{
		"plain":                       {1, ok},
		"query":                       {1, fetch("/a/records?offset=7&wait_ms=60000&cursor=a-B_9.", "")},
		"other queries, one by one":   {3, fetch("/a/records?a=1", "") + fetch("/a/records?a=2", "") + ok},
		"headers":                     {1, fetch("/a/records", "Accept: */*|accept-encoding: gzip|User-Agent: curl/8.5.0|Connection: keep-alive")},
		"with POSTs":                  {4, write + ok + write + ok},
		"empty line behind a POST":    {2, write + "\r\n" + ok},
		"empty line behind a GET":     {1, ok + "\r\n" + ok},
		"empty line behind GET, POST": {1, ok + "\r\n" + write},
		"empty query":                 {0, fetch("/a/records?", "") + ok},
		"escape":                      {0, fetch("/a/records?a=%31", "") + ok},
		"plus":                        {0, fetch("/a/records?a=1+1", "") + ok},
		"semicolon":                   {0, fetch("/a/records?a=1;b=2", "") + ok},
		"two question marks":          {0, fetch("/a/records?a?b", "") + ok},
		"fragment":                    {0, fetch("/a/records?a#b", "") + ok},
		"question mark in a POST":     {0, post("/a/records?a=1", "", "{}") + ok},
		"other path":                  {0, fetch("/other?a=1", "") + ok},
		"path of the query":           {0, fetch("/other?/records", "") + ok},
		"same path, other method":     {1, write + strings.Replace(ok, "GET", "PUT", 1) + ok},
		"length of 0":                 {0, fetch("/a/records", "Content-Length: 0") + ok},
		"body":                        {0, fetch("/a/records", "Content-Length: 2") + "{}" + ok},
		"chunked body":                {0, fetch("/a/records", "Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n" + ok},
		"no host":                     {0, "GET /a/records HTTP/1.1\r\n\r\n" + ok},
		"close":                       {0, fetch("/a/records", "Connection: close") + ok},
		"upgrade":                     {0, fetch("/a/records", "Connection: Upgrade|Upgrade: h2c") + ok},
		"HTTP/1.0":                    {0, strings.Replace(ok, "HTTP/1.1", "HTTP/1.0", 1) + ok},
		"HTTP/0.9":                    {0, "GET /a/records\r\n\r\n" + ok},
		"half a head":                 {1, ok + "GET /a/records HTTP/1.1\r\nHo"},
		"head of many reads":          {2, fetch("/a/records", "X: "+strings.Repeat("x", 3<<10)) + ok},
		"head too large":              {0, fetch("/a/records", "X: "+strings.Repeat("x", readBytes)) + ok},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if n := mustBeSame(t, t, false, whole(test.raw)); n != test.shortcut {
				t.Errorf("%d requests took the shortcut, want %d", n, test.shortcut)
			}
			mustBeSame(t, t, false, bytewise(test.raw, 0))
		})
	}
}

// TestLongAnswersAreTheSame: what is sent as it comes arrives as it would from
// net/http, and what is broken off does not arrive as a whole.
func TestLongAnswersAreTheSame(t *testing.T) {
	t.Parallel()
	part := strings.Repeat("part ", gathered/8)
	write := func(w http.ResponseWriter, parts int) {
		for range parts {
			io.WriteString(w, part)
		}
	}
	sized := func(w http.ResponseWriter, n string) { w.Header().Set("Content-Length", n) }
	for name, test := range map[string]struct {
		requests int // that are answered, of two
		do       func(w http.ResponseWriter)
	}{
		"in parts":             {2, func(w http.ResponseWriter) { write(w, 100) }},
		"just gathered":        {2, func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("x", gathered)) }},
		"one byte more":        {2, func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("x", gathered+1)) }},
		"one byte behind":      {2, func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("x", gathered)); io.WriteString(w, "y") }},
		"nothing in between":   {2, func(w http.ResponseWriter) { write(w, 3); io.WriteString(w, ""); write(w, 1) }},
		"length is known":      {2, func(w http.ResponseWriter) { sized(w, "102400"); write(w, 10) }},
		"shorter than it said": {1, func(w http.ResponseWriter) { sized(w, "102401"); write(w, 10) }},
		"the last":             {1, func(w http.ResponseWriter) { w.Header().Set("Connection", "close"); write(w, 10) }},
		"header behind":        {2, func(w http.ResponseWriter) { write(w, 10); w.Header().Set("Late", "1") }},
		"no body":              {2, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotModified); write(w, 10) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.do(w) })
			steps := whole(fetch("/a/records", "") + fetch("/a/records?a=1", ""))
			want, got := exchange(t, do, false, false, steps), exchange(t, do, true, false, steps)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(outcome{})); diff != "" {
				t.Errorf("the shortcut is not the same as net/http (-net/http +shortcut):\n%s", diff)
			}
			if got.shortcut != test.requests {
				t.Errorf("%d requests took the shortcut, want %d", got.shortcut, test.requests)
			}
		})
	}
}

// TestLongAnswersAreSentAsTheyCome, not at their end.
func TestLongAnswersAreSentAsTheyCome(t *testing.T) {
	t.Parallel()
	var goOn chan struct{} // of the bubble
	visiting(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", 2*gathered))
		<-goOn
		io.WriteString(w, "end")
	}, func(v *visit) {
		goOn = make(chan struct{})
		v.send(fetch("/a/records", ""))
		res, err := http.ReadResponse(v.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 2*gathered)); err != nil {
			t.Fatal(err)
		}
		close(goOn)
		if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "end" {
			t.Errorf("the rest is %q, %v", rest, err)
		}
	})
}

// TestAnswerThatIsBrokenOff is never taken for a whole one.
func TestAnswerThatIsBrokenOff(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"in chunks": "", "of a length": "100000"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			visiting(t, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				io.WriteString(w, strings.Repeat("x", 2*gathered))
				panic(http.ErrAbortHandler)
			}, func(v *visit) {
				v.send(fetch("/a/records", "") + fetch("/a/records", ""))
				res, err := http.ReadResponse(v.Reader, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the body ended with %v", err)
				}
				if len(v.rig.seen) != 1 || len(v.rig.seen["client-1"]) != 1 {
					t.Errorf("requests behind it were served: %v", v.rig.seen)
				}
			})
		})
	}
}
