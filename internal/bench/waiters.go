package bench

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"time"
)

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

func waiterWorks() []work {
	return []work{{
		name: "waiters", what: "memory above idle with 10,000 waiting fetches", unit: "MiB",
		target: atMost(200), database: true, run: waiting,
	}}
}
