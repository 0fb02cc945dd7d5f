package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// stream measures one upload on one connection, as long as a measurement is. A unit is a record.
func stream(ctx context.Context, b *bench) (*sample, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, 4)
	if err != nil {
		return nil, err
	}
	producer, err := b.producer(ctx, b.proxy.addr, 0)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("POST /v1/topics/%s/records/stream HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-ndjson\r\nProducer-Id: %d\r\nProducer-Epoch: 0\r\n",
		topic, producer)
	if err := hasStream(ctx, b.proxy.addr, head); err != nil {
		return nil, err
	}
	s, err := b.metered(ctx, b.proxy, func() (*sample, error) { return upload(ctx, b.proxy.addr, head, b.cfg.length()) })
	if err != nil {
		return nil, err
	}
	s.user = s.units * valueSize
	return s, verify(ctx, b.proxy.addr, topic, s.units)
}

// hasStream returns errAbsent if the service has no streaming upload.
func hasStream(ctx context.Context, addr, head string) error {
	c, err := dial(ctx, addr, 4096)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.do([]byte(head + "Content-Length: 0\r\n\r\n"))
	var refused *statusError
	if errors.As(err, &refused) && (refused.status == 404 || refused.status == 405) {
		return errAbsent
	}
	return err
}

// upload sends lines until the time is over, while it reads the answers, whose last one must count what was
// sent.
func upload(ctx context.Context, addr, head string, length time.Duration) (*sample, error) {
	c, err := dial(ctx, addr, 64<<10)
	if err != nil {
		return nil, err
	}
	defer c.close()
	type result struct {
		next int64
		err  error
	}
	answered := make(chan result, 1)
	start := time.Now()
	go func() {
		next, err := progress(c)
		answered <- result{next, err}
		if err != nil {
			c.close() // ends the sending
		}
	}()
	s := new(sample)
	_, err = c.net.Write([]byte(head + "Transfer-Encoding: chunked\r\n\r\n"))
	for chunk := []byte(streamChunk); err == nil && time.Since(start) < length; {
		_, err = c.net.Write(chunk)
		s.units += streamLines
	}
	if err == nil {
		_, err = c.net.Write([]byte("0\r\n\r\n"))
	}
	if err != nil {
		c.close()
	}
	end := <-answered
	s.took = time.Since(start)
	switch {
	case end.err != nil:
		return nil, end.err
	case err != nil:
		return nil, err
	case end.next != s.units:
		return nil, fmt.Errorf("the upload ends at sequence %d, %d lines were sent", end.next, s.units)
	}
	return s, nil
}

// progress reads the lines of the answer to an upload, and returns the sequence of its end.
func progress(c *conn) (int64, error) {
	status, body, err := c.answer()
	if err != nil {
		return 0, err
	}
	if status != 200 {
		return 0, &statusError{status, string(body)}
	}
	body = bytes.TrimRight(body, "\n")
	var last struct {
		Next     int64 `json:"next_sequence"`
		Complete bool  `json:"complete"`
	}
	line := body[bytes.LastIndexByte(body, '\n')+1:]
	if err := json.Unmarshal(line, &last); err != nil || !last.Complete {
		return 0, errors.Join(fmt.Errorf("the upload ends with %s", line), err)
	}
	return last.Next, nil
}

// streamMemory measures how much more memory a fresh proxy takes at most during an upload than before it.
func streamMemory(ctx context.Context, b *bench) (*sample, error) {
	return b.memory(ctx, func() (*sample, error) { return stream(ctx, b) })
}

// memory measures, on a proxy that it starts again, how much more memory that takes at most during a load than
// before, in MiB.
func (b *bench) memory(ctx context.Context, load func() (*sample, error)) (*sample, error) {
	if err := b.restart(ctx); err != nil {
		return nil, err
	}
	idle, _, err := resident(b.proxy.pid())
	if err != nil {
		return nil, &leftError{"the memory of a process cannot be read here: " + err.Error()}
	}
	s, err := load()
	if err != nil {
		return nil, err
	}
	s.set(float64(s.cost.Memory-idle) / (1 << 20))
	return s, nil
}

func streamWorks() []work {
	return []work{
		{
			name: "stream", what: "streaming upload of records of 100 bytes, 1 connection", unit: "records/s",
			target: atLeast(0.7).aiming(1.0), ceiling: copyBest, run: stream,
		},
		{
			name: "stream-memory", what: "memory above idle during the streaming upload", unit: "MiB",
			target: atMost(64), database: true, run: streamMemory,
		},
	}
}
