package proxies_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// following is those who read while others write: each partition of a topic
// by fetches, and of another one by events.
type following struct {
	fleet       *fleet
	readers     sync.WaitGroup
	fetched     [partitions][]record
	streamed    [partitions][]record
	connections [partitions]int
}

const (
	fetchedTopic  = "left"
	streamedTopic = "keyed"
)

func newFollowing(ctx context.Context, f *fleet) *following {
	all := &following{fleet: f}
	for p := range partitions {
		all.readers.Go(func() { all.fetched[p] = f.fetches(ctx, fetchedTopic, p) })
		all.readers.Go(func() { all.streamed[p], all.connections[p] = f.streams(ctx, streamedTopic, p) })
	}
	return all
}

// mustHaveSeenAll ends the topics, waits for the readers, and compares what
// they saw with what is there.
func (all *following) mustHaveSeenAll(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, topic := range []string{fetchedTopic, streamedTopic} {
		for p := range partitions {
			r := request{
				method: http.MethodPost, path: "/v1/topics/" + topic + "/records", header: map[string]string{"Idempotency-Key": "end-" + string(rune('0'+p))},
				body: map[string]any{"records": []any{map[string]any{"key": "end", "value": lastValue, "partition": p}}},
			}
			if !all.fleet.must(ctx, r, &struct{}{}, http.StatusOK) {
				t.Fatal(all.fleet.faults)
			}
		}
	}
	all.readers.Wait()
	for p := range partitions {
		if diff := cmp.Diff(dump(ctx, t, all.fleet, fetchedTopic, p), all.fetched[p]); diff != "" {
			t.Errorf("%s-%d as it is, and as it was fetched (-want +got):\n%s", fetchedTopic, p, diff)
		}
		if diff := cmp.Diff(dump(ctx, t, all.fleet, streamedTopic, p), all.streamed[p]); diff != "" {
			t.Errorf("%s-%d as it is, and as it was streamed (-want +got):\n%s", streamedTopic, p, diff)
		}
		if all.connections[p] < 2 {
			t.Errorf("the stream of %s-%d met no restart", streamedTopic, p)
		}
	}
}
