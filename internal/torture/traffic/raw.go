package traffic

import (
	"context"
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// A value of its own that is sent as bytes is the body of a request, and that of the answer to who reads it back.

// rawValue returns a value that is sent as bytes; those before it are nobody's.
func (t *Traffic) rawValue() history.Value {
	const around = 32 // one of so many is sent as bytes
	v := t.values(around)
	for !isBytes(v) {
		v++
	}
	return v
}

// raw repeats a request whose body is a value, or sends another.
func (k *keyed) raw(ctx context.Context) {
	if old := k.raws.any(k.hand); old != nil && k.hand.chance(300) {
		k.hand.try(ctx, old)
		return
	}
	k.appendRaw(ctx)
}

// appendRaw appends one record whose value is the body, under a key, and reads it back as it was sent.
func (k *keyed) appendRaw(ctx context.Context) {
	h := k.hand
	to := h.target(h.anyTopic())
	if to.scope == 0 {
		to.partition = -1 // there is no field that names it
	}
	v := h.t.rawValue()
	p := &history.Produce{
		Piece: history.Piece{Topic: to.topic.Topic.Topic, Partition: to.partition, First: v, Count: 1},
		Scope: to.scope, Key: h.t.name("key"),
	}
	path := "/v1/topics/" + p.Topic
	if to.scope > 0 {
		path += "/partitions/" + strconv.Itoa(to.partition)
	}
	value := v.JSON(h.size())
	o := h.operation(history.Attempt{Kind: history.KindProduce, Produce: p}, http.MethodPost, path+"/raw", value)
	o.media, o.read = "application/octet-stream", readProduced
	if keys := to.topic.Keys; keys > 0 {
		o.recordKey = v.RecordKey(keys)
	}
	a := h.settleOnceOrTwice(ctx, o)
	if a.Outcome != history.OK {
		return
	}
	k.raws.put(h, o)
	h.move()
	h.try(ctx, h.fetchRaw(&a.Produce.Places[0], 0))
}

// fetchRaw returns an operation that reads the value of one of the records at a place.
func (h *hand) fetchRaw(at *history.Place, i int) *operation {
	r := &history.Read{Topic: at.Topic, Partition: at.Partition, Offset: at.Offset + int64(i), End: -1}
	path := "/v1/topics/" + r.Topic + "/partitions/" + strconv.Itoa(r.Partition) +
		"/records/" + strconv.FormatInt(r.Offset, 10) + "/raw"
	o := h.operation(history.Attempt{Kind: history.KindFetch, Read: r}, http.MethodGet, path, nil)
	o.ask.Read.Reader = h.readerOf(o)
	o.read = func(a *history.Attempt, body []byte) error {
		if a.Status != http.StatusOK {
			return noSuchStatus(a, body)
		}
		a.Read.Spans = []history.Span{{
			Partition: r.Partition, Offset: r.Offset, First: history.ParseValue(body), Count: 1,
		}}
		a.Read.Next = r.Offset + 1
		return nil
	}
	return o
}
