package proxies_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// place is where a record is.
type place struct {
	topic             string
	partition, offset int
}

// record is one as a fetch returns it. Its value is unique: who wrote it, a
// colon, and its number among those of this writer.
type record struct {
	Partition int    `json:"partition"`
	Offset    int    `json:"offset"`
	Key       string `json:"key"`
	Value     string `json:"value"`
}

// newRecord is a record to be sent; a writer has few keys.
func newRecord(writer string, n, keys int) map[string]any {
	return map[string]any{"key": fmt.Sprintf("%s/%d", writer, n%keys), "value": fmt.Sprintf("%s:%d", writer, n)}
}

// appended is the part of an answer that says where records went.
type appended []struct {
	Topic         string `json:"topic"`
	Partition     int    `json:"partition"`
	BaseOffset    int    `json:"base_offset"`
	RecordCount   int    `json:"record_count"`
	RecordIndexes []int  `json:"record_indexes"`
}

// ledger is what writers were told.
type ledger struct {
	mu     sync.Mutex
	values map[place]string // guarded by mu
	count  int              // guarded by mu
}

// note writes down what was acknowledged: the values of one request to topic,
// and where the answer says they are.
func (l *ledger) note(f *fleet, topic string, a appended, values []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := 0
	for _, part := range a {
		if part.Topic != "" && part.Topic != topic {
			continue
		}
		for i := range part.RecordCount {
			index := i
			if part.RecordIndexes != nil {
				index = part.RecordIndexes[i]
			}
			at := place{topic, part.Partition, part.BaseOffset + i}
			if other, taken := l.values[at]; taken {
				f.blame("%+v was told of %s, and of %s", at, other, values[index])
			}
			l.values[at] = values[index]
			told++
		}
	}
	l.count += told
	if told != len(values) {
		f.blame("of %d records to %s the answer tells %d: %+v", len(values), topic, told, a)
	}
}

func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// dump reads a partition from its start to its end.
func dump(ctx context.Context, t *testing.T, f *fleet, topic string, partition int) []record {
	t.Helper()
	var log []record
	for end := 1; len(log) < end; {
		var page struct {
			Records       []record `json:"records"`
			HighWatermark int      `json:"high_watermark"`
		}
		path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?offset=%d&max_records=2000", topic, partition, len(log))
		if !f.must(ctx, request{method: http.MethodGet, path: path}, &page, http.StatusOK) {
			t.Fatal(f.faults)
		}
		for _, r := range page.Records {
			if r.Offset != len(log) {
				t.Fatalf("%s-%d has offset %d where %d should be", topic, partition, r.Offset, len(log))
			}
			log = append(log, r)
		}
		end = page.HighWatermark
	}
	return log
}

// mustHold compares a topic with what was told of it: each record is there
// once, where the answer said, and those of one key are in the order of their
// numbers.
func (l *ledger) mustHold(ctx context.Context, t *testing.T, f *fleet, topic string, partitions int) (all []record) {
	t.Helper()
	found := map[place]string{}
	places := map[string]place{}
	last := map[string]int{}
	for partition := range partitions {
		for _, r := range dump(ctx, t, f, topic, partition) {
			at := place{topic, partition, r.Offset}
			if other, twice := places[r.Value]; twice {
				t.Errorf("%s is at %+v and at %+v", r.Value, other, at)
			}
			found[at], places[r.Value] = r.Value, at
			_, number, _ := strings.Cut(r.Value, ":")
			n, err := strconv.Atoi(number)
			if before, ok := last[r.Key]; err != nil || ok && n <= before {
				t.Errorf("%+v: %s comes behind number %d of its key (%v)", at, r.Value, before, err)
			}
			last[r.Key] = n
			all = append(all, r)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	told := 0
	for at, value := range l.values {
		if at.topic != topic {
			continue
		}
		told++
		if found[at] != value {
			t.Errorf("%+v: %q was acknowledged, %q is there", at, value, found[at])
		}
	}
	if told != len(all) {
		t.Errorf("%s has %d records, %d were acknowledged", topic, len(all), told)
	}
	return all
}
