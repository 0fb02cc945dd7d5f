package wake

import (
	"context"
	"time"
)

const (
	// maxPause is the longest that a slow poll makes the next one wait.
	maxPause = 500 * time.Millisecond
	// errorPause is the pause after a poll that failed.
	errorPause = 250 * time.Millisecond
)

// loop polls for what list returns, and then pauses for as long as poll says,
// until ctx ends. While list is empty it waits for arrived, which has a token
// when that may have changed.
func loop[T any](ctx context.Context, arrived <-chan struct{}, list func() []T, poll func(context.Context, []T) time.Duration) {
	for {
		wanted := list()
		if len(wanted) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-arrived:
				continue
			}
		}
		pause := poll(ctx, wanted)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// pacer keeps polling at a tenth of the time at the most: what polls take on
// average, nine times over, is the pause after each. A single slow one, because
// somebody else had the processor, must not blind the readers for long: on a
// busy machine there is always one.
type pacer struct{ average time.Duration }

// pause returns how long to rest after a poll, every at the least.
func (p *pacer) pause(every, took time.Duration) time.Duration {
	p.average += (took - p.average) / 8
	return min(max(every, 9*p.average), maxPause)
}
