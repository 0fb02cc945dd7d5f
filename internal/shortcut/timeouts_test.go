package shortcut

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// visit is one connection to a rig, in a bubble.
type visit struct {
	t    *testing.T
	rig  *rig
	conn net.Conn
	*bufio.Reader
}

// visiting runs a story with a connection to a server with the shortcut, in a
// bubble.
func visiting(t *testing.T, do http.HandlerFunc, story func(v *visit)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(true, do)
		v := dialled(t, r)
		story(v)
		v.conn.Close()
		r.close()
		<-time.After(time.Second) // net/http lingers on what it has refused
	})
}

func dialled(t *testing.T, r *rig) *visit {
	t.Helper()
	conn, _, err := r.dial()
	if err != nil {
		t.Fatal(err)
	}
	return &visit{t, r, conn, bufio.NewReader(conn)}
}

// send sends a text, which must be taken at once.
func (v *visit) send(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v.conn, text); err != nil {
		v.t.Fatal(err)
	}
}

// mustAnswer reads an answer with status 200, and reports whether the
// connection ends with it.
func (v *visit) mustAnswer() (last bool) {
	v.t.Helper()
	res, err := http.ReadResponse(v.Reader, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		v.t.Fatalf("%s, %v", res.Status, err)
	}
	return res.Close
}

// mustEnd waits for the end of the connection, which must come between two
// times from now, and without an answer but net/http's to half a head.
func (v *visit) mustEnd(from, to time.Duration) {
	v.t.Helper()
	start := time.Now()
	got, err := io.ReadAll(v.Reader)
	if took := time.Since(start); len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || err != nil || took < from || took > to {
		v.t.Errorf("the connection ended after %v with %q, %v; want nothing between %v and %v", took, got, err, from, to)
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	ok := post("/a/records", "", "{}")
	t.Run("new", func(t *testing.T) {
		t.Parallel()
		visiting(t, doer, func(v *visit) { v.mustEnd(headerTimeout, headerTimeout) })
	})
	for name, begun := range map[string]string{"nothing": "", "three bytes": "POS", "empty line": "\r\n"} {
		t.Run("behind a request: "+name, func(t *testing.T) {
			t.Parallel()
			visiting(t, doer, func(v *visit) {
				// Each pause is nearly too long, so that a deadline which does not move is seen.
				for range 3 {
					v.send(ok)
					v.mustAnswer()
					<-time.After(idleTimeout - deadlineEvery - time.Second)
				}
				v.send(ok)
				v.mustAnswer()
				v.send(begun)
				v.mustEnd(idleTimeout-deadlineEvery, idleTimeout)
			})
		})
	}
}

// TestSlowRequests: net/http waits for what does not come at once, with its own
// timeouts.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	ok := post("/a/records", "", "{}")
	for name, n := range map[string]int{"one byte": 1, "half a head": 30, "nearly a head": len(ok) - 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			visiting(t, doer, func(v *visit) {
				v.send(ok[:n])
				v.mustEnd(headerTimeout+restTime, headerTimeout+restTime)
			})
		})
	}
	t.Run("drip", func(t *testing.T) {
		t.Parallel()
		visiting(t, doer, func(v *visit) {
			start := time.Now()
			for _, b := range []byte("POST /a/records HTTP/1.1\r\nX: " + strings.Repeat("x", 100)) {
				<-time.After(restTime * 9 / 10) // each byte moves no deadline
				if _, err := v.conn.Write([]byte{b}); err != nil {
					break
				}
			}
			v.mustEnd(0, headerTimeout)
			if took := time.Since(start); took > headerTimeout+3*restTime {
				t.Errorf("a slow head was waited for during %v", took)
			}
		})
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		var timed chan error // of the bubble
		visiting(t, func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			timed <- err
		}, func(v *visit) {
			timed = make(chan error, 1)
			raw := post("/a/records", "Do: not read", "{}")
			v.send(raw[:len(raw)-1])
			start := time.Now()
			if err := <-timed; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != bodyTimeout+restTime {
				t.Errorf("after %v: %v; want the deadline of the handler", time.Since(start), err)
			}
		})
	})
}

// TestAnswerIsNotTaken: a client that does not read its answer is cut off when
// the handler says.
func TestAnswerIsNotTaken(t *testing.T) {
	t.Parallel()
	visiting(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
		io.WriteString(w, "an answer")
	}, func(v *visit) {
		v.send(post("/a/records", "", "{}"))
		<-time.After(time.Minute)
		synctest.Wait()
		if n, err := v.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%d, %v after the deadline, want the end", n, err)
		}
	})
}

// TestDeadlinesDoNotOutliveARequest: neither that of an answer nor that of a
// pause may hit what net/http does on the connection later.
func TestDeadlinesDoNotOutliveARequest(t *testing.T) {
	t.Parallel()
	visiting(t, func(w http.ResponseWriter, r *http.Request) {
		if isShort(w) {
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
		} else {
			<-time.After(2 * idleTimeout) // a fetch that waits, or an upload
		}
		io.WriteString(w, "an answer")
	}, func(v *visit) {
		v.send(post("/a/records", "", "{}"))
		v.mustAnswer()
		v.send(get)
		v.mustAnswer()
		if v.rig.shortcut != 1 {
			t.Errorf("%d requests took the shortcut, want the first", v.rig.shortcut)
		}
	})
}
