package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// scripted is a source whose steps a test writes. What a bubble of synctest
// leaves behind fails the test: a goroutine, or a wait that nobody ends.
type scripted struct {
	h    *Handler
	page *page
	next []func(*Handler) (bool, error) // one for each Next; nothing is found behind the last
	move []func(*Handler) (bool, error) // one for each Moved; nothing has behind the last
	read int                            // how often Next was called
}

func (s *scripted) Next(context.Context, func(*store.Batch, int, int) error) (more bool, err error) {
	s.read++
	if len(s.next) == 0 {
		return false, nil
	}
	step := s.next[0]
	s.next = s.next[1:]
	if s.page.records, err = step(s.h); s.page.records {
		s.page.begin()
	}
	return false, err
}

func (s *scripted) moved(context.Context) (bool, error) {
	if len(s.move) == 0 {
		return false, nil
	}
	step := s.move[0]
	s.move = s.move[1:]
	return step(s.h)
}

func (s *scripted) wait(w *wake.Waiter) { w.WaitOne(1, 7) }

func (s *scripted) appendEnd(b []byte) []byte { return b }

func nothing(*Handler) (bool, error)   { return false, nil }
func something(*Handler) (bool, error) { return true, nil }

const waitTime = 50 * time.Second

// awaited runs a fetch of the source in the bubble that may wait for waitTime,
// and returns its answer, what it has panicked with, and how long it took.
// Meanwhile something happens.
func awaited(t *testing.T, from *scripted, meanwhile func(h *Handler, leave func())) (w *httptest.ResponseRecorder, panicked any, took time.Duration) {
	t.Helper()
	s := &server{hub: newHub(), draining: make(chan struct{}), reading: make(chan struct{}, maxReading), log: slog.New(slog.DiscardHandler)}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	w = httptest.NewRecorder()
	f := s.newFetch(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), from, waitTime.Milliseconds())
	f.w, from.h, from.page = w, &Handler{server: s}, &f.page
	start, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f.run()
	}()
	synctest.Wait()
	meanwhile(from.h, leave)
	<-done
	if n := s.hub.Waiting(); n != 0 || len(s.reading) != 0 {
		t.Errorf("it has left %d waiters and %d tokens behind", n, len(s.reading))
	}
	return w, panicked, time.Since(start)
}

// TestAwait has each end that a fetch can come to while it waits, at the moment
// at which it must.
func TestAwait(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	wakeUp := func(h *Handler) { h.server.hub.Wake([]int64{1}) }
	for name, test := range map[string]struct {
		from      scripted
		meanwhile func(h *Handler, leave func())
		status    int
		body      string
		panics    string
		took      time.Duration
		reads     int
	}{
		"there is something": {
			from:   scripted{next: []func(*Handler) (bool, error){something}},
			status: http.StatusOK, reads: 1,
		},
		"the time passes": {status: http.StatusOK, body: `"records":[]`, took: waitTime, reads: 1},
		"woken": {
			from:      scripted{next: []func(*Handler) (bool, error){nothing, something}},
			meanwhile: func(h *Handler, _ func()) { <-time.After(time.Second); wakeUp(h) },
			status:    http.StatusOK, took: time.Second, reads: 2,
		},
		"woken for nothing, then for something": {
			from: scripted{next: []func(*Handler) (bool, error){nothing, nothing, something}},
			meanwhile: func(h *Handler, _ func()) {
				for range 2 {
					<-time.After(time.Second)
					wakeUp(h)
					synctest.Wait()
				}
			},
			status: http.StatusOK, took: 2 * time.Second, reads: 3,
		},
		"written between the read and the wait": {
			from:   scripted{next: []func(*Handler) (bool, error){nothing, something}, move: []func(*Handler) (bool, error){something}},
			status: http.StatusOK, reads: 2,
		},
		"drained": {
			meanwhile: func(h *Handler, _ func()) { h.Drain() },
			status:    http.StatusOK, body: `"records":[]`, reads: 1,
		},
		"drained before it waits": {
			from: scripted{next: []func(*Handler) (bool, error){func(h *Handler) (bool, error) {
				h.Drain()
				return nothing(h)
			}}},
			status: http.StatusOK, body: `"records":[]`, reads: 1,
		},
		"the client leaves": {
			meanwhile: func(_ *Handler, leave func()) { leave() }, reads: 1,
			panics: http.ErrAbortHandler.Error(),
		},
		"reading fails": {
			from:   scripted{next: []func(*Handler) (bool, error){func(*Handler) (bool, error) { return false, away }}},
			status: http.StatusInternalServerError, reads: 1,
		},
		"looking again fails": {
			from:   scripted{move: []func(*Handler) (bool, error){func(*Handler) (bool, error) { return false, away }}},
			status: http.StatusInternalServerError, reads: 1,
		},
		"reading panics": {
			from: scripted{next: []func(*Handler) (bool, error){func(*Handler) (bool, error) { panic("at the disco") }}}, panics: "at the disco, at\n", reads: 1,
		},
		"looking again panics": {
			from: scripted{move: []func(*Handler) (bool, error){func(*Handler) (bool, error) { panic("at the disco") }}}, panics: "at the disco, at\n", reads: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				meanwhile := test.meanwhile
				if meanwhile == nil {
					meanwhile = func(*Handler, func()) {}
				}
				w, panicked, took := awaited(t, &test.from, meanwhile)
				if (test.panics == "") != (panicked == nil) || !strings.HasPrefix(fmt.Sprint(panicked), test.panics) {
					t.Errorf("panicked with %v, want %q", panicked, test.panics)
				}
				if test.panics == "" && (w.Code != test.status || !strings.Contains(w.Body.String(), test.body)) {
					t.Errorf("%d %s, want %d and %s", w.Code, w.Body, test.status, test.body)
				}
				if took != test.took || test.from.read != test.reads {
					t.Errorf("took %v and %d reads, want %v and %d", took, test.from.read, test.took, test.reads)
				}
			})
		})
	}
}
