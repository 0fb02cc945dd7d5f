package handlers

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
	// wait lets w wait for what follows the ends that Next has seen.
	wait(w *wake.Waiter)
	// appendEnd appends the fields that follow the records in the answer.
	appendEnd(b []byte) []byte
}

// fetch is a fetch that is being answered. Ten thousand of them may wait, so
// what it holds while it waits is what counts: its place in the hub (rule F4),
// and neither a header nor a buffer of the answer. A fetch that may wait does
// all its work in steps, on goroutines that end with them: a goroutine that has
// read a log or written an answer has twice or four times the stack of one that
// only waits, and keeps it.
type fetch struct {
	observed // where the fetch goes past the router
	server   *server
	w        http.ResponseWriter
	r        *http.Request
	compress func(http.Handler) http.HandlerFunc // of the answer; nil where w does it
	from     source
	page     page
	waitMS   int64

	waiter  *wake.Waiter // nil where it never waits
	waiting bool         // has a place in the hub
	expired atomic.Bool  // the time to wait is over

	step   sync.WaitGroup
	failed any // what the step has panicked with
}

// maxReading is how many fetches that may wait read at a time. When ten thousand
// are woken at once, the others need no stack to read with until it is their
// turn.
const maxReading = 64

func (s *server) newFetch(w http.ResponseWriter, r *http.Request, from source, waitMS int64) *fetch {
	return &fetch{server: s, w: w, r: r, from: from, page: page{server: s}, waitMS: waitMS}
}

// run answers the fetch: when there are records, or the time to wait is over.
func (f *fetch) run() {
	defer f.page.close()
	if f.waitMS == 0 {
		f.answer(f.from.Next(f.r.Context(), f.page.take))
		return
	}
	f.waiter = f.server.hub.Waiter()
	f.stepAside(true)
	if !f.waiting {
		return
	}
	timeout := time.AfterFunc(time.Duration(f.waitMS)*time.Millisecond, f.expire)
	defer timeout.Stop()
	for f.waiting {
		select {
		case <-f.waiter.Woken():
			f.leave()
			f.stepAside(!f.over())
		case <-f.r.Context().Done():
			f.leave()
			f.answer(false, f.r.Context().Err())
		}
	}
}

// expire ends the waiting.
func (f *fetch) expire() {
	f.expired.Store(true)
	f.waiter.Wake()
}

// over reports whether there is nothing to wait for any more.
func (f *fetch) over() bool {
	select {
	case <-f.server.draining:
		return true
	default:
		return f.expired.Load()
	}
}

func (f *fetch) leave() {
	f.waiter.Stop()
	f.waiting = false
}

// stepAside takes a step on a goroutine of its own: it reads, if it shall, and
// then answers or has a place in the hub.
func (f *fetch) stepAside(reads bool) {
	if reads {
		f.server.reading <- struct{}{}
	}
	f.step.Add(1)
	go f.stepAlone(reads)
	f.step.Wait()
	if f.failed != nil {
		panic(f.failed)
	}
}

func (f *fetch) stepAlone(reads bool) {
	defer f.step.Done()
	defer f.rescue()
	more, err := false, error(nil)
	if reads {
		if more, err = f.read(); f.waiting {
			return
		}
	}
	f.answer(more, err)
	if f.w.Header()["Content-Length"] != nil {
		// Else the goroutine of the request would send it, with all the stack
		// that this takes. Without a length this would make the answer chunked.
		_ = http.NewResponseController(f.w).Flush()
	}
}

// rescue hands a panic of the step on to the goroutine of the request.
func (f *fetch) rescue() {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, compared as net/http does
		p = fmt.Sprintf("%v, at\n%s", p, debug.Stack())
	}
	if f.failed = p; f.waiting {
		f.leave()
	}
}

// read reads until there are records or there is nothing to wait for, or gets a
// place in the hub.
func (f *fetch) read() (more bool, err error) {
	defer func() { <-f.server.reading }()
	for ctx := f.r.Context(); ; {
		more, err = f.from.Next(ctx, f.page.take)
		if err != nil || f.page.records || f.over() {
			return more, err
		}
		f.from.wait(f.waiter)
		f.waiting = true
		// What this proxy wrote between the read and the registration wakes
		// nobody; what others wrote, the hub finds out. Nor does a drain, or the
		// end of the time.
		moved, err := f.from.Moved(ctx)
		if err == nil && !moved && !f.over() {
			return false, nil
		}
		if f.leave(); err != nil || !moved {
			return false, err
		}
	}
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
