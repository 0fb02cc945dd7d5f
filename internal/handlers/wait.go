package handlers

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// source is where the records of a fetch come from: a partition or all
// partitions of a topic.
type source interface {
	// Next hands out the next records and reports whether there may be more.
	Next(ctx context.Context, take func(b *store.Batch, from, to int) error) (more bool, err error)
	// Moved reports whether there may be records behind what Next has found, as
	// far as this proxy wrote them.
	Moved(ctx context.Context) (bool, error)
	// wait registers interest in what follows the ends that Next has seen.
	wait() *wake.Waiter
	// appendEnd appends the fields that follow the records in the answer.
	appendEnd(b []byte) []byte
}

// fetch is a fetch that is being answered. Ten thousand of them may wait, so
// its memory while it waits is what counts: it holds its place in the hub (rule
// F4), and neither a header nor a buffer of the answer. All its work is done in
// steps on goroutines that end with them, because the stack of one that has
// read a log and written an answer is twice or four times as large as that of
// one that waits, and stays so.
type fetch struct {
	observed // where the fetch goes past the router
	server   *server
	w        http.ResponseWriter
	r        *http.Request
	compress func(http.Handler) http.HandlerFunc // of the answer; nil where w does it
	from     source
	page     page
	waitMS   int64

	waiter   *wake.Waiter // while it waits; else nil
	ended    bool         // it waits no longer
	err      error        // why, if the client has gone
	step     sync.WaitGroup
	panicked any // of the step
}

func (s *server) newFetch(w http.ResponseWriter, r *http.Request, from source, waitMS int64) *fetch {
	return &fetch{server: s, w: w, r: r, from: from, page: page{server: s}, waitMS: waitMS}
}

// run answers the fetch: when there are records, or the time to wait is over.
func (f *fetch) run() {
	defer f.page.close()
	if f.waitMS == 0 {
		f.advance()
		return
	}
	f.advanceAside()
	if f.waiter == nil {
		return
	}
	timeout := time.NewTimer(time.Duration(f.waitMS) * time.Millisecond)
	defer timeout.Stop()
	for f.waiter != nil {
		f.wait(timeout.C)
		f.advanceAside()
	}
}

// wait waits until there may be records, or there is nothing to wait for any
// more.
func (f *fetch) wait(timeout <-chan time.Time) {
	select {
	case <-f.waiter.Woken():
	case <-timeout:
		f.ended = true
	case <-f.server.draining:
		f.ended = true
	case <-f.r.Context().Done():
		f.ended, f.err = true, f.r.Context().Err()
	}
	f.leave()
}

func (f *fetch) leave() {
	f.waiter.Stop()
	f.waiter = nil
}

// advanceAside is advance on a goroutine of its own.
func (f *fetch) advanceAside() {
	f.step.Add(1)
	go f.advanceAlone()
	f.step.Wait()
	if f.panicked != nil {
		panic(f.panicked)
	}
}

func (f *fetch) advanceAlone() {
	defer f.step.Done()
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, compared as net/http does
			p = fmt.Sprintf("%v, at\n%s", p, debug.Stack())
		}
		if f.panicked = p; p != nil && f.waiter != nil {
			f.leave()
		}
	}()
	f.advance()
}

// advance reads, and answers or has a waiter.
func (f *fetch) advance() {
	more, err := false, f.err
	for !f.ended {
		more, err = f.from.Next(f.r.Context(), f.page.take)
		if err != nil || f.page.records || f.waitMS == 0 {
			break
		}
		f.waiter = f.from.wait()
		// What this proxy wrote between the read and the registration wakes
		// nobody; what others wrote, the hub finds out.
		moved, movedErr := f.from.Moved(f.r.Context())
		if movedErr == nil && !moved {
			return
		}
		f.leave()
		if err = movedErr; err != nil {
			break
		}
	}
	f.answer(more, err)
}

// answer answers with the records that were found, and those that follow them.
func (f *fetch) answer(more bool, err error) {
	if f.compress == nil {
		f.write(f.w, more, err)
		return
	}
	f.server.identify(f.w, f.r)
	if f.r.Header["Accept-Encoding"] == nil {
		f.w.Header()["Vary"] = varyEncoding // as the compression says of each answer
		f.write(f.w, more, err)
		return
	}
	f.compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { f.write(w, more, err) }))(f.w, f.r)
}

func (f *fetch) write(w http.ResponseWriter, more bool, err error) {
	p := &f.page
	p.w = w
	for err == nil && more {
		p.flush()
		more, err = f.from.Next(f.r.Context(), p.take)
	}
	if err != nil {
		p.fail(f.r, err)
		return
	}
	p.finish(f.from.appendEnd)
}
