package network

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	pollTime        = 20 * time.Millisecond // between two looks at something
	shortWait       = 50 * time.Millisecond
	maxRecorded     = 32 << 20
	patience        = 30 * time.Second       // with an answer that nobody hears
	readingPatience = time.Second            // with one that only reads, and may have no end
	captureTime     = 200 * time.Millisecond // of a stream whose sender may wait for answers
)

// A recording is a copy of a message, which may be read while it is made.
type recording struct {
	mu    sync.Mutex
	more  *sync.Cond
	bytes []byte // guarded by mu while it is made
	ended bool   // guarded by mu
	whole bool   // guarded by mu
}

func newRecording() *recording {
	r := &recording{}
	r.more = sync.NewCond(&r.mu)
	return r
}

func (r *recording) add(piece []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bytes) <= maxRecorded {
		r.bytes = append(r.bytes, piece...)
		r.more.Broadcast()
	}
}

// end ends the recording; the first end counts.
func (r *recording) end(whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended, r.whole = true, whole && len(r.bytes) <= maxRecorded
		r.more.Broadcast()
	}
}

// from waits for what comes behind the first n bytes; nil is the end.
func (r *recording) from(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.bytes) == n && !r.ended {
		r.more.Wait()
	}
	return r.bytes[n:]
}

func (r *recording) all() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

func (r *recording) isWhole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.whole
}

// hold takes a request from its client, breaks the connection, and has it arrive later.
func (c *conn) hold(x *exchange, head []byte, from *body) error {
	longest := patience
	if from.chunked {
		longest = captureTime
	}
	_ = c.client.SetReadDeadline(time.Now().Add(longest))
	keep := newRecording()
	keep.add(head)
	err := c.way.copy(bufio.NewWriter(io.Discard), from, nil, keep)
	keep.end(err == nil)
	if err != nil && !from.chunked {
		return err
	}
	if x.about.teaches {
		c.network.events.learn(&x.about, keep)
	}
	c.network.repeat(c.way, x, keep)
	c.cut(x.reset)
	return errCut
}

// repeat has a copy of a request arrive when its plan says so: at once, after a while, or past an event.
func (n *Network) repeat(w *way, x *exchange, keep *recording) {
	x.owed = false
	var m moment
	var waits *waiter
	if x.fault == Again || x.fault == Late {
		m = choose(n.events.moments(&x.about), x.pick)
	}
	if x.fault != Parallel {
		waits = n.events.wait(m, &x.about)
	}
	n.running.Go(func() {
		defer n.settled()
		if waits == nil {
			n.repeated(x.fault.String(), x)
			n.deliver(w, x, keep)
			return
		}
		came := n.await(x.wait, m, waits)
		if n.ctx.Err() != nil {
			return
		}
		name := x.fault.String()
		if came {
			name += " " + m.name
		}
		n.note(name, x.String())
		n.repeated(name, x)
		n.deliver(w, x, keep)
	})
}

// repeated tells of a request that arrives once more; one that is late arrives once.
func (n *Network) repeated(fault string, x *exchange) {
	if n.cfg.Repeated != nil && x.fault != Late {
		n.cfg.Repeated(fault, x.req)
	}
}

// choose picks one of the moments; in a fifth of the cases none, which is a time.
func choose(all []moment, pick float64) moment {
	const byTime = 0.2
	if len(all) == 0 || pick < byTime {
		return moment{}
	}
	return all[int((pick-byTime)/(1-byTime)*float64(len(all)))]
}

// await waits for a moment, or for the clock, and reports whether the event came.
func (n *Network) await(wait time.Duration, m moment, w *waiter) bool {
	defer n.events.leave(m, w)
	longest := wait
	if m.event != "" {
		longest = n.cfg.Latest
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case came := <-w.came:
		if came {
			n.wait(min(wait/200, shortWait)) // at once, or in the middle of what comes next
		}
		return came
	case <-timer.C:
	case <-n.ctx.Done():
	}
	return false
}

// deliver sends a request to its proxy or to another, and throws the answer away.
func (n *Network) deliver(w *way, x *exchange, keep *recording) {
	server := n.reach(w)
	if server == nil {
		return
	}
	defer context.AfterFunc(n.ctx, func() { _ = server.Close() })()
	result := "lost"
	if status := n.exchange(server, x, keep); status != 0 {
		result = fmt.Sprintf("%dxx", status/100)
	}
	n.count(x.name() + ": " + result)
}

// name is what a delivery is counted under when it was answered.
func (x *exchange) name() string {
	switch x.fault {
	case Again, Late:
		return x.fault.String()
	default:
		return Soon.String()
	}
}

// reach connects to a proxy, in half of the cases to that of the way; nil if the network ends first.
func (n *Network) reach(w *way) net.Conn {
	n.mu.Lock()
	if n.random.IntN(2) == 0 {
		w = n.ways[n.random.IntN(len(n.ways))]
	}
	n.mu.Unlock()
	for i := w.number; ; i++ {
		w = n.ways[i%len(n.ways)]
		if w.isFree() {
			if server, err := w.dial(n.ctx); err == nil {
				return server
			}
		}
		if !n.wait(pollTime) {
			return nil
		}
	}
}

// exchange sends what is recorded and returns the status of the answer; 0: there was none.
func (n *Network) exchange(server net.Conn, x *exchange, keep *recording) int {
	sent := make(chan struct{})
	n.running.Go(func() {
		defer close(sent)
		for at := 0; ; {
			piece := keep.from(at)
			if len(piece) == 0 {
				break
			}
			if _, err := server.Write(piece); err != nil {
				break
			}
			at += len(piece)
		}
		limit := patience
		switch {
		case !keep.isWhole():
			limit = 0
		case !x.about.writes:
			limit = readingPatience
		}
		_ = server.SetReadDeadline(time.Now().Add(limit))
	})
	defer func() { <-sent }()
	defer server.Close() //nolint:errcheck // whatever it says, it is over
	answers := bufio.NewReader(server)
	resp, err := http.ReadResponse(answers, x.req)
	for err == nil && resp.StatusCode < 200 { // 100 was asked for
		resp, err = http.ReadResponse(answers, x.req)
	}
	if err != nil {
		return 0
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the error is another
	if x.about.asksFor(resp) {
		n.events.announce(x, resp, resp.Body)
	} else {
		n.events.announce(x, resp, nil)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err != nil && x.about.writes {
		return 0
	}
	return resp.StatusCode
}
