package traffic

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// runDeleter deletes the oldest records of the topic that they leave at any age, of one partition or of all. Histories
// say nothing of it: of such a topic all that is left and read has to fit, whoever has taken what is gone.
func runDeleter(ctx context.Context, h *hand) {
	for h.goesOn() {
		h.rest(ctx, 200*time.Millisecond, 3*time.Second)
		tp := h.t.topic(leavingTopic)
		partition := h.rand.IntN(tp.Partitions)
		path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?before_offset=%d",
			tp.Topic.Topic, partition, h.rand.Int64N(tp.ends[partition].Load()+1))
		if h.chance(300) {
			before := time.Now().Add(-5 * time.Second).UnixMilli() // is that in the database's future, it is refused
			path = fmt.Sprintf("/v1/topics/%s/records?before=%d", tp.Topic.Topic, before)
		}
		h.delete(ctx, path)
	}
}

// delete sends a request once, whatever comes of it.
func (h *hand) delete(ctx context.Context, path string) {
	h.t.pacer.wait(ctx)
	ctx, cancel := context.WithTimeout(ctx, h.t.cfg.Timeout)
	defer cancel()
	h.move()
	number := strconv.FormatInt(h.t.operations.Add(1), 10)
	resp, err := h.begin(ctx, &request{
		method: http.MethodDelete, path: path, header: http.Header{"User-Agent": {agent + number}},
	})
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // what it says, readers see
		_ = resp.Body.Close()
	}
}
