// Package client is the part of the examples that speaks HTTP with eos-proxy: it sends a request until it is
// answered. It knows which requests may be sent again; what they mean is its callers' affair.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// How long a client waits before it sends a request again, unless the answer says: the first time, and at
// most.
const (
	FirstWait   = 20 * time.Millisecond
	LongestWait = time.Second
)

// Client speaks HTTP with the proxies over one database. Any of them can answer any request, so it takes them
// in turn.
type Client struct {
	HTTP *http.Client
	URLs []string // of the proxies, without a slash at the end

	// Again is told of each attempt that had no answer or one that is to be tried again; nil tells nobody.
	Again func(r *Request, err error)

	turn atomic.Uint64
}

// Request is one request, as bytes: sending it again sends the same bytes. To write the body anew would be
// to ask for something else.
type Request struct {
	Method, Path string
	Header       map[string]string
	Body         []byte // JSON; nil for none
}

// Problem is a refusal of the proxy (application/problem+json).
type Problem struct {
	Status           int    `json:"-"`
	Code             string `json:"code"` // Kafka's name of it
	Detail           string `json:"detail"`
	Retryable        bool   `json:"retryable"` // whether to send the unchanged request again
	Effect           string `json:"effect"`    // "none" or "unknown"
	ExpectedSequence *int64 `json:"expected_sequence"`

	retryAfter time.Duration // 0 when the proxy does not say
}

func (p *Problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// Send sends a request once and decodes its answer; a nil answer is not looked at. The error is a *Problem
// when the proxy refused. Any other error means that nobody knows whether the request did something: the
// answer was lost, or the request on its way, and these two cannot be told apart.
func (c *Client) Send(ctx context.Context, r *Request, answer any) error {
	url := c.URLs[c.turn.Add(1)%uint64(len(c.URLs))]
	req, err := http.NewRequestWithContext(ctx, r.Method, url+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return err
	}
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the error is another
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("the answer broke off: %w", err)
	case resp.StatusCode < 300 && answer == nil:
		return nil
	case resp.StatusCode < 300:
		if err := json.Unmarshal(body, answer); err != nil {
			return fmt.Errorf("the answer is not what it should be: %w", err)
		}
		return nil
	}
	p := &Problem{Status: resp.StatusCode}
	if err := json.Unmarshal(body, p); err != nil || p.Code == "" {
		return fmt.Errorf("status %d from somebody who is not the proxy", resp.StatusCode)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		p.retryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// SendUntilAnswered sends a request again and again, until a proxy has done it or has refused it for a
// reason that will still be there next time; that is the *Problem it returns then. It gives up when ctx
// ends, and never because of a lost answer, a 429, 500 or 503: after these only the same request again can
// tell what happened.
func (c *Client) SendUntilAnswered(ctx context.Context, r *Request, answer any) error {
	for wait := FirstWait; ; wait = min(2*wait, LongestWait) {
		err := c.Send(ctx, r, answer)
		if err == nil {
			return nil
		}
		pause := wait
		var p *Problem
		if errors.As(err, &p) {
			if !p.Retryable {
				return err
			}
			pause = max(pause, p.retryAfter)
		}
		if ctx.Err() == nil && c.Again != nil {
			c.Again(r, err)
		}
		// Not all at the same moment: a proxy that comes back has enough to do.
		if err := Sleep(ctx, pause+rand.N(pause/4)); err != nil {
			return err
		}
	}
}

// SendJSON encodes a body, once, and sends the request with it as SendUntilAnswered does; a nil body is none.
func (c *Client) SendJSON(ctx context.Context, r Request, body, answer any) (err error) {
	if body != nil {
		if r.Body, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return c.SendUntilAnswered(ctx, &r, answer)
}

// RefusalCode returns the code of a refusal; empty for any other error, and for none.
func RefusalCode(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// Sleep waits for d, or for the end of ctx, whose error it returns.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
