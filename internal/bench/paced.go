package bench

import (
	"context"
	"time"
)

// paced sends so many requests a second, in turns on one connection for each maker, until the time is over. A
// latency counts from the moment when the request was due: one that is late because the one before it on its
// connection was slow is slow, too. What is due and cannot be sent in a tenth of the time more is left out: the
// service was slower than that.
func paced(ctx context.Context, addr string, makers []maker, perSecond float64, length time.Duration) (*sample, error) {
	interval := time.Duration(float64(len(makers)) / perSecond * float64(time.Second)) // on each connection
	return together(ctx, addr, len(makers), 4096, length, func(c *conn, i int, until time.Time, s *sample) error {
		due := until.Add(-length + interval*time.Duration(i)/time.Duration(len(makers)))
		for end := until.Add(length / 10); due.Before(until) && time.Now().Before(end); due = due.Add(interval) {
			time.Sleep(time.Until(due))
			c.out = makers[i](c.out[:0], s.units)
			if _, err := c.do(c.out); err != nil {
				return err
			}
			s.latency.add(time.Since(due))
			s.units++
		}
		return nil
	})
}
