package proxies_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// fleet is the proxies as their clients see them: any of them will do.
type fleet struct {
	proxies []*proxy
	http    *http.Client
	turn    atomic.Uint64

	mu       sync.Mutex
	statuses map[int]int // answers by status, 0 for none; guarded by mu
	faults   []string    // answers that no client should get; guarded by mu
}

func newFleet(proxies ...*proxy) *fleet {
	return &fleet{
		proxies: proxies, statuses: map[int]int{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
}

// next returns the address of the next proxy in turn.
func (f *fleet) next() string { return f.proxies[f.turn.Add(1)%uint64(len(f.proxies))].url }

// request is what a client sends, the same bytes each time.
type request struct {
	method, path string
	header       map[string]string
	body         any // JSON; nil for none
}

// send sends a request to one proxy after the other until it is answered with
// another status than 503, and returns status and body. It reads into answer
// what succeeded. Status 0 says that ctx has ended.
func (f *fleet) send(ctx context.Context, r request, answer any) (int, string) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			panic(err) // the test's own values
		}
	}
	for ctx.Err() == nil {
		status, got, err := f.try(ctx, r, body)
		switch {
		case err != nil || status == http.StatusServiceUnavailable:
			// A proxy that is stopped, starts, or has lost its database.
		case status == http.StatusNoContent, status < 300 && json.Unmarshal(got, answer) == nil:
			return status, string(got)
		case status < 300 || status >= 500:
			f.blame("%s %s: %d %s", r.method, r.path, status, got)
			return status, string(got)
		default:
			return status, string(got)
		}
		wait(ctx, 10*time.Millisecond)
	}
	return 0, ctx.Err().Error()
}

// must is send of a request that nothing but the want statuses can answer.
func (f *fleet) must(ctx context.Context, r request, answer any, want ...int) bool {
	status, got := f.send(ctx, r, answer)
	if slices.Contains(want, status) {
		return true
	}
	if ctx.Err() == nil && status < 500 { // else it is told already
		f.blame("%s %s: %d %s, want %v", r.method, r.path, status, got, want)
	}
	return false
}

func (f *fleet) try(ctx context.Context, r request, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, r.method, f.next()+r.path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	resp, err := f.http.Do(req)
	if err == nil {
		status = resp.StatusCode
		answer, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it is read
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		status = 0
	}
	f.statuses[status]++
	return status, answer, err
}

// blame takes note of what fails the test.
func (f *fleet) blame(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

// wait waits for d, or for the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
