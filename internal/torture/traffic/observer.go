package traffic

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// observer reads the committed offsets of groups, and sets those of a group that has no members.
type observer struct {
	hand  *hand
	solo  *solo
	group string // that it is the only member of, now and then
}

func newObserver(h *hand) *observer { return &observer{h, h.newSolo(1), h.t.name("own")} }

func (w *observer) run(ctx context.Context) {
	h := w.hand
	for h.goesOn() {
		if offsets := w.solo.next(h); offsets != nil && h.chance(500) {
			w.set(ctx, offsets)
		}
		if h.chance(50) {
			w.setBesideMember(ctx)
		}
		for _, group := range h.t.someGroups(h) {
			h.try(ctx, h.offsets(group))
		}
		h.rest(ctx, 10*time.Millisecond, 200*time.Millisecond)
	}
}

func (w *observer) set(ctx context.Context, offsets []history.Commit) {
	for i := range offsets {
		offsets[i].From = -1
	}
	if a := w.hand.settle(ctx, w.hand.setOffsets(w.solo.groups[0], offsets)); a.Outcome == history.OK {
		w.solo.did(offsets)
	}
}

// setBesideMember sets an offset of a group while it has a member, which is refused, and once more when that has left.
func (w *observer) setBesideMember(ctx context.Context) {
	h := w.hand
	tp := h.t.topic(hotTopic)
	end := tp.ends[0].Load()
	if end == 0 {
		return
	}
	m := &member{hand: h, group: w.group, topics: []string{tp.Topic.Topic}}
	m.again()
	if !m.join(ctx) {
		return
	}
	offsets := []history.Commit{{Topic: tp.Topic.Topic, From: -1, Offset: 1 + h.rand.Int64N(end)}}
	h.settle(ctx, h.setOffsets(w.group, offsets))
	m.leave(ctx)
	h.settle(ctx, h.setOffsets(w.group, offsets))
}

// setOffsets returns an operation that sets committed offsets of a group.
func (h *hand) setOffsets(group string, offsets []history.Commit) *operation {
	b := append(appendCommits([]byte(`{"offsets":`), offsets), '}')
	o := h.operation(
		history.Attempt{Kind: history.KindSetOffsets, Offsets: &history.Offsets{Group: group, Offsets: offsets}},
		http.MethodPut, "/v1/groups/"+group+"/offsets", b,
	)
	o.read = func(_ *history.Attempt, body []byte) error {
		_, err := readOffsets(group, body)
		return err
	}
	return o
}

// offsets returns an operation that reads the committed offsets of a group. Groups of a run have few: one page has
// them all.
func (h *hand) offsets(group string) *operation {
	o := h.operation(
		history.Attempt{Kind: history.KindOffsets, Offsets: &history.Offsets{Group: group}},
		http.MethodGet, "/v1/groups/"+group+"/offsets?limit=1000", nil,
	)
	o.read = func(a *history.Attempt, body []byte) error {
		var err error
		a.Offsets.Offsets, err = readOffsets(group, body)
		if group == h.t.cfg.Prefix+workersGroup {
			h.t.processed(a.Offsets.Offsets)
		}
		return err
	}
	return o
}

// readOffsets reads committed offsets, which are those of a group.
func readOffsets(group string, body []byte) ([]history.Commit, error) {
	var got struct {
		Group   string `json:"group"`
		Offsets []struct {
			Topic     string `json:"topic"`
			Partition int    `json:"partition"`
			Offset    *int64 `json:"offset"`
		} `json:"offsets"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, err
	}
	if got.Group != group || got.Offsets == nil {
		return nil, fmt.Errorf("group %q, offsets told: %t", got.Group, got.Offsets != nil)
	}
	var offsets []history.Commit
	for _, o := range got.Offsets {
		if o.Topic == "" || o.Offset == nil {
			return nil, fmt.Errorf("no offset of topic %q", o.Topic)
		}
		offsets = append(offsets, history.Commit{Topic: o.Topic, Partition: o.Partition, From: -1, Offset: *o.Offset})
	}
	return offsets, nil
}

// someGroups returns a few of the groups that anybody committed in.
func (t *Traffic) someGroups(h *hand) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	some := []string{t.cfg.Prefix + workersGroup}
	all := slices.Sorted(maps.Keys(t.groups)) // else a map's order would decide what the dice are thrown for
	h.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, group := range all {
		if len(some) == 4 {
			break
		}
		if h.chance(500) {
			some = append(some, group)
		}
	}
	return some
}
