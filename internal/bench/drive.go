package bench

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// A sample is one measurement.
type sample struct {
	units   int64 // requests or records, as the work counts
	took    time.Duration
	latency histogram // of requests, or of what the work waits for
	cost    cost

	user    int64   // bytes of keys and values that were sent to be stored
	figure  float64 // what a work reports that is no rate: milliseconds, MiB, a ratio; see set
	figured bool    // reports whether figure was set
	notes   []string
	sizes   []int64 // of the database, from time to time
}

// rate returns units per second.
func (s *sample) rate() float64 { return float64(s.units) / s.took.Seconds() }

// set makes v what the sample is about, instead of its rate.
func (s *sample) set(v float64) { s.figure, s.figured = v, true }

// value returns what was set, or the rate.
func (s *sample) value() float64 {
	if s.figured {
		return s.figure
	}
	return s.rate()
}

// merge adds what was done beside it.
func (s *sample) merge(other *sample) {
	s.units += other.units
	s.user += other.user
	s.took = max(s.took, other.took)
	s.latency.merge(&other.latency)
}

// A maker appends the n-th request of one connection.
type maker func(b []byte, n int64) []byte

// numbered makes requests that differ in one number, n*step, which stands between head and tail.
func numbered(head, tail string, step int64) maker {
	return func(b []byte, n int64) []byte {
		b = append(b, head...)
		b = strconv.AppendInt(b, n*step, 10)
		return append(b, tail...)
	}
}

// drive sends requests on one connection for each maker until the time is over, each the next as soon as the
// last is answered. A unit is a request.
func drive(ctx context.Context, addr string, makers []maker, length time.Duration) (*sample, error) {
	return together(ctx, addr, len(makers), 4096, length, func(c *conn, i int, until time.Time, s *sample) error {
		return drive1(c, makers[i], until, s)
	})
}

func drive1(c *conn, next maker, until time.Time, s *sample) error {
	for now := time.Now(); now.Before(until); s.units++ {
		c.out = next(c.out[:0], s.units)
		if _, err := c.do(c.out); err != nil {
			return err
		}
		answered := time.Now()
		s.latency.add(answered.Sub(now))
		now = answered
	}
	return nil
}

// together runs one function on each of n connections, all made before the clock starts, and adds up their
// samples. The first error ends all.
func together(ctx context.Context, addr string, n, readBuffer int, length time.Duration, run func(c *conn, i int, until time.Time, s *sample) error) (*sample, error) {
	connected, cancel := context.WithCancel(ctx)
	defer cancel()
	conns, err := dialAll(connected, addr, n, readBuffer)
	defer closeAll(conns)
	if err != nil {
		return nil, err
	}
	samples, errs := make([]sample, n), make([]error, n)
	var wg sync.WaitGroup
	start := time.Now()
	for i, c := range conns {
		wg.Go(func() {
			if errs[i] = run(c, i, start.Add(length), &samples[i]); errs[i] != nil {
				cancel() // the other connections break, and their errors say no more than this one
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	all := &sample{took: time.Since(start)}
	for i := range samples {
		all.merge(&samples[i])
	}
	return all, firstCause(errs)
}

// firstCause returns the error that is not the consequence of another one.
func firstCause(errs []error) error {
	for _, err := range errs {
		var refused *statusError
		if errors.As(err, &refused) {
			return err
		}
	}
	return errors.Join(errs...)
}
