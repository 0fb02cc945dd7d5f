package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// progress is how far the tills are.
type progress struct {
	places       []atomic.Int64 // in the book of each till
	acknowledged atomic.Int64   // requests
	deaths       atomic.Int64   // of tills
}

func newProgress(tills int) *progress { return &progress{places: make([]atomic.Int64, tills)} }

// reach notes that a till has worked its book off up to place. Two that both take themselves for that till
// may call it.
func (p *progress) reach(till, place int, acknowledged bool) {
	if acknowledged {
		p.acknowledged.Add(1)
	}
	at := &p.places[till]
	for old := at.Load(); int64(place) > old && !at.CompareAndSwap(old, int64(place)); old = at.Load() {
	}
}

// sent returns how many purchases the tills have sent, with success or without.
func (p *progress) sent() int {
	n := 0
	for i := range p.places {
		n += int(p.places[i].Load())
	}
	return n
}

// display shows text as one line that changes, on a terminal; elsewhere as a line now and then. When ctx
// ends it clears its line.
func display(ctx context.Context, out io.Writer, text func() string) {
	interval, before, after := 5*time.Second, "  ", "\n"
	if isTerminal(out) {
		interval, before, after = 100*time.Millisecond, "\r\x1b[K  ", ""
		defer fmt.Fprint(out, "\r\x1b[K")
	}
	for client.Sleep(ctx, interval) == nil {
		fmt.Fprint(out, before+text()+after)
	}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
