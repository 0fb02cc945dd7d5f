package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A story is a run of serve with parts that note what happens to them.
type story struct {
	t     *testing.T
	cfg   Config
	parts parts
	proxy proxyPart // what parts.open returns

	mu    sync.Mutex
	notes []string // guarded by mu

	out  *bufio.Scanner // the lines of stdout
	log  strings.Builder
	stop context.CancelFunc
	end  chan error // the result of serve
}

// newStory returns parts on a given database in which everything works at once.
func newStory(t *testing.T) *story {
	s := &story{t: t, end: make(chan error, 1)}
	s.cfg.flags("serve")
	s.cfg.Listen = "127.0.0.1:0"
	s.cfg.DatabaseURL = "postgres://given"
	s.proxy = proxyPart{
		prepare: func(context.Context) error { s.note("prepared"); return nil },
		isFinal: func(error) bool { return false },
		loops:   []loop{s.newLoop("appender"), s.newLoop("wake")},
		handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "handled "+r.URL.Path) }),
		drain:   func() { s.note("draining") },
		close:   func() { s.note("store closed") },
	}
	s.parts.open = func(_ context.Context, url string) (proxyPart, error) {
		s.note("opened " + url)
		return s.proxy, nil
	}
	return s
}

// newLoop returns a loop that does nothing until it is stopped.
func (s *story) newLoop(name string) loop {
	return loop{name, func(ctx context.Context) error {
		<-ctx.Done()
		s.note(name + " stopped")
		return ctx.Err()
	}}
}

// embedded makes the story one of an embedded server, which has started already.
func (s *story) embedded() (started chan struct{}) {
	started = make(chan struct{})
	s.cfg.DatabaseURL = ""
	s.parts.embed = func(context.Context) (embeddedPart, error) {
		return embeddedPart{
			url:     "postgres://embedded",
			run:     s.newLoop("embedded").run,
			started: started,
			close:   func() { s.note("embedded closed") },
		}, nil
	}
	return started
}

func (s *story) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, what)
}

// start runs serve and returns the address that its first line names.
func (s *story) start() string {
	s.t.Helper()
	s.begin()
	line := s.line()
	url, ok := strings.CutPrefix(line, "eos-proxy answers on ")
	if !ok {
		s.t.Fatalf("first line %q, error %v", line, <-s.end)
	}
	return url
}

// begin runs serve.
func (s *story) begin() {
	ctx, stop := context.WithCancel(s.t.Context())
	s.stop = stop
	r, w := io.Pipe()
	s.out = bufio.NewScanner(r)
	s.t.Cleanup(stop)
	go func() {
		err := serve(ctx, s.cfg, s.parts, w, slog.New(slog.NewTextHandler(&s.log, nil)))
		w.Close()
		s.end <- err
	}()
}

// ready waits until serve has printed what a person may try.
func (s *story) ready() {
	s.t.Helper()
	for range 2 {
		if line := s.line(); !strings.Contains(line, "curl ") {
			s.t.Fatalf("line %q, want a command", line)
		}
	}
}

func (s *story) line() string {
	if !s.out.Scan() {
		return ""
	}
	return s.out.Text()
}

// result waits for serve to return. The notes and the log may be read afterwards.
func (s *story) result() error {
	go func() { // nobody reads the curl lines where a test does not
		for s.out.Scan() {
		}
	}()
	return <-s.end
}

