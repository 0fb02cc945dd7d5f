package shortcut

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// held is a handler whose requests wait.
type held struct {
	begun chan context.Context // gets the context of each request
	end   chan struct{}        // each is answered when one is received, or refused when its context ends
}

func newHeld() *held {
	return &held{begun: make(chan context.Context, 10), end: make(chan struct{})}
}

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.begun <- r.Context()
	select {
	case <-h.end:
		io.WriteString(w, "done")
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// holding tells a story of a request whose handler waits, of one connection.
func holding(t *testing.T, raw string, story func(v *visit, h *held, request context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		r := newRig(true, h)
		v := dialled(t, r)
		v.send(raw)
		story(v, h, <-h.begun)
		r.close()
	})
}

// shutdown begins to shut the shortcut down; its result comes.
func (v *visit) shutdown(grace time.Duration) <-chan error {
	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		result <- v.rig.short.Shutdown(ctx)
	}()
	synctest.Wait()
	return result
}

func mustHaveEnded(t *testing.T, result <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("Shutdown has not returned")
	}
}

func TestShutdownEndsIdleConnections(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{"new": "", "behind a request": post("/a/records", "", "{}")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			visiting(t, doer, func(v *visit) {
				if sent != "" {
					v.send(sent)
					v.mustAnswer()
				}
				mustHaveEnded(t, v.shutdown(time.Minute))
				v.mustEnd(0, 0)
				if _, _, err := v.rig.dial(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a new connection: %v", err)
				}
			})
		})
	}
}

func TestShutdownFinishesRequests(t *testing.T) {
	t.Parallel()
	holding(t, plainPost, func(v *visit, h *held, request context.Context) {
		result := v.shutdown(time.Minute)
		<-time.After(30 * time.Second)
		if len(result) > 0 || request.Err() != nil {
			t.Fatalf("Shutdown has not waited for a request: %v", request.Err())
		}
		h.end <- struct{}{}
		if !v.mustAnswer() {
			t.Error("the last answer does not say that it is the last")
		}
		mustHaveEnded(t, result)
		v.mustEnd(0, 0)
	})
}

// TestShutdownAnswersWhatWasRead: who has sent several requests at once gets the
// answers of those that came before the end, the last of which says so; and what
// it still sends resets nothing.
func TestShutdownAnswersWhatWasRead(t *testing.T) {
	t.Parallel()
	for name, beyond := range map[string]string{
		"nothing": "", "half a request": plainPost[:20], "more than is read at once": strings.Repeat("x", 4*readBytes),
		"one for net/http": strings.Replace(get, "GET", "PUT", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHeld()
			l, addr := newWatched(t, h)
			conn, _ := mustWait(t, addr, h, plainPost+fetch("/a/records", "")+plainPost+beyond)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			for n := range 3 {
				if n > 0 {
					<-h.begun
				}
				h.end <- struct{}{}
				answer, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatalf("answer %d: %v", n, err)
				}
				if body, err := io.ReadAll(answer.Body); string(body) != "done" || err != nil || answer.Close != (n == 2) {
					t.Fatalf("answer %d: %q, %v, the last: %t", n, body, err, answer.Close)
				}
			}
			if _, err := io.WriteString(conn, plainPost); err != nil { // it has not seen the end yet
				t.Fatal(err)
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("behind the last answer: %v", err)
			}
		})
	}
}

// TestShutdownWaitsNotForClientsThatStay: one that does not hang up at the end
// of its answers holds nobody up for long.
func TestShutdownWaitsNotForClientsThatStay(t *testing.T) {
	t.Parallel()
	h := newHeld()
	l, addr := newWatched(t, h)
	conn, _ := mustWait(t, addr, h, plainPost)
	h.end <- struct{}{}
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestShutdownWhenTheGraceIsOver: whoever waits in a handler is told, and the
// client gets no answer that might be taken for one.
func TestShutdownWhenTheGraceIsOver(t *testing.T) {
	t.Parallel()
	holding(t, plainPost, func(v *visit, _ *held, request context.Context) {
		result := v.shutdown(time.Minute)
		v.mustEnd(time.Minute, time.Minute)
		if err := <-result; !errors.Is(err, context.DeadlineExceeded) || request.Err() == nil {
			t.Errorf("Shutdown: %v; context of the request: %v", err, request.Err())
		}
	})
}

// TestContextEndsWithItsConnection: nothing that a handler has begun for a
// connection goes on for ever.
func TestContextEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	holding(t, plainPost, func(v *visit, h *held, request context.Context) {
		v.conn.Close()
		synctest.Wait()
		if request.Err() != nil {
			t.Error("a request that is being served is given up when its client leaves")
		}
		h.end <- struct{}{}
		synctest.Wait()
		if request.Err() == nil {
			t.Error("the context has outlived its connection")
		}
	})
}

// TestShutdownInTheMiddleOfARequest: one whose rest comes soon is answered; one
// whose rest does not holds nobody up.
func TestShutdownInTheMiddleOfARequest(t *testing.T) {
	t.Parallel()
	ok := post("/a/records", "", "{}")
	for _, n := range []int{1, 30, len(ok) - 1} {
		visiting(t, doer, func(v *visit) {
			v.send(ok[:n])
			result := v.shutdown(time.Minute)
			<-time.After(restTime / 2)
			v.send(ok[n:])
			if !v.mustAnswer() {
				t.Error("the last answer does not say that it is the last")
			}
			mustHaveEnded(t, result)
		})
		visiting(t, doer, func(v *visit) {
			v.send(ok[:n])
			result := v.shutdown(time.Minute)
			v.mustEnd(restTime, restTime)
			mustHaveEnded(t, result)
			if len(v.rig.seen) > 0 {
				t.Errorf("half a request was served: %v", v.rig.seen)
			}
		})
	}
}

// TestShutdownLeavesOthersAlone: what net/http serves is not the shortcut's.
func TestShutdownLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	holding(t, get, func(v *visit, h *held, request context.Context) {
		mustHaveEnded(t, v.shutdown(time.Minute))
		if request.Err() != nil {
			t.Error("Shutdown has broken a request of net/http")
		}
		h.end <- struct{}{}
		v.mustAnswer()
	})
}
