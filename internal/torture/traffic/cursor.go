package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// cursorReader reads all partitions of a topic at once, topic after topic, each on from its last cursor.
type cursorReader struct {
	hand *hand
	at   map[string]string // by topic
	old  map[string]string // cursors that it had, by topic
}

func (c *cursorReader) run(ctx context.Context) {
	h := c.hand
	c.at, c.old = map[string]string{}, map[string]string{}
	for h.goesOn() {
		for _, d := range h.t.declared() {
			if !h.goesOn() {
				return
			}
			c.read(ctx, h.t.topics[d.Topic])
			if h.chance(50) {
				c.again(ctx, h.t.topics[d.Topic])
			}
			h.rest(ctx, 0, 40*time.Millisecond)
		}
	}
}

func (c *cursorReader) read(ctx context.Context, tp *topic) {
	h := c.hand
	o := h.fetchAll(tp, c.at[tp.Topic.Topic])
	a := h.settle(ctx, o)
	if a.Outcome == history.OK || a.Status == http.StatusGone && a.Read.NextAt != "" {
		c.at[tp.Topic.Topic] = a.Read.NextAt
	}
	if a.Outcome != history.OK {
		h.rest(ctx, 0, retryPause)
	}
}

// again reads as another reader from a cursor that it had long ago. If what is there has left by now, that one goes on
// where it is told to.
func (c *cursorReader) again(ctx context.Context, tp *topic) {
	h := c.hand
	name := tp.Topic.Topic
	cursor := c.old[name]
	if cursor == "" || h.chance(200) {
		c.old[name] = c.at[name]
	}
	reader := ""
	for range 3 {
		if cursor == "" {
			return
		}
		o := h.fetchAll(tp, cursor)
		if reader == "" {
			reader = h.readerOf(o)
		}
		o.ask.Read.Reader = reader
		a := h.try(ctx, o)
		if a.Outcome != history.OK && a.Status != http.StatusGone {
			return
		}
		cursor = a.Read.NextAt
	}
}

// fetchAll returns an operation that reads from a cursor on, or from the beginning.
func (h *hand) fetchAll(tp *topic, cursor string) *operation {
	r := &history.Read{Topic: tp.Topic.Topic, Reader: h.name, Partition: -1, Cursor: cursor, End: -1}
	path := fmt.Sprintf("/v1/topics/%s/records?max_records=%d", tp.Topic.Topic, 1+h.rand.IntN(1<<h.rand.IntN(12)))
	if cursor == "" {
		r.At = "earliest"
		path += "&at=earliest"
	} else {
		path += "&cursor=" + cursor
	}
	if h.chance(100) {
		r.Wait = h.waiting().Milliseconds()
		path += fmt.Sprintf("&wait_ms=%d", r.Wait)
	}
	path += h.more()
	o := h.operation(history.Attempt{Kind: history.KindCursor, Read: r}, http.MethodGet, path, nil)
	o.read = func(a *history.Attempt, body []byte) error {
		var got fetched
		if err := json.Unmarshal(body, &got); err != nil {
			return err
		}
		if got.Records == nil || got.Cursor == "" {
			return errors.New("no records or no cursor")
		}
		if got.Topic != a.Read.Topic {
			return fmt.Errorf("topic %q", got.Topic)
		}
		a.Read.Spans, a.Read.NextAt = tp.spans(got.Records, -1), got.Cursor
		return nil
	}
	return o
}