// get returns status and body of an answer on a connection of its own.
func get(url string) (int, string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func mustGet(t *testing.T, url string) (int, string) {
	t.Helper()
	status, body, err := get(url)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func TestStopInOrder(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	close(s.embedded())
	url := s.start()
	s.ready()
	if status, body := mustGet(t, url+"/x"); status != 200 || body != "handled /x" {
		t.Errorf("answer %d %q", status, body)
	}
	s.stop()
	if err := s.result(); err != nil {
		t.Errorf("serve: %v", err)
	}
	want := []string{
		"opened postgres://embedded", "prepared",
		"draining", "wake stopped", "appender stopped", "store closed", "embedded stopped", "embedded closed",
	}
	if diff := cmp.Diff(want, s.notes); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestStopFinishesRequests(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	drained := make(chan struct{})
	s.proxy.drain = func() { close(drained) }
	s.proxy.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		s.note("answered")
		io.WriteString(w, "late")
	})
	url := s.start()
	s.ready()

	type answer struct {
		status int
		body   string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		status, body, err := get(url)
		answers <- answer{status, body, err}
	}()
	<-arrived
	s.stop()
	<-drained
	for { // until the listener is closed, although a request still runs
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if got := <-answers; got != (answer{200, "late", nil}) {
		t.Errorf("answer %+v", got)
	}
	if err := s.result(); err != nil {
		t.Errorf("serve: %v", err)
	}
	want := []string{"opened postgres://given", "prepared", "answered", "wake stopped", "appender stopped", "store closed"}
	if diff := cmp.Diff(want, s.notes); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestStopDelay: for as long as it says, new clients are served, and load balancers
// are told that there shall be none.
func TestStopDelay(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.cfg.StopDelay = 3 * time.Second
	url := s.start()
	s.ready()
	if status, _ := mustGet(t, url+"/readyz"); status != 200 {
		t.Errorf("readyz before: %d", status)
	}
	told := time.Now()
	s.stop()
	for {
		status, body := mustGet(t, url+"/readyz")
		if status == 503 && strings.Contains(body, "stopping") {
			break
		}
		if status != 200 {
			t.Fatalf("readyz: %d %s", status, body)
		}
	}
	if status, body := mustGet(t, url+"/x"); status != 200 || body != "handled /x" {
		t.Errorf("answer %d %q", status, body)
	}
	if err := s.result(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if took := time.Since(told); took < s.cfg.StopDelay {
		t.Errorf("stopped after %v", took)
	}
}

func TestGraceEnds(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.cfg.Grace = time.Millisecond
	arrived := make(chan struct{})
	s.proxy.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		s.note("broken")
	})
	url := s.start()
	s.ready()
	failed := make(chan error, 1)
	go func() {
		_, _, err := get(url)
		failed <- err
	}()
	<-arrived
	s.stop()
	if err := s.result(); err != nil {
		t.Errorf("serve: %v", err)
	}
	want := []string{"opened postgres://given", "prepared", "draining", "broken", "wake stopped", "appender stopped", "store closed"}
	if diff := cmp.Diff(want, s.notes); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
	if !strings.Contains(s.log.String(), "did not finish within the grace time") {
		t.Errorf("log:\n%s", s.log.String())
	}
}

func TestDeadPartEndsTheProgram(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk full")
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"with an error", broken, "appender: disk full"},
		{"without", nil, "appender: ended, although nobody had stopped it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			close(s.embedded())
			s.proxy.loops[0].run = func(context.Context) error { return tc.err }
			s.start()
			err := s.result()
			if err == nil || err.Error() != tc.want || !errors.Is(err, tc.err) && tc.err != nil {
				t.Errorf("serve: %v, want %s", err, tc.want)
			}
			want := []string{"wake stopped", "store closed", "embedded stopped", "embedded closed"}
			if diff := cmp.Diff(want, s.notes[len(s.notes)-4:]); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHealthWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	back := make(chan struct{})
	s.proxy.prepare = func(context.Context) error { <-back; return nil }
	url := s.start()

	if status, body := mustGet(t, url+"/healthz"); status != 200 || body != "{\"status\":\"ok\"}\n" {
		t.Errorf("healthz: %d %s", status, body)
	}
	for _, path := range []string{"/readyz", "/v1/topics"} {
		if status, body := mustGet(t, url+path); status != 503 || !strings.Contains(body, `"code":"BROKER_NOT_AVAILABLE"`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	close(back)
	s.ready()
	if status, _ := mustGet(t, url+"/readyz"); status != 200 {
		t.Errorf("readyz afterwards: %d", status)
	}
	s.stop()
	if err := s.result(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestStartThatCannotSucceed(t *testing.T) {
	t.Parallel()
	broken := errors.New("schema version 9, this program knows 3")
	for _, tc := range []struct {
		name    string
		spoil   func(s *story)
		want    string
		notes   []string
		silence bool // not even the address is printed
	}{
		{
			"final error of the database",
			func(s *story) {
				s.proxy.prepare = func(context.Context) error { return broken }
				s.proxy.isFinal = func(err error) bool { return errors.Is(err, broken) }
			},
			broken.Error(),
			[]string{"opened postgres://given", "draining", "store closed"},
			false,
		},
		{
			"store",
			func(s *story) {
				s.parts.open = func(context.Context, string) (proxyPart, error) { return proxyPart{}, broken }
			},
			broken.Error(), nil, false,
		},
		{
			"embedded server cannot be prepared",
			func(s *story) {
				s.parts.embed = func(context.Context) (embeddedPart, error) { return embeddedPart{}, broken }
			},
			"embedded PostgreSQL: " + broken.Error(), nil, true,
		},
		{
			"embedded server dies before it answers",
			func(s *story) {
				s.embedded()
				embed := s.parts.embed
				s.parts.embed = func(ctx context.Context) (embeddedPart, error) {
					e, err := embed(ctx)
					e.run = func(context.Context) error { return broken }
					return e, err
				}
			},
			"embedded PostgreSQL: " + broken.Error(),
			[]string{"embedded closed"},
			false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			tc.spoil(s)
			s.begin()
			if line := s.line(); (line == "") != tc.silence {
				t.Errorf("printed %q", line)
			}
			if err := s.result(); err == nil || err.Error() != tc.want {
				t.Errorf("serve: %v, want %s", err, tc.want)
			}
			if diff := cmp.Diff(tc.notes, s.notes); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	t.Run("for the database", func(t *testing.T) {
		t.Parallel()
		s := newStory(t)
		asked := make(chan struct{}, 1)
		s.proxy.prepare = func(context.Context) error {
			asked <- struct{}{}
			return errors.New("connection refused")
		}
		s.start()
		<-asked
		s.stop()
		if err := s.result(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Run("for the embedded server", func(t *testing.T) {
		t.Parallel()
		s := newStory(t)
		s.embedded()
		s.start()
		s.stop()
		if err := s.result(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newStory(t)
	s.cfg.Listen = taken.Addr().String()
	err = serve(t.Context(), s.cfg, s.parts, io.Discard, slog.New(slog.DiscardHandler))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("serve: %v", err)
	}
}

// TestWaitForDatabase runs in a bubble whose clock moves when everybody waits.
func TestWaitForDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.MessageKey {
					return a
				}
				return slog.Attr{}
			},
		}))
		calls := 0
		prepare := func(context.Context) error {
			switch calls++; {
			case calls <= 12:
				return fmt.Errorf("connect:\n\t127.0.0.1:5432: refused (%d)", calls)
			case calls == 13:
				<-time.After(waitingInterval + time.Second)
			}
			return nil
		}
		if err := waitForDatabase(t.Context(), prepare, func(error) bool { return false }, log); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // for the last line
		want := `msg="waiting for the database: connect: 127.0.0.1:5432: refused (1)"
msg="waiting for the database: connect: 127.0.0.1:5432: refused (6)"
msg="waiting for the database: connect: 127.0.0.1:5432: refused (11)"
msg="waiting for the database: no answer yet"
`
		if diff := cmp.Diff(want, lines.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestSecondSignal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		defer close(signals)
		var statuses []int
		ctx := untilSignal(t.Context(), signals, func(n int) { statuses = append(statuses, n) })
		if ctx.Err() != nil {
			t.Error("ended without a signal")
		}
		signals <- syscall.SIGTERM
		signals <- syscall.SIGTERM
		synctest.Wait()
		if ctx.Err() == nil || statuses != nil {
			t.Errorf("after a signal and its echo: %v, exit %v", ctx.Err(), statuses)
		}
		<-time.After(echoTime)
		signals <- os.Interrupt
		synctest.Wait()
		if diff := cmp.Diff([]int{1}, statuses); diff != "" {
			t.Errorf("after another signal (-want +got):\n%s", diff)
		}
	})
}
