// Package wait waits, but never beyond the end of a context.
package wait

import (
	"context"
	"time"
)

// pollTime is how often Until looks.
const pollTime = 2 * time.Millisecond

// For waits for d. It returns false if ctx ends first.
func For(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Until waits until done returns true; it returns false if ctx ends first.
func Until(ctx context.Context, done func() bool) bool {
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}
