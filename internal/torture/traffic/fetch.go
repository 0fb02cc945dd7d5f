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

// fetched is the answer to a fetch, of one partition or of all.
type fetched struct {
	Topic   string   `json:"topic"`
	Records []record `json:"records"`
	Next    *int64   `json:"next_offset"`
	End     *int64   `json:"high_watermark"`
	Start   int64    `json:"log_start_offset"`
	Cursor  string   `json:"cursor"`

	Partition int `json:"partition"` // of one
}

// fetch returns an operation that reads from an offset. Who reads is for the caller to say.
func (h *hand) fetch(tp *topic, reader string, partition int, offset int64, most int, wait time.Duration) *operation {
	r := &history.Read{Topic: tp.Topic.Topic, Reader: reader, Partition: partition, Offset: offset}
	path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?offset=%d&max_records=%d",
		tp.Topic.Topic, partition, offset, most)
	if wait > 0 {
		r.Wait = wait.Milliseconds()
		path += fmt.Sprintf("&wait_ms=%d", r.Wait)
	}
	path += h.more()
	o := h.operation(history.Attempt{Kind: history.KindFetch, Read: r}, http.MethodGet, path, nil)
	o.read = func(a *history.Attempt, body []byte) error {
		var got fetched
		if err := json.Unmarshal(body, &got); err != nil {
			return err
		}
		if got.Records == nil || got.Next == nil || got.End == nil {
			return errors.New("no records, next_offset or high_watermark")
		}
		if got.Topic != a.Read.Topic || got.Partition != partition {
			return fmt.Errorf("topic %q, partition %d", got.Topic, got.Partition)
		}
		a.Read.Spans, a.Read.Next, a.Read.End = tp.spans(got.Records, partition), *got.Next, *got.End
		a.Read.Start = got.Start
		tp.saw(partition, a.Read.End)
		return nil
	}
	return o
}

// more returns further parameters of a read, most of the time none: few bytes, or what must be answered the same.
func (h *hand) more() (query string) {
	if h.chance(100) {
		query = fmt.Sprintf("&max_bytes=%d", 1+h.rand.IntN(1<<h.rand.IntN(17)))
	}
	if h.chance(50) {
		query += "&isolation_level=read_uncommitted"
	}
	return query
}

// readBack reads what was just acknowledged, from another proxy. Nobody reads on from there: each time it is another
// reader.
func (h *hand) readBack(ctx context.Context, places []history.Place) {
	if len(places) == 0 {
		return
	}
	p := places[h.rand.IntN(len(places))]
	tp := h.t.topics[p.Topic]
	if tp == nil || p.Offset < 0 {
		return
	}
	h.move()
	o := h.fetch(tp, "", p.Partition, p.Offset, 1+h.rand.IntN(p.Count+3), 0)
	o.ask.Read.Reader = h.readerOf(o)
	h.try(ctx, o)
}

// readerOf returns the name of a reader that reads once.
func (h *hand) readerOf(o *operation) string { return fmt.Sprintf("%s.%d", h.name, o.ask.Operation) }

// waiting returns how long a read waits for records: not long, most of the time, but now and then so long that it shows
// when nobody wakes it.
func (h *hand) waiting() time.Duration {
	wait := time.Duration(1+h.rand.IntN(400)) * time.Millisecond
	if h.chance(300) {
		wait = time.Second + time.Duration(h.rand.Int64N(int64(3*time.Second)))
	}
	return min(wait, h.t.cfg.Timeout*4/5)
}

// fetcher reads the partitions of all topics in turn, each from where it came to, and sometimes again what is old. After
// each it looks at the end of the one that all write to: queries for its end are to meet.
type fetcher struct {
	hand *hand
	at   map[scope]int64
}

func newFetcher(h *hand) *fetcher { return &fetcher{h, map[scope]int64{}} }

func (f *fetcher) run(ctx context.Context) {
	h := f.hand
	for h.goesOn() {
		for _, d := range h.t.declared() {
			for p := 0; p < d.Partitions && h.goesOn(); p++ {
				f.read(ctx, h.t.topics[d.Topic], p)
				f.read(ctx, h.t.topic(hotTopic), 0)
				h.rest(ctx, 0, 40*time.Millisecond)
			}
		}
	}
}

// read reads on in a partition, until its end was seen. It seldom waits there for more. Where retention has passed it,
// it goes on from where the log begins now.
func (f *fetcher) read(ctx context.Context, tp *topic, partition int) {
	h := f.hand
	sc := scope{tp.Topic.Topic, partition}
	for h.goesOn() {
		wait := time.Duration(0)
		if h.chance(50) {
			wait = h.waiting()
		}
		a := h.settle(ctx, h.fetch(tp, h.name, partition, f.at[sc], 1+h.rand.IntN(500), wait))
		if a.Outcome != history.OK {
			if a.Status == http.StatusGone {
				f.at[sc] = a.Read.Start
			}
			h.rest(ctx, 0, retryPause)
			return
		}
		f.at[sc] = a.Read.Next
		if h.chance(50) && f.at[sc] > 0 {
			again := h.fetch(tp, "", partition, h.rand.Int64N(f.at[sc]), 1+h.rand.IntN(100), 0)
			again.ask.Read.Reader = h.readerOf(again)
			h.try(ctx, again)
		}
		if a.Read.Next >= a.Read.End {
			return
		}
	}
}
