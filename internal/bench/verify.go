package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// newTopic creates a topic with a name of its own.
func (b *bench) newTopic(ctx context.Context, addr string, partitions int) (string, error) {
	return b.newTopicWith(ctx, addr, fmt.Sprintf(`{"partition_count":%d}`, partitions))
}

// newTopicWith creates one with settings.
func (b *bench) newTopicWith(ctx context.Context, addr, settings string) (string, error) {
	topic := fmt.Sprintf("bench-%s-%d", b.id, len(b.topics))
	b.topics = append(b.topics, topic)
	return topic, call(ctx, addr, "PUT", "/v1/topics/"+topic, settings, nil)
}

// A description is what the service says of a topic.
type description struct {
	Topic      string
	Partitions []struct {
		Partition      int
		LogStartOffset int64 `json:"log_start_offset"`
		HighWatermark  int64 `json:"high_watermark"`
	}
}

// verify reads the topic from its first record to its last, and returns an error unless it holds exactly want
// records, in each partition at the offsets 0, 1, 2, … to its high watermark.
func verify(ctx context.Context, addr, topic string, want int64) error {
	t, err := describe(ctx, addr, topic, want)
	if err != nil {
		return err
	}
	for _, p := range t.Partitions {
		if p.LogStartOffset != 0 {
			return fmt.Errorf("topic %s, partition %d: begins at %d", topic, p.Partition, p.LogStartOffset)
		}
	}
	return readAll(ctx, addr, t)
}

// verifyKept is verify of a topic whose oldest records have left, or are just leaving.
func verifyKept(ctx context.Context, addr, topic string, want int64) error {
	for { // until nothing leaves under the reader's hands
		t, err := describe(ctx, addr, topic, want)
		if err != nil {
			return err
		}
		err = readAll(ctx, addr, t)
		var refused *statusError
		if !errors.As(err, &refused) || refused.status != 410 {
			return err
		}
	}
}

// describe returns what the service says of a topic, and an error unless it was given want records in all.
func describe(ctx context.Context, addr, topic string, want int64) (*description, error) {
	var t description
	if err := call(ctx, addr, "GET", "/v1/topics/"+topic, "", &t); err != nil {
		return nil, err
	}
	var stored int64
	for _, p := range t.Partitions {
		stored += p.HighWatermark
	}
	if stored != want {
		return nil, fmt.Errorf("topic %s holds %d records, %d were acknowledged", topic, stored, want)
	}
	return &t, nil
}

// readAll reads what a topic has, which must be there without a gap.
func readAll(ctx context.Context, addr string, t *description) error {
	c, err := dial(ctx, addr, readerBuffer)
	if err != nil {
		return err
	}
	defer c.close()
	for _, p := range t.Partitions {
		for next := p.LogStartOffset; next < p.HighWatermark; {
			if next, err = readPage(c, t.Topic, p.Partition, next); err != nil {
				return fmt.Errorf("topic %s, partition %d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// readerBuffer is what a connection reads at once where answers are large.
const readerBuffer = 256 << 10

// readPage fetches the records from an offset on, as many as one answer can hold, and returns the offset after
// the last. It is an error if there are none, if one is missing, or if one is there twice.
func readPage(c *conn, topic string, partition int, from int64) (next int64, err error) {
	c.out = fmt.Appendf(c.out[:0], "GET /v1/topics/%s/partitions/%d/records?offset=%d&max_records=10000&max_bytes=10485760 HTTP/1.1\r\nHost: bench\r\n\r\n",
		topic, partition, from)
	body, err := c.do(c.out)
	if err != nil {
		return 0, err
	}
	next, err = follow(body, from)
	if err == nil && next == from {
		err = fmt.Errorf("no record at offset %d, below the high watermark", from)
	}
	return next, err
}

// follow goes through the records of an answer, whose offsets must go on from next one by one, and returns
// the offset after the last.
func follow(body []byte, next int64) (int64, error) {
	mark := []byte(`{"offset":`)
	for {
		at := bytes.Index(body, mark)
		if at < 0 {
			return next, nil
		}
		body = body[at+len(mark):]
		var offset int64
		for len(body) > 0 && '0' <= body[0] && body[0] <= '9' {
			offset = offset*10 + int64(body[0]-'0')
			body = body[1:]
		}
		if offset != next {
			return next, fmt.Errorf("the record after offset %d has offset %d", next-1, offset)
		}
		next++
	}
}
