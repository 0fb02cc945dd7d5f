package main

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
	"time"
)

// How long a client waits before it sends a request again, unless the answer says: the first time, and at
// most.
const (
	firstWait   = 20 * time.Millisecond
	longestWait = time.Second
)

// client speaks HTTP with the proxy. It knows which requests may be sent again; what they mean is till.go's
// and consumer.go's affair.
type client struct {
	http *http.Client
	url  string // of the proxy, without a slash at the end
}

// request is one request, as bytes: sending it again sends the same bytes. To write the body anew would be
// to ask for something else.
type request struct {
	method, path string
	header       map[string]string
	body         []byte // JSON; nil for none
}

// problem is a refusal of the proxy (application/problem+json).
type problem struct {
	Status           int    `json:"-"`
	Code             string `json:"code"` // Kafka's name of it
	Detail           string `json:"detail"`
	Retryable        bool   `json:"retryable"` // whether to send the unchanged request again
	Effect           string `json:"effect"`    // "none" or "unknown"
	ExpectedSequence *int64 `json:"expected_sequence"`

	retryAfter time.Duration // 0 when the proxy does not say
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// send sends a request once and decodes its answer. The error is a *problem when the proxy refused. Any
// other error means that nobody knows whether the request did something: the answer was lost, or the request
// on its way, and these two cannot be told apart.
func (c *client) send(ctx context.Context, r request, answer any) error {
	req, err := http.NewRequestWithContext(ctx, r.method, c.url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the error is another
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode < 300 {
		if err := json.Unmarshal(body, answer); err != nil {
			return fmt.Errorf("the answer is not what it should be: %w", err)
		}
		return nil
	}
	p := &problem{Status: resp.StatusCode}
	if err := json.Unmarshal(body, p); err != nil || p.Code == "" {
		return fmt.Errorf("status %d from somebody who is not the proxy", resp.StatusCode)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		p.retryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// sendUntilAnswered sends a request again and again, until the proxy has done it or has refused it for a
// reason that will still be there next time; that is the *problem it returns then. It gives up when ctx
// ends, and never because of a lost answer, a 429, 500 or 503: after these only the same request again can
// tell what happened.
func (c *client) sendUntilAnswered(ctx context.Context, r request, answer any) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := c.send(ctx, r, answer)
		if err == nil {
			return nil
		}
		pause := wait
		var p *problem
		if errors.As(err, &p) {
			if !p.Retryable {
				return err
			}
			pause = max(pause, p.retryAfter)
		}
		// Not all at the same moment: a proxy that comes back has enough to do.
		if err := sleep(ctx, pause+rand.N(pause/4)); err != nil {
			return err
		}
	}
}

// sleep waits for d, or for the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
