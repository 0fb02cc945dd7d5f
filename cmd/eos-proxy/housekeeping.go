package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// How often housekeeping looks for expired transactions, every how many of these rounds it counts what is
// open, sweeps dropped logs, and counts everything that has a cap; and how much it does in one SQL transaction.
const (
	housekeepingInterval = 250 * time.Millisecond
	roundsPerCount       = 4
	roundsPerSweep       = 4
	roundsPerFullCount   = 240
	sweepBatches         = 1000
	abortAtOnce          = 200
)

// How long retention rests when there is nothing to do, and after each step of its work at the least; how many
// batches it deletes in one SQL transaction.
const (
	retentionInterval = time.Second
	retentionPause    = 10 * time.Millisecond
	trimBatches       = 2000
)

// housekeeping does what no request does: it aborts transactions that are past their timeout and deletes the
// batches of dropped logs, and in a loop of its own what topics do not keep any longer and what nobody needs any
// more. Any number of proxies may do so at once.
type housekeeping struct {
	store   *store.Store
	metrics *handlers.Metrics
	log     *slog.Logger
}

// Run works until ctx ends.
func (h *housekeeping) Run(ctx context.Context) error {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for round := 0; ; round++ {
		if err := h.pass(ctx, round); err != nil && ctx.Err() == nil {
			h.log.Warn("housekeeping", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// pass does each duty that is due in a round, whatever becomes of the others.
func (h *housekeeping) pass(ctx context.Context, round int) error {
	err := h.metrics.Done(handlers.DutyTransactions, h.abortExpired(ctx))
	if round%roundsPerCount == 0 {
		open, countErr := h.store.CountOpen(ctx)
		if countErr == nil {
			h.metrics.Open(open)
		}
		err = errors.Join(err, countErr)
	}
	if round%roundsPerSweep == 0 {
		_, sweepErr := h.store.Sweep(ctx, sweepBatches)
		err = errors.Join(err, sweepErr)
	}
	if round%roundsPerFullCount == 0 {
		err = errors.Join(err, h.store.Count(ctx))
	}
	return err
}

// RunRetention works until ctx ends, half of the time at the most: records that leave must not crowd out those
// that come.
func (h *housekeeping) RunRetention(ctx context.Context) error {
	for {
		start := time.Now()
		more, err := h.retain(ctx)
		if err != nil && ctx.Err() == nil {
			h.log.Warn("retention", "error", err)
		}
		pause := retentionInterval
		if more && err == nil {
			pause = max(time.Since(start), retentionPause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// retain does one step of each duty of retention, and reports whether there is more to do at once.
func (h *housekeeping) retain(ctx context.Context) (more bool, err error) {
	starts, retainErr := h.store.Retain(ctx)
	trimmed, trimErr := h.store.Trim(ctx, trimBatches)
	_, old, forgetErr := h.store.ForgetOld(ctx)
	return starts || trimmed > 0 || old, errors.Join(
		h.metrics.Done(handlers.DutyRetention, retainErr),
		h.metrics.Done(handlers.DutyTrim, trimErr),
		h.metrics.Done(handlers.DutyForget, forgetErr),
	)
}

func (h *housekeeping) abortExpired(ctx context.Context) error {
	for {
		expired, err := h.store.AbortExpired(ctx, abortAtOnce)
		h.metrics.TimedOut(expired)
		if err != nil || expired < abortAtOnce {
			return err
		}
	}
}
