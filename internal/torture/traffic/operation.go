package traffic

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// operation is what a client wants done: the same bytes in each of its attempts.
type operation struct {
	ask          history.Attempt // what each attempt asks for; the headers of identity are made from it
	method, path string
	media        string // Content-Type; empty: no body
	encoding     string // Content-Encoding
	recordKey    string // Record-Key; empty: none
	body         []byte
	read         func(*history.Attempt, []byte) error // of a success; nil: nothing is in it
	tries        atomic.Int64
}

const mediaJSON = "application/json"

// operation begins an operation.
func (h *hand) operation(ask history.Attempt, method, path string, body []byte) *operation {
	o := &operation{ask: ask, method: method, path: path, body: body}
	o.ask.Operation = h.t.operations.Add(1)
	if body != nil {
		o.media = mediaJSON
	}
	return o
}

// attempt returns a next attempt, which shares nothing with others that its answer writes to.
func (o *operation) attempt() *history.Attempt {
	a := o.ask
	a.Try = int(o.tries.Add(1))
	a.Produce = clone(a.Produce)
	a.Register = clone(a.Register)
	a.Transaction = clone(a.Transaction)
	a.Read = clone(a.Read)
	a.Member = clone(a.Member)
	a.Offsets = clone(a.Offsets)
	return &a
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// by returns the operation as it is asked for by another path.
func (o *operation) by(path string) *operation {
	other := &operation{
		ask: o.ask, method: o.method, path: path, media: o.media, encoding: o.encoding, body: o.body, read: o.read,
	}
	other.tries.Store(o.tries.Add(1) - 1)
	return other
}

// request returns what an attempt sends.
func (o *operation) request(a *history.Attempt) *request {
	r := &request{method: o.method, path: o.path, header: identity(a)}
	if o.media != "" {
		r.header["Content-Type"] = []string{o.media}
		r.body, r.length = bytes.NewReader(o.body), int64(len(o.body))
	}
	if o.recordKey != "" {
		r.header["Record-Key"] = []string{o.recordKey}
	}
	if o.encoding != "" {
		r.header["Content-Encoding"] = []string{o.encoding}
	}
	return r
}

// agent begins the User-Agent of each request; the number of its operation follows, so that what passes requests on can
// tell which it repeated.
const agent = "eos-torture/"

// identity returns the headers that tell an attempt's identity.
func identity(a *history.Attempt) http.Header {
	header := http.Header{"User-Agent": {agent + strconv.FormatInt(a.Operation, 10)}}
	switch {
	case a.Kind == history.KindReceipt:
	case a.Register != nil && a.Register.Key != "":
		header["Idempotency-Key"] = []string{a.Register.Key}
	case a.Produce != nil:
		p := a.Produce
		if p.Key != "" {
			header["Idempotency-Key"] = []string{p.Key}
		}
		if p.Producer != 0 {
			header["Producer-Id"] = []string{strconv.FormatInt(p.Producer, 10)}
			header["Producer-Epoch"] = []string{strconv.FormatInt(p.Epoch, 10)}
			header["Producer-Seq"] = []string{strconv.FormatInt(p.Sequence, 10)}
		}
		if p.Transaction != "" {
			header["Transaction-Id"] = []string{p.Transaction}
		}
	}
	return header
}

// try sends an attempt, from time to time to another proxy than the last.
func (h *hand) try(ctx context.Context, o *operation) *history.Attempt {
	a := o.attempt()
	if chance := 200; h.chance(chance) || a.Try > 1 && h.chance(2*chance) {
		h.move()
	}
	h.send(ctx, a, o.request(a), o.read)
	return a
}

// settle sends attempts until one tells what became of the operation, or ctx ends. It returns the last one.
func (h *hand) settle(ctx context.Context, o *operation) *history.Attempt {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		a := h.try(ctx, o)
		if settled(a) || ctx.Err() != nil {
			return a
		}
		h.move()
		rest(ctx, nil, wait/2+time.Duration(h.rand.Int64N(int64(wait))))
	}
}

// twice sends two attempts at once, from two hands to two proxies, and then more until the outcome is known.
func (h *hand) twice(ctx context.Context, o *operation) *history.Attempt {
	first, second := h.race(ctx, o, o)
	for _, a := range []*history.Attempt{first, second} {
		if settled(a) {
			return a
		}
	}
	return h.settle(ctx, o)
}

// race sends an attempt of each of two operations at once.
func (h *hand) race(ctx context.Context, mine, others *operation) (first, second *history.Attempt) {
	other := h.other()
	if other.proxy == h.proxy {
		other.move()
	}
	var both sync.WaitGroup
	both.Go(func() {
		a := others.attempt()
		other.send(ctx, a, others.request(a), others.read)
		second = a
	})
	a := mine.attempt()
	h.send(ctx, a, mine.request(a), mine.read)
	both.Wait()
	return a, second
}

// settleOnceOrTwice settles, in some cases with two attempts at once.
func (h *hand) settleOnceOrTwice(ctx context.Context, o *operation) *history.Attempt {
	if h.chance(20) {
		return h.twice(ctx, o)
	}
	return h.settle(ctx, o)
}

// shelf keeps operations that are done, to be repeated: some that are old, and some that are new.
type shelf struct{ kept []*operation }

// put keeps an operation, if its body is small.
func (s *shelf) put(h *hand, o *operation) {
	const most, small = 64, 8 << 10
	switch {
	case len(o.body) > small:
	case len(s.kept) < most:
		s.kept = append(s.kept, o)
	case h.chance(100): // the others stay, and become very old
		s.kept[h.rand.IntN(most)] = o
	default:
		s.kept[most-1] = o
	}
}

// any returns an operation, or nil if there is none.
func (s *shelf) any(h *hand) *operation {
	if len(s.kept) == 0 {
		return nil
	}
	return s.kept[h.rand.IntN(len(s.kept))]
}
