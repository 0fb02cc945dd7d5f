package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// source is where the records of a fetch come from: a partition or all
// partitions of a topic.
type source interface {
	// Next hands out the next records and reports whether there may be more.
	Next(ctx context.Context, take func(b *store.Batch, from, to int) error) (more bool, err error)
	// moved reports whether there may be records behind what Next has found, as
	// far as this proxy wrote them.
	moved(ctx context.Context) (bool, error)
	// wait lets w wait for what follows the ends that Next has seen.
	wait(w *wake.Waiter)
	// appendEnd appends the fields that follow the records in the answer.
	appendEnd(b []byte) []byte
}

// fetch is a fetch that is being answered. Ten thousand of them may wait, so
// what it holds while it waits is what counts: its place in the hub (rule F4),
// and neither a header nor a buffer of the answer.
type fetch struct {
	server *server
	w      http.ResponseWriter
	r      *http.Request
	from   source
	page   page
	waitMS int64

	// Where the fetch goes past the router; zero where that and what follows it
	// do all this.
	observed
	operation *operation
	compress  func(http.Handler) http.HandlerFunc
}

// newFetch returns a fetch that still needs a place for its answer.
func (s *server) newFetch(r *http.Request, from source, waitMS int64) *fetch {
	return &fetch{server: s, r: r, from: from, page: page{server: s}, waitMS: waitMS}
}

// run answers the fetch: when there are records, or the time to wait is over.
func (f *fetch) run() {
	defer f.page.close()
	if f.waitMS > 0 {
		f.answer(f.await())
		return
	}
	f.answer(f.from.Next(f.r.Context(), f.page.take))
}

// await reads until there are records. It ends without any when the time to
// wait is over, or the program is about to stop.
func (f *fetch) await() (more bool, err error) {
	timeout := time.NewTimer(time.Duration(f.waitMS) * time.Millisecond)
	defer timeout.Stop()
	waiter := f.server.hub.Waiter()
	defer waiter.Stop()
	for {
		read := f.readAside(waiter)
		if !read.waits {
			return read.more, read.err
		}
		select {
		case <-waiter.Woken():
			waiter.Stop() // it does not wait while it reads
			if f.server.isDraining() {
				return false, nil
			}
		case <-timeout.C:
			select {
			case <-waiter.Woken(): // at the same moment
				waiter.Stop()
				read := f.readAside(waiter)
				return read.more, read.err
			default:
				return false, nil
			}
		case <-f.r.Context().Done():
			return false, f.r.Context().Err()
		}
	}
}

// found is what a fetch that may wait has read.
type found struct {
	more  bool // there may be more records than the page has
	err   error
	waits bool // there are none, and the waiter waits for some
}

// maxReading is how many fetches that may wait read at a time. When ten thousand
// are woken at once, the others need no stack to read with until it is their
// turn.
const maxReading = 64

// readAside reads on a goroutine that ends with it. One that has asked the
// database has four times the stack of one that only waits, and keeps it.
func (f *fetch) readAside(waiter *wake.Waiter) found {
	select {
	case f.server.reading <- struct{}{}:
	case <-f.r.Context().Done():
		return found{err: f.r.Context().Err()}
	}
	var read found
	aside(func() {
		defer func() { <-f.server.reading }()
		read = f.read(waiter)
	})
	return read
}

// read reads until there are records, or an error; else it lets the waiter wait
// for some.
func (f *fetch) read(waiter *wake.Waiter) found {
	for ctx := f.r.Context(); ; {
		more, err := f.from.Next(ctx, f.page.take)
		if err != nil || f.page.records {
			return found{more: more, err: err}
		}
		f.from.wait(waiter)
		// What this proxy wrote between the read and the registration wakes
		// nobody; what others wrote, the hub finds out. Nor does a drain.
		moved, err := f.from.moved(ctx)
		if err != nil || !moved {
			return found{err: err, waits: err == nil && !f.server.isDraining()}
		}
		waiter.Stop()
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
