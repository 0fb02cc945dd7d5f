package traffic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// hand is what a history calls a process: it sends one request after the other, over connections of its own.
type hand struct {
	t      *Traffic
	name   string
	rand   *rand.Rand
	client *http.Client
	sent   *atomic.Int64 // bytes that its connections took
	proxy  int           // the last one
	body   bytes.Buffer  // of the last answer
	second *hand         // for two requests at once; nil until it is used
}

// newHand returns a hand that is closed in the end.
func (t *Traffic) newHand(name string) *hand {
	h := &hand{t: t, name: name, rand: t.random(name), sent: new(atomic.Int64)}
	h.proxy = h.rand.IntN(max(1, len(t.cfg.Proxies)))
	h.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &countingConn{c, h.sent}, nil
			},
			DisableCompression:  true,
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h
}

func (h *hand) close() {
	h.client.CloseIdleConnections()
	if h.second != nil {
		h.second.close()
	}
}

// other returns the second hand of the same client.
func (h *hand) other() *hand {
	if h.second == nil {
		h.second = h.t.newHand(h.name + "b")
	}
	return h.second
}

// goesOn reports whether clients still begin something new.
func (h *hand) goesOn() bool {
	select {
	case <-h.t.over:
		return false
	default:
		return true
	}
}

// rest waits for a while, unless clients are to end.
func (h *hand) rest(ctx context.Context, least, most time.Duration) {
	rest(ctx, h.t.over, least+time.Duration(h.rand.Int64N(int64(most-least)+1)))
}

// chance reports whether what happens n times in a thousand happens now.
func (h *hand) chance(n int) bool { return h.rand.IntN(1000) < n }

// move goes to another proxy, if there is one.
func (h *hand) move() {
	if n := len(h.t.cfg.Proxies); n > 1 {
		h.proxy = (h.proxy + 1 + h.rand.IntN(n-1)) % n
	}
}

// countingConn counts what is written, so that it is known of a request that not a byte of it was.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// request is what goes over the wire.
type request struct {
	method, path string
	header       http.Header
	body         io.Reader // nil: none
	length       int64     // -1: in chunks
}

// begin sends a request and returns its answer, whose body is not read yet.
func (h *hand) begin(ctx context.Context, r *request) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, r.method, h.t.cfg.Proxies[h.proxy]+r.path, nil)
	if err != nil {
		return nil, err
	}
	if r.header != nil {
		q.Header = r.header
	}
	if r.body != nil {
		// Without GetBody the transport sends nothing again by itself: each attempt is one that is written down.
		q.Body, q.ContentLength = io.NopCloser(r.body), r.length
	}
	return h.client.Do(q)
}

// send sends the request of an attempt, reads all of its answer, and writes the attempt down. What is in the body of
// a success is for read to put into the attempt.
func (h *hand) send(ctx context.Context, a *history.Attempt, r *request, read func(*history.Attempt, []byte) error) {
	h.t.pacer.wait(ctx)
	ctx, cancel := context.WithTimeout(ctx, h.t.cfg.Timeout)
	defer cancel()
	if hasManyRecords(a.Kind) && h.chance(100) {
		r.header["Accept-Encoding"] = []string{encodings[h.rand.IntN(len(encodings))]}
	}
	h.started(a)
	before := h.sent.Load()
	var got answer
	resp, err := h.begin(ctx, r)
	if err == nil {
		got.status, got.replayed = resp.StatusCode, resp.Header.Get("Idempotent-Replayed") != ""
		got.encoding = resp.Header.Get("Content-Encoding")
		h.body.Reset()
		_, err = h.body.ReadFrom(resp.Body)
		err = errors.Join(err, resp.Body.Close())
		got.body = h.body.Bytes()
	}
	got.err, got.unsent = err, h.sent.Load() == before
	a.Returned = h.t.Now()
	got.classify(a, read)
	h.ended(a)
}

// started notes who sends an attempt, where to and when.
func (h *hand) started(a *history.Attempt) {
	a.Process, a.Proxy, a.Invoked = h.name, h.proxy, h.t.Now()
}

// ended writes an attempt down.
func (h *hand) ended(a *history.Attempt) {
	if a.Outcome == history.OK {
		if !onlyReads(a.Kind) {
			h.t.lastOK.Store(a.Returned)
			h.t.okBy.Store(wrote(a.Proxy), a.Invoked)
		}
		h.t.okBy.Store(a.Proxy, a.Invoked)
		h.t.okBy.Store(a.Kind, a.Invoked)
		if a.Produce != nil {
			h.t.sawPlaces(a.Produce.Places)
		}
		if a.Transaction != nil {
			h.t.sawPlaces(a.Transaction.Places)
		}
	}
	a.Error = shorten(a.Error)
	h.t.attempts.Add(1)
	if a.Try == 1 {
		h.t.tried.Add(1)
	}
	h.t.cfg.Writer.Write(history.Line{Attempt: a})
}

// hasManyRecords reports whether answers may be long.
func hasManyRecords(k history.Kind) bool {
	return k == history.KindFetch || k == history.KindCursor || k == history.KindPoll
}

// onlyReads reports whether a success says nothing of writes.
func onlyReads(k history.Kind) bool {
	switch k {
	case history.KindFetch, history.KindCursor, history.KindEvents,
		history.KindReceipt, history.KindTxn, history.KindOffsets:
		return true
	default:
		return false
	}
}

// shorten cuts a text that every line would be long of.
func shorten(text string) string {
	const most = 200
	text = strings.ToValidUTF8(text, "?")
	return text[:min(len(text), most)]
}
