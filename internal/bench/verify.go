package bench

import (
	"bytes"
	"context"
	"fmt"
)

// newTopic creates a topic with a name of its own.
func (b *bench) newTopic(ctx context.Context, addr string, partitions int) (string, error) {
	topic := fmt.Sprintf("bench-%s-%d", b.id, len(b.topics))
	b.topics = append(b.topics, topic)
	return topic, call(ctx, addr, "PUT", "/v1/topics/"+topic, fmt.Sprintf(`{"partition_count":%d}`, partitions), nil)
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
	var t description
	if err := call(ctx, addr, "GET", "/v1/topics/"+topic, "", &t); err != nil {
		return err
	}
	var stored int64
	for _, p := range t.Partitions {
		stored += p.HighWatermark
	}
	if stored != want {
		return fmt.Errorf("topic %s holds %d records, %d were acknowledged", topic, stored, want)
	}
	c, err := dial(ctx, addr, readerBuffer)
	if err != nil {
		return err
	}
	defer c.close()
	for _, p := range t.Partitions {
		if p.LogStartOffset != 0 {
			return fmt.Errorf("topic %s, partition %d: begins at %d", topic, p.Partition, p.LogStartOffset)
		}
		for next := int64(0); next < p.HighWatermark; {
			if next, err = readPage(c, topic, p.Partition, next); err != nil {
				return fmt.Errorf("topic %s, partition %d: %w", topic, p.Partition, err)
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
