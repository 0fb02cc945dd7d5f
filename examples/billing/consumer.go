package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// partitionCount is how many partitions each topic gets.
const partitionCount = 6

// createTopic makes the topic. PUT can be repeated, so a lost answer does no harm.
func createTopic(ctx context.Context, c *client.Client, topic string) error {
	body := fmt.Appendf(nil, `{"partition_count":%d}`, partitionCount)
	return c.SendUntilAnswered(ctx, &client.Request{Method: http.MethodPut, Path: "/v1/topics/" + topic, Body: body}, nil)
}

// page is the answer to a fetch.
type page struct {
	Records []struct {
		Offset int64           `json:"offset"`
		Key    string          `json:"key"`
		Value  json.RawMessage `json:"value"`
	} `json:"records"`
	NextOffset    int64 `json:"next_offset"`
	HighWatermark int64 `json:"high_watermark"`
}

// consume reads a topic from the start to the end, partition by partition, and returns the purchases of each
// customer in the order of the log. A position is an offset and nothing else: a fetch that was not answered
// is simply sent again.
func consume(ctx context.Context, c *client.Client, topic string) (map[string][]purchase, error) {
	read := map[string][]purchase{}
	home := map[string]int{} // the partition of each customer
	for partition := range partitionCount {
		for offset, end := int64(0), int64(1); offset < end; {
			path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?offset=%d&max_records=2000", topic, partition, offset)
			var p page
			if err := c.SendUntilAnswered(ctx, &client.Request{Method: http.MethodGet, Path: path}, &p); err != nil {
				return nil, fmt.Errorf("fetch: %w", err)
			}
			for _, r := range p.Records {
				if r.Offset != offset {
					return nil, fmt.Errorf("partition %d has offset %d where %d should be", partition, r.Offset, offset)
				}
				offset++
				var bought purchase
				if err := json.Unmarshal(r.Value, &bought); err != nil || bought.customer != r.Key {
					return nil, fmt.Errorf("partition %d, offset %d: key %q, value %s is none of ours (%w)", partition, r.Offset, r.Key, r.Value, err)
				}
				if at, known := home[r.Key]; known && at != partition {
					return nil, fmt.Errorf("customer %s is in partitions %d and %d", r.Key, at, partition)
				}
				home[r.Key] = partition
				read[r.Key] = append(read[r.Key], bought)
			}
			if p.NextOffset != offset || len(p.Records) == 0 && offset < p.HighWatermark {
				return nil, fmt.Errorf("partition %d: %d records up to %d, next offset %d, high watermark %d",
					partition, len(p.Records), offset, p.NextOffset, p.HighWatermark)
			}
			end = p.HighWatermark
		}
	}
	return read, nil
}

// verdict is what the log holds, compared with the file.
type verdict struct {
	records   int
	cents     int64
	lost      int // purchases of the file that the log has not, or not as often
	doubled   int // records of the log that the file has not, or not as often
	displaced int // customers whose purchases are not in the order of the file
	examples  []string
}

// isExact reports whether the log is the file.
func (v *verdict) isExact() bool { return v.lost == 0 && v.doubled == 0 && v.displaced == 0 }

// judge compares. Equal purchases are told apart by their number only: some lines of the file repeat another
// to the letter, and each of them was paid.
func judge(file []purchase, read map[string][]purchase) verdict {
	var v verdict
	want := map[string][]purchase{}
	for _, p := range file {
		want[p.customer] = append(want[p.customer], p)
	}
	for _, got := range read {
		v.records += len(got)
		v.cents += total(got)
	}
	balance := map[purchase]int{}
	for _, p := range file {
		balance[p]++
	}
	for customer, got := range read {
		for _, p := range got {
			balance[p]--
		}
		if len(got) == len(want[customer]) && !slices.Equal(got, want[customer]) {
			v.displaced++
		}
	}
	for p, n := range balance {
		v.lost += max(n, 0)
		v.doubled += max(-n, 0)
		if n != 0 && len(v.examples) < 5 {
			v.examples = append(v.examples, fmt.Sprintf("customer %s, %s, %s: %+d in the log", p.customer, p.date, money(p.cents), -n))
		}
	}
	return v
}
