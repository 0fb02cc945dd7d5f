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
	"sync/atomic"
	"time"
)

// How long a client waits before it sends a request again: the first time, and at most.
const (
	firstWait   = 10 * time.Millisecond
	longestWait = 500 * time.Millisecond
)

// client speaks HTTP with any number of proxies, with another one each time: none of them keeps anything
// that the others do not know.
type client struct {
	http *http.Client
	urls []string // of the proxies, without a slash at the end
	turn atomic.Uint64
}

// request is one request. Sending it again sends the same bytes.
type request struct {
	method, path string
	header       map[string]string
	body         any // JSON; nil for none
}

// problem is a refusal (application/problem+json).
type problem struct {
	Status    int    `json:"-"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// refusedAs reports whether err is a refusal with one of the codes.
func refusedAs(err error, codes ...string) bool {
	var p *problem
	if !errors.As(err, &p) {
		return false
	}
	for _, code := range codes {
		if p.Code == code {
			return true
		}
	}
	return false
}

// send sends a request until it is done, or is refused for a reason that stays: the *problem that it returns
// then. After a lost answer or a 503 nobody knows more than before, and only the same request again can tell.
// It gives up when ctx ends.
func (c *client) send(ctx context.Context, r request, answer any) error {
	body, err := json.Marshal(r.body)
	if err != nil {
		return err
	}
	if r.body == nil {
		body = nil
	}
	for pause := firstWait; ; pause = min(2*pause, longestWait) {
		err := c.try(ctx, r, body, answer)
		var p *problem
		if err == nil || errors.As(err, &p) && !p.Retryable {
			return err
		}
		if err := sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return err
		}
	}
}

// try sends a request once, to the next proxy.
func (c *client) try(ctx context.Context, r request, body []byte, answer any) error {
	url := c.urls[c.turn.Add(1)%uint64(len(c.urls))]
	req, err := http.NewRequestWithContext(ctx, r.method, url+r.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the error is another
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode < 300 {
		return json.Unmarshal(got, answer)
	}
	p := &problem{Status: resp.StatusCode}
	if err := json.Unmarshal(got, p); err != nil || p.Code == "" {
		return fmt.Errorf("status %d from somebody who is not the proxy", resp.StatusCode)
	}
	return p
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
