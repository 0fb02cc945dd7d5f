package traffic

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// loop is a client.
type loop struct {
	hand  *hand
	works bool // as of its kind
	run   func(ctx context.Context, h *hand)
}

// kind is a kind of client, of which there are at least so many; readers are never more, as each reads all that the
// others write.
type kind struct {
	name  string
	least int
	does  duty
	makes []history.Kind // what each of them asks for within seconds
	run   client
}

// duty is what a kind of client does for the others.
type duty int

const (
	writes duty = iota
	reads       // or deletes what was written
	works       // it processes what the others wrote, and ends after them
)

// What clients ask for.
var (
	sequences = []history.Kind{history.KindRegister, history.KindProduce, history.KindReceipt}
	uploads   = []history.Kind{history.KindRegister, history.KindUpload}
	wholes    = []history.Kind{history.KindRegister, history.KindOneShot}
	stagings  = []history.Kind{
		history.KindRegister, history.KindBegin, history.KindProduce, history.KindTxnOffsets,
		history.KindCommit, history.KindAbort, history.KindTxn,
	}
	consuming  = []history.Kind{history.KindJoin, history.KindPoll, history.KindHeartbeat, history.KindLeave}
	watching   = []history.Kind{history.KindOffsets, history.KindSetOffsets}
	processing = []history.Kind{history.KindJoin, history.KindPoll, history.KindOneShot, history.KindLeave}
)

// client is a loop, of the n-th of its kind.
type client func(ctx context.Context, h *hand, n int)

// kinds returns all kinds. Two and two of those that are called pairs share a transactional id, and fence each other.
func (t *Traffic) kinds() []kind {
	p := t.cfg.Prefix
	id := func(kind string, n int) string { return fmt.Sprintf("%s%s-id-%d", p, kind, n) }
	readers, statics, latest := p+"readers", p+"statics", p+"latest"
	return []kind{
		{"sequenced", 7, writes, sequences, func(ctx context.Context, h *hand, _ int) {
			newSequenced(h, "", false).run(ctx)
		}},
		{"restarted", 3, writes, sequences, func(ctx context.Context, h *hand, n int) {
			newSequenced(h, id("restarted", n), false).run(ctx)
		}},
		{"pair", 4, writes, sequences, func(ctx context.Context, h *hand, n int) {
			newSequenced(h, id("pair", n/2), true).run(ctx)
		}},
		{"keyed", 4, writes, []history.Kind{history.KindProduce}, func(ctx context.Context, h *hand, _ int) {
			(&keyed{hand: h}).run(ctx)
		}},
		{"plain", 2, writes, []history.Kind{history.KindProduce}, func(ctx context.Context, h *hand, _ int) {
			runPlain(ctx, h)
		}},
		{"upload", 1, writes, uploads, func(ctx context.Context, h *hand, n int) {
			newUploader(h, id("upload", n)).run(ctx)
		}},
		{"one-shot", 4, writes, wholes, func(ctx context.Context, h *hand, n int) {
			newOneShots(h, id("one-shot", n)).run(ctx)
		}},
		{"staged", 5, writes, stagings, func(ctx context.Context, h *hand, n int) {
			newStaged(h, id("staged", n), false).run(ctx)
		}},
		{"staged-pair", 2, writes, stagings, func(ctx context.Context, h *hand, n int) {
			newStaged(h, id("staged-pair", n/2), true).run(ctx)
		}},
		{"fetch", 2, reads, []history.Kind{history.KindFetch}, func(ctx context.Context, h *hand, _ int) {
			newFetcher(h).run(ctx)
		}},
		{"cursor", 1, reads, []history.Kind{history.KindCursor}, func(ctx context.Context, h *hand, _ int) {
			(&cursorReader{hand: h}).run(ctx)
		}},
		{"events", 1, reads, []history.Kind{history.KindEvents}, func(ctx context.Context, h *hand, _ int) {
			newFollower(h).run(ctx)
		}},
		{"reader", 2, reads, consuming, func(ctx context.Context, h *hand, _ int) {
			newConsumer(h, readers, "", "", keyedTopic, plainTopic).run(ctx)
		}},
		{"static", 2, reads, consuming, func(ctx context.Context, h *hand, n int) {
			newConsumer(h, statics, id("static", n), "", keyedTopic, plainTopic).run(ctx)
		}},
		{"latest", 1, reads, consuming, func(ctx context.Context, h *hand, _ int) {
			newConsumer(h, latest, "", "latest", keyedTopic, plainTopic).run(ctx)
		}},
		{"passed", 2, reads, consuming, func(ctx context.Context, h *hand, _ int) {
			c := newConsumer(h, p+"passed", "", "", briefTopic, leavingTopic)
			c.back = true
			c.run(ctx)
		}},
		{"deleter", 1, reads, nil, func(ctx context.Context, h *hand, _ int) { runDeleter(ctx, h) }},
		{"worker", 3, works, processing, func(ctx context.Context, h *hand, _ int) { newWorker(h, "").run(ctx) }},
		{"static-worker", 1, works, processing, func(ctx context.Context, h *hand, n int) {
			newWorker(h, id("worker", n)).run(ctx)
		}},
		{"observer", 1, reads, watching, func(ctx context.Context, h *hand, _ int) {
			newObserver(h).run(ctx)
		}},
	}
}

// Makes returns the kinds of requests that clients ask for, by the names of their kinds; no names: all clients.
func Makes(only []string) []history.Kind {
	var makes []history.Kind
	for _, k := range New(Config{}).kinds() {
		if len(only) > 0 && !slices.Contains(only, k.name) {
			continue
		}
		for _, m := range k.makes {
			if !slices.Contains(makes, m) {
				makes = append(makes, m)
			}
		}
	}
	return makes
}

// mix returns the clients of the run: of each kind at least the least, and else in proportion.
func (t *Traffic) mix() []loop {
	kinds := t.kinds()
	writers, readers := 0, 0
	for _, k := range kinds {
		if k.does == reads {
			readers += k.least
		} else {
			writers += k.least
		}
	}
	var loops []loop
	for _, k := range kinds {
		if len(t.cfg.Only) > 0 && !slices.Contains(t.cfg.Only, k.name) {
			continue
		}
		n := k.least
		if k.does != reads {
			n = max(n, n*(t.cfg.Clients-readers)/writers)
		}
		for i := range n {
			loops = append(loops, loop{
				t.newHand(t.name(k.name)), k.does == works, func(ctx context.Context, h *hand) { k.run(ctx, h, i) },
			})
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
