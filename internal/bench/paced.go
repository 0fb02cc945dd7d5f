package bench

import (
	"context"
	"time"
)

// A pace says when requests on one connection are due.
type pace struct {
	due      time.Time     // when the next one is
	interval time.Duration // between two of them
	until    time.Time     // none is due from here on
	end      time.Time     // none is sent from here on: the service was slower than that
}

// keep sends each request when it is due, or as soon as the one before it is answered, and counts its latency from
// when it was due: one that is late because the one before it was slow is slow, too. What is due and cannot be sent
// before the end is left out.
func (p pace) keep(clock clock, s *sample, send func(n int64) error) error {
	for ; p.due.Before(p.until) && clock.now().Before(p.end); p.due = p.due.Add(p.interval) {
		clock.sleep(p.due.Sub(clock.now()))
		if err := send(s.units); err != nil {
			return err
		}
		s.latency.add(clock.now().Sub(p.due))
		s.units++
	}
	return nil
}

// A clock is that of the machine, but in tests.
type clock struct {
	now   func() time.Time
	sleep func(time.Duration)
}

// paced sends so many requests a second, in turns on one connection for each maker, until the time is over. What is
// due and cannot be sent in a tenth of the time more is left out.
func paced(
	ctx context.Context, addr string, makers []maker, perSecond float64, length time.Duration,
) (*sample, error) {
	interval := time.Duration(float64(len(makers)) / perSecond * float64(time.Second)) // on each connection
	return together(ctx, addr, len(makers), 4096, length, func(c *conn, i int, until time.Time, s *sample) error {
		p := pace{
			due:      until.Add(-length + interval*time.Duration(i)/time.Duration(len(makers))),
			interval: interval, until: until, end: until.Add(length / 10),
		}
		return p.keep(clock{time.Now, time.Sleep}, s, func(n int64) error {
			c.out = makers[i](c.out[:0], n)
			_, err := c.do(c.out)
			return err
		})
	})
}
