package appender

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

func TestStopRefusesAllThatWaitsAndAllThatComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{}, 2)
		a := newRunning(t, log, Config{SequenceWait: time.Hour})
		log.hold <- struct{}{}
		log.hold <- struct{}{}
		early, follows := a.send(t.Context(), sequenced(9, 1)), a.send(t.Context(), sequenced(1, 1))
		inFlush, queued := a.send(t.Context(), sequenced(0, 1)), a.send(t.Context(), anonymous())
		stopped := make(chan struct{})
		go func() {
			a.stop()
			close(stopped)
		}()
		synctest.Wait()
		mustBeOpen(t, inFlush) // its fate is decided by the log, not by the stop
		log.hold <- struct{}{}
		<-stopped
		mustSucceed(t, inFlush)
		for name, s := range map[string]*sent{"early": early, "its turn has come": follows, "queued": queued, "new": a.send(t.Context(), anonymous())} {
			o := <-s.answer
			var refusal *eos.Error
			if !errors.As(o.Err, &refusal) || refusal.Kind != eos.Unavailable || refusal.Effect != eos.EffectNone {
				t.Errorf("%s: %v", name, o.Err)
			}
		}
		if got := log.flushed(); len(got) != 3 {
			t.Errorf("flushes: %v", got)
		}
	})
}

func TestStopEndsUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.takes = time.Millisecond
		a := newRunning(t, log, Config{})
		var clients sync.WaitGroup
		for range 8 {
			// A client whose next request is there before the last flush has ended.
			clients.Go(func() {
				for err := error(nil); err == nil; {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond/2)
					if _, err = a.Append(ctx, "a", -1, anonymous(), values(1)); errors.Is(err, context.DeadlineExceeded) {
						err = nil
					}
					cancel()
				}
			})
		}
		<-time.After(100 * time.Millisecond)
		start := time.Now()
		a.stop()
		if took := time.Since(start); took > 2*time.Millisecond {
			t.Errorf("Run ended %v after its context", took)
		}
		clients.Wait()
	})
}

func TestACallerThatLeavesDisturbsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		log.hold = make(chan struct{})
		a := newRunning(t, log, Config{SequenceWait: time.Second})
		ctx, leave := context.WithCancel(t.Context())
		inFlush := a.send(ctx, sequenced(0, 1))
		queued, early := a.send(ctx, sequenced(1, 1)), a.send(ctx, sequenced(4, 1))
		stays := a.send(t.Context(), sequenced(2, 1))
		leave()
		for _, s := range []*sent{inFlush, queued, early} {
			if o := <-s.answer; !errors.Is(o.Err, context.Canceled) {
				t.Errorf("the caller who left: %v", o.Err)
			}
		}
		close(log.hold)
		if r := mustSucceed(t, stays); r.NextSequence != 3 {
			t.Errorf("next sequence %d", r.NextSequence)
		}
		// What they left behind goes on.
		mustSucceed(t, a.send(t.Context(), sequenced(3, 1)))
		if r := mustSucceed(t, a.send(t.Context(), sequenced(5, 1))); r.NextSequence != 6 {
			t.Errorf("next sequence %d", r.NextSequence)
		}
	})
}

// RunAside may take what is set aside at the moment at which Run takes it back.
func TestStopDoesNotWaitForWhatRunAsideHasTaken(t *testing.T) {
	t.Parallel()
	for range 20_000 {
		a := New(newMemory(), Config{})
		a.setAside([]*waiting{{op: &store.Op{}, outcome: make(chan store.Outcome, 1)}})
		start, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			<-start
			a.stop()
		}()
		close(start)
		select {
		case <-a.aside:
		case <-stopped:
		}
		select {
		case <-stopped:
		case <-time.After(10 * time.Second):
			t.Fatal("stop waits")
		}
	}
}
