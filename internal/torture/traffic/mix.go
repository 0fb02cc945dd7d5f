package traffic

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// topic is a topic of the run.
type topic struct {
	history.Topic
	ends []atomic.Int64 // by partition: the highest end of the log that a client was told of
	done []atomic.Int64 // of the input: the highest offset that workers committed
}

// saw says that the log reaches to end.
func (tp *topic) saw(partition int, end int64) {
	if partition >= 0 && partition < len(tp.ends) {
		raise(&tp.ends[partition], end)
	}
}

// isProcessed reports whether workers have committed all that is known to be in the log.
func (tp *topic) isProcessed() bool {
	for i := range tp.ends {
		if tp.done[i].Load() < tp.ends[i].Load() {
			return false
		}
	}
	return true
}

// raise raises a number that never falls.
func raise(n *atomic.Int64, to int64) {
	for {
		was := n.Load()
		if was >= to || n.CompareAndSwap(was, to) {
			return
		}
	}
}

// sawPlaces says where records are.
func (t *Traffic) sawPlaces(places []history.Place) {
	for _, p := range places {
		if tp := t.topics[p.Topic]; tp != nil && p.Offset >= 0 {
			tp.saw(p.Partition, p.Offset+int64(p.Count))
		}
	}
}

// The topics, without the prefix.
const (
	keyedTopic = "keyed"  // partitions by key
	plainTopic = "plain"  // no keys; partitions by the path, by the record, or the service's choice
	hotTopic   = "hot"    // one partition that all meet in
	inputTopic = "input"  // what workers process
	outTopic   = "output" // what came of it
)

const workersGroup = "workers"

// declared returns the topics of the run.
func (t *Traffic) declared() []history.Topic {
	p := t.cfg.Prefix
	return []history.Topic{
		{Topic: p + keyedTopic, Partitions: 6, Keys: 50},
		{Topic: p + plainTopic, Partitions: 4},
		{Topic: p + hotTopic, Partitions: 1, Keys: 7},
		{Topic: p + inputTopic, Partitions: 8, Keys: 100},
		{Topic: p + outTopic, Partitions: 8, Source: p + inputTopic, Group: p + workersGroup},
	}
}

// topic returns one of the topics, by its name without the prefix.
func (t *Traffic) topic(name string) *topic { return t.topics[t.cfg.Prefix+name] }

// anyTopic returns one that clients write to, seldom the one whose only partition all meet in.
func (h *hand) anyTopic() *topic {
	switch n := h.rand.IntN(10); {
	case n < 4:
		return h.t.topic(keyedTopic)
	case n < 7:
		return h.t.topic(plainTopic)
	case n < 9:
		return h.t.topic(inputTopic)
	default:
		return h.t.topic(hotTopic)
	}
}

// loop is a client.
type loop struct {
	hand *hand
	run  func(ctx context.Context, h *hand)
}

// kind is a kind of client, of which there are at least so many.
type kind struct {
	name  string
	least int
	run   func(ctx context.Context, h *hand)
}

// kinds returns all kinds. Those whose names end in -pair share a transactional id, and fence each other.
func (t *Traffic) kinds() []kind {
	first, second, txns := t.name("pair"), t.name("pair"), t.name("pair")
	readers, statics, latest := t.name("readers"), t.name("statics"), t.name("latest")
	return []kind{
		{"sequenced", 7, func(ctx context.Context, h *hand) { newSequenced(h, "", false).run(ctx) }},
		{"restarted", 3, func(ctx context.Context, h *hand) { newSequenced(h, t.name("id"), false).run(ctx) }},
		{"first-pair", 2, func(ctx context.Context, h *hand) { newSequenced(h, first, true).run(ctx) }},
		{"second-pair", 2, func(ctx context.Context, h *hand) { newSequenced(h, second, true).run(ctx) }},
		{"keyed", 4, func(ctx context.Context, h *hand) { (&keyed{hand: h}).run(ctx) }},
		{"plain", 2, runPlain},
		{"upload", 1, func(ctx context.Context, h *hand) { newUploader(h).run(ctx) }},
		{"one-shot", 4, func(ctx context.Context, h *hand) { newOneShots(h).run(ctx) }},
		{"staged", 5, func(ctx context.Context, h *hand) { newStaged(h, t.name("id"), false).run(ctx) }},
		{"staged-pair", 2, func(ctx context.Context, h *hand) { newStaged(h, txns, true).run(ctx) }},
		{"fetch", 2, func(ctx context.Context, h *hand) { newFetcher(h).run(ctx) }},
		{"cursor", 1, func(ctx context.Context, h *hand) { (&cursorReader{hand: h}).run(ctx) }},
		{"events", 1, func(ctx context.Context, h *hand) { newFollower(h).run(ctx) }},
		{"reader", 2, func(ctx context.Context, h *hand) { newConsumer(h, readers, "", "").run(ctx) }},
		{"static", 2, func(ctx context.Context, h *hand) { newConsumer(h, statics, t.name("instance"), "").run(ctx) }},
		{"latest", 1, func(ctx context.Context, h *hand) { newConsumer(h, latest, "", "latest").run(ctx) }},
		{"worker", 3, func(ctx context.Context, h *hand) { newWorker(h, "").run(ctx) }},
		{"static-worker", 1, func(ctx context.Context, h *hand) { newWorker(h, t.name("instance")).run(ctx) }},
		{"observer", 1, func(ctx context.Context, h *hand) { newObserver(h).run(ctx) }},
	}
}

// mix returns the clients of the run: of each kind in proportion, and at least the least.
func (t *Traffic) mix() []loop {
	kinds := t.kinds()
	sum := 0
	for _, k := range kinds {
		sum += k.least
	}
	var loops []loop
	for _, k := range kinds {
		if len(t.cfg.Only) > 0 && !slices.Contains(t.cfg.Only, k.name) {
			continue
		}
		for range max(k.least, k.least*t.cfg.Clients/sum) {
			loops = append(loops, loop{t.newHand(t.name(k.name)), k.run})
		}
	}
	return loops
}

// random returns the numbers of a client, which its name and the run's seed decide.
func (t *Traffic) random(name string) *rand.Rand {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name))
	return rand.New(rand.NewPCG(t.cfg.Seed, sum.Sum64()))
}
