package handlers

import (
	"context"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// source is where the records of a fetch come from: a partition (store.Reader)
// or all partitions of a topic.
type source interface {
	// Next hands out the next records and reports whether there may be more.
	Next(ctx context.Context, take func(b *store.Batch, from, to int) error) (more bool, err error)
	// Moved reports whether there may be records behind what Next has found, as
	// far as this proxy wrote them.
	Moved(ctx context.Context) (bool, error)
}

// untilRecords reads until there are records, or waitMS is over, and reports
// whether there may be more. wait registers interest in what follows the ends
// that the source has seen. Between two reads nothing is held but the place in
// the hub (rule F4).
func (s *server) untilRecords(ctx context.Context, waitMS int64, from source, p *page, wait func() *wake.Waiter) (more bool, err error) {
	more, err = from.Next(ctx, p.take)
	if err != nil || p.records || waitMS == 0 {
		return more, err
	}
	timeout := time.NewTimer(time.Duration(waitMS) * time.Millisecond)
	defer timeout.Stop()
	for {
		again, err := s.waitFor(ctx, from, wait(), timeout.C)
		if err != nil || !again {
			return false, err
		}
		if more, err = from.Next(ctx, p.take); err != nil || p.records {
			return more, err
		}
	}
}

// waitFor waits until there may be records, and reports whether to read again:
// if not, there is nothing to wait for any more.
func (s *server) waitFor(ctx context.Context, from source, waiter *wake.Waiter, timeout <-chan time.Time) (bool, error) {
	defer waiter.Stop()
	// What this proxy wrote between the last read and the registration wakes
	// nobody; what others wrote, the hub finds out.
	if moved, err := from.Moved(ctx); err != nil || moved {
		return moved, err
	}
	select {
	case <-waiter.Woken():
		return true, nil
	case <-timeout:
	case <-s.draining:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}
