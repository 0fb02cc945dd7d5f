package proxies_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// lastValue ends each partition that is followed.
const lastValue = "end:0"

// fetches follows a partition by fetches that wait, to its last record.
func (f *fleet) fetches(ctx context.Context, topic string, partition int) (log []record) {
	for {
		var page struct {
			Records    []record `json:"records"`
			NextOffset int      `json:"next_offset"`
		}
		path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?offset=%d&wait_ms=2000", topic, partition, len(log))
		if !f.must(ctx, request{method: http.MethodGet, path: path}, &page, http.StatusOK) {
			return log
		}
		for _, r := range page.Records {
			if r.Offset != len(log) {
				f.blame("fetch of %s-%d: offset %d where %d should be", topic, partition, r.Offset, len(log))
				return log
			}
			log = append(log, r)
			if r.Value == lastValue {
				return log
			}
		}
	}
}

// streams follows a partition by server-sent events, to its last record; one
// stream after the other, wherever the next one goes.
func (f *fleet) streams(ctx context.Context, topic string, partition int) (log []record, connections int) {
	for ctx.Err() == nil {
		connections++
		var done bool
		if log, done = f.stream(ctx, topic, partition, log); done {
			return log, connections
		}
	}
	return log, connections
}

// stream is one of them. It reports whether there is nothing left to follow.
func (f *fleet) stream(ctx context.Context, topic string, partition int, log []record) ([]record, bool) {
	path := fmt.Sprintf("%s/v1/topics/%s/partitions/%d/stream?at=earliest", f.next(), topic, partition)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		f.blame("%v", err)
		return log, true
	}
	if len(log) > 0 {
		r.Header.Set("Last-Event-ID", strconv.Itoa(log[len(log)-1].Offset))
	}
	resp, err := f.http.Do(r)
	if err != nil {
		return log, ctx.Err() != nil
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		return log, false
	case resp.StatusCode != http.StatusOK:
		f.blame("stream of %s-%d: status %d", topic, partition, resp.StatusCode)
		return log, true
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	problem := false
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "event":
			problem = value == "problem"
		case name != "data":
		case problem:
			if !strings.Contains(value, `"status":503`) {
				f.blame("stream of %s-%d: %s", topic, partition, value)
				return log, true
			}
		default:
			var got record
			if err := json.Unmarshal([]byte(value), &got); err != nil || got.Offset != len(log) {
				f.blame("stream of %s-%d: %s where offset %d should be (%v)", topic, partition, value, len(log), err)
				return log, true
			}
			if log = append(log, got); got.Value == lastValue {
				return log, true
			}
		}
	}
	return log, false // it broke off, or its proxy stops
}
