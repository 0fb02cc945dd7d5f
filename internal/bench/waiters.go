package bench

import (
	"bytes"
	"context"
	"errors"
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

// crowded is a load of 10,000 waiting fetches, and of event streams beside them.
type crowded struct{ streams int }

// run measures the memory that 10,000 waiting fetches take, and the event streams, in MiB. They hold no
// connection to the database. Then one record answers all of them.
func (l crowded) run(ctx context.Context, b *bench) (*sample, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < uint64(waiters+l.streams+200) {
		return nil, &leftError{fmt.Sprintf("a process may have %d open files here", limit.Max)}
	}
	return b.memory(ctx, func() (*sample, error) {
		topic, err := b.newTopic(ctx, b.proxy.addr, 1)
		if err != nil {
			return nil, err
		}
		return b.metered(ctx, b.proxy, func() (*sample, error) { return l.on(ctx, b, topic) })
	})
}

func (l crowded) on(ctx context.Context, b *bench, topic string) (*sample, error) {
	start := time.Now()
	partition := "/v1/topics/" + topic + "/partitions/0"
	conns, err := dialAll(ctx, b.proxy.addr, waiters+l.streams, 1024)
	defer closeAll(conns)
	if err != nil {
		return nil, err
	}
	for i, c := range conns {
		path := partition + "/records?offset=0&wait_ms=60000"
		if i >= waiters {
			path = partition + "/stream?offset=0"
		}
		if _, err := c.net.Write(appendRequest(nil, "GET", path, "")); err != nil {
			return nil, err
		}
	}
	if err := b.untilWaiting(ctx, waiters+l.streams); err != nil {
		return nil, err
	}
	if err := call(ctx, b.proxy.addr, "POST", "/v1/topics/"+topic+"/records", one, nil); err != nil {
		return nil, err
	}
	for i, c := range conns {
		read := c.fetched
		if i >= waiters {
			read = c.followed
		}
		if err := read(0); err != nil {
			return nil, err
		}
	}
	return &sample{units: int64(len(conns)), took: time.Since(start)}, verify(ctx, b.proxy.addr, topic, 1)
}

// fetched reads the answer to a fetch, which has the one record at the offset.
func (c *conn) fetched(offset int64) error {
	status, body, err := c.answer()
	switch {
	case err != nil:
		return err
	case status != 200:
		return &statusError{status, string(body)}
	}
	return onlyRecord(body, offset)
}

// followed reads the answer of an event stream, which does not end, up to the record at the offset.
func (c *conn) followed(offset int64) error {
	status, _, err := c.head()
	if err != nil || status != 200 {
		return errors.Join(err, fmt.Errorf("status %d of an event stream", status))
	}
	c.body = c.body[:0]
	for !bytes.Contains(c.body, []byte("\ndata: ")) || !bytes.HasSuffix(c.body, []byte("\n\n")) {
		n, err := c.chunk()
		if err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("an event stream has ended with %q", c.body))
		}
		if err := c.read(n); err != nil {
			return err
		}
		if _, err := c.in.Discard(2); err != nil {
			return err
		}
	}
	return onlyRecord(c.body, offset)
}

// untilWaiting returns when the service says that so many fetches and streams wait, and that no connection to
// the database is in use.
func (b *bench) untilWaiting(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := dial(ctx, b.proxy.addr, readerBuffer)
	if err != nil {
		return err
	}
	defer c.close()
	waiting := fmt.Appendf(nil, "\neos_waiting_fetches %d\n", n)
	// Whoever waits looks once more before that; what polls for them all has a connection now and then.
	inUse := []byte(`eos_pool_connections{state="in_use"} 0` + "\n")
	for request := appendRequest(nil, "GET", "/metrics", ""); ; {
		body, err := c.do(request)
		if err != nil {
			return fmt.Errorf("until %d wait: %w", n, err)
		}
		if bytes.Contains(body, waiting) && bytes.Contains(body, inUse) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func waiterWorks() []work {
	const what = "memory above idle with 10,000 waiting fetches"
	return []work{
		{name: "waiters", what: what, unit: "MiB", target: atMost(200), database: true, run: crowded{}.run},
		{
			name: "waiters-streams", what: what + " and 2,000 event streams", unit: "MiB",
			target: atMost(250), database: true, run: crowded{2000}.run,
		},
	}
}
