package bench

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"time"
)

// readerLead is the head start of a reader, to be waiting when the record comes.
const readerLead = 2 * time.Millisecond

// wake measures how long after a record was acknowledged a reader that waits for it has it, as the median in
// milliseconds. A reader that has it before its writer has the answer counts as 0.
func wake(ctx context.Context, b *bench) (*sample, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, 1)
	if err != nil {
		return nil, err
	}
	writer, err := dial(ctx, b.proxy.addr, 4096)
	if err != nil {
		return nil, err
	}
	defer writer.close()
	reader, err := dial(ctx, b.proxy.addr, 4096)
	if err != nil {
		return nil, err
	}
	defer reader.close()
	s, err := b.metered(ctx, b.proxy, func() (*sample, error) { return wakes(reader, writer, topic, b.cfg.length()) })
	if err != nil {
		return nil, err
	}
	s.set(s.latency.quantile(0.5).Seconds() * 1e3)
	return s, verify(ctx, b.proxy.addr, topic, s.units)
}

func wakes(reader, writer *conn, topic string, length time.Duration) (*sample, error) {
	type arrival struct {
		at  time.Time
		err error
	}
	arrived := make(chan arrival, 1)
	s, start := new(sample), time.Now()
	for next := plain(topic, one); time.Since(start) < length; s.units++ {
		go func() {
			err := await(reader, topic, s.units)
			arrived <- arrival{time.Now(), err}
		}()
		time.Sleep(readerLead)
		writer.out = next(writer.out[:0], s.units)
		_, err := writer.do(writer.out)
		acknowledged := time.Now()
		if err != nil {
			return nil, err
		}
		got := <-arrived
		if got.err != nil {
			return nil, got.err
		}
		s.latency.add(got.at.Sub(acknowledged))
	}
	s.took = time.Since(start)
	return s, nil
}

// await fetches the record at an offset, which may not be there yet.
func await(c *conn, topic string, offset int64) error {
	c.out = fmt.Appendf(c.out[:0], "GET /v1/topics/%s/partitions/0/records?offset=%d&wait_ms=30000 HTTP/1.1\r\nHost: bench\r\n\r\n", topic, offset)
	body, err := c.do(c.out)
	if err != nil {
		return err
	}
	return onlyRecord(body, offset)
}

// onlyRecord returns an error unless an answer has the one record at the offset.
func onlyRecord(body []byte, offset int64) error {
	next, err := follow(body, offset)
	if err == nil && next != offset+1 {
		err = fmt.Errorf("a waiting fetch got %d records, want 1", next-offset)
	}
	return err
}

const waiters = 10_000

// waiting measures the memory that 10,000 waiting fetches take, in MiB. Then one record answers all of them.
func waiting(ctx context.Context, b *bench) (*sample, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < waiters+200 {
		return nil, &leftError{fmt.Sprintf("a process may have %d open files here", limit.Max)}
	}
	return b.memory(ctx, func() (*sample, error) {
		topic, err := b.newTopic(ctx, b.proxy.addr, 1)
		if err != nil {
			return nil, err
		}
		return b.metered(ctx, b.proxy, func() (*sample, error) { return b.crowd(ctx, topic) })
	})
}

func (b *bench) crowd(ctx context.Context, topic string) (*sample, error) {
	start := time.Now()
	request := appendRequest(nil, "GET", "/v1/topics/"+topic+"/partitions/0/records?offset=0&wait_ms=60000", "")
	conns, err := dialAll(ctx, b.proxy.addr, waiters, 1024)
	defer closeAll(conns)
	if err != nil {
		return nil, err
	}
	for _, c := range conns {
		if _, err := c.net.Write(request); err != nil {
			return nil, err
		}
	}
	if err := b.untilWaiting(ctx, waiters); err != nil {
		return nil, err
	}
	if err := call(ctx, b.proxy.addr, "POST", "/v1/topics/"+topic+"/records", one, nil); err != nil {
		return nil, err
	}
	for _, c := range conns {
		status, body, err := c.answer()
		if err == nil && status != 200 {
			err = &statusError{status, string(body)}
		}
		if err == nil {
			err = onlyRecord(body, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	return &sample{units: waiters, took: time.Since(start)}, verify(ctx, b.proxy.addr, topic, 1)
}

// untilWaiting returns when the service says that so many fetches wait.
func (b *bench) untilWaiting(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := dial(ctx, b.proxy.addr, readerBuffer)
	if err != nil {
		return err
	}
	defer c.close()
	want := fmt.Appendf(nil, "\neos_waiting_fetches %d\n", n)
	for request := appendRequest(nil, "GET", "/metrics", ""); ; {
		body, err := c.do(request)
		if err != nil {
			return fmt.Errorf("until %d fetches wait: %w", n, err)
		}
		if bytes.Contains(body, want) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func waitWorks() []work {
	return []work{
		{
			name: "wake", what: "from acknowledged to a waiting reader on the same proxy, p50", unit: "ms",
			target: atMost(1), run: wake,
		},
		{
			name: "waiters", what: "memory above idle with 10,000 waiting fetches", unit: "MiB",
			target: atMost(200), database: true, run: waiting,
		},
	}
}
