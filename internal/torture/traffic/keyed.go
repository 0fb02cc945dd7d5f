package traffic

import (
	"context"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// keyed is a client that produces with idempotency keys.
type keyed struct {
	hand *hand
	done shelf
	raws shelf // those that are a record's value, and go to other URLs
}

func (k *keyed) run(ctx context.Context) {
	h := k.hand
	for h.goesOn() {
		old := k.done.any(h)
		switch n := h.rand.IntN(1000); {
		case n >= 980:
			k.raw(ctx)
		case n < 25 && old != nil: // the key with other records
			h.settle(ctx, h.reuse(old, old.ask.Produce.Count))
		case n < 50 && old != nil:
			h.try(ctx, old)
		case n < 65 && old != nil && old.ask.Produce.Scope > 0: // by the other URL of its topic
			h.try(ctx, old.by("/v1/topics/"+old.ask.Produce.Topic+"/records"))
		default:
			k.append(ctx)
		}
	}
}

func (k *keyed) append(ctx context.Context) {
	h := k.hand
	o := h.produce(h.target(h.anyTopic()), h.count())
	o.ask.Produce.Key = h.t.name("key")
	a := h.settleOnceOrTwice(ctx, o)
	if a.Outcome != history.OK {
		return
	}
	k.done.put(h, o)
	if h.chance(60) {
		h.readBack(ctx, a.Produce.Places)
	}
}

// runPlain produces without an identity: each request is sent once, whatever comes of it.
func runPlain(ctx context.Context, h *hand) {
	for h.goesOn() {
		a := h.try(ctx, h.produce(h.target(h.anyTopic()), h.count()))
		if a.Outcome == history.OK && h.chance(60) {
			h.readBack(ctx, a.Produce.Places)
		}
		if a.Outcome != history.OK {
			h.rest(ctx, time.Millisecond, 100*time.Millisecond)
		}
	}
}
