package traffic

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// lookAtInput asks how far the input reaches, which no client has to have been told: what is unknown to who sent it
// may be there.
func (t *Traffic) lookAtInput(ctx context.Context) {
	tp := t.topic(inputTopic)
	var got struct {
		Partitions []struct {
			Partition int   `json:"partition"`
			End       int64 `json:"high_watermark"`
		} `json:"partitions"`
	}
	if err := (&plainClient{t: t}).must(ctx, http.MethodGet, "/v1/topics/"+tp.Topic.Topic, nil, &got); err != nil {
		return // then the drain cannot read it either
	}
	for _, p := range got.Partitions {
		tp.saw(p.Partition, p.End)
	}
}

// alarmUnprocessed raises an alarm for input that workers left, although they had Config.Grace to process it.
func (t *Traffic) alarmUnprocessed() {
	isWork := func(k kind) bool {
		return k.does == works && (len(t.cfg.Only) == 0 || slices.Contains(t.cfg.Only, k.name))
	}
	tp := t.topic(inputTopic)
	if tp.isProcessed() || !slices.ContainsFunc(t.kinds(), isWork) {
		return
	}
	var left []string
	for i := range tp.ends {
		if done, end := tp.done[i].Load(), tp.ends[i].Load(); done < end {
			left = append(left, fmt.Sprintf("%d: %d of %d", i, done, end))
		}
	}
	t.cfg.Writer.Write(history.Line{Alarm: &history.Alarm{
		Name: "no-progress", At: t.Now(),
		Detail: fmt.Sprintf("%s is not processed %s after everything was healed; by partition: %s",
			tp.Topic.Topic, t.cfg.Grace, strings.Join(left, ", ")),
	}})
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

	briefTopic   = "brief"   // records leave by age
	leavingTopic = "leaving" // records leave by size, or when somebody deletes them
)

const workersGroup = "workers"

// Of the topics that records leave: so soon that some do in a run of seconds, and of so many that others stay.
const (
	briefMS      = 2000 // and the 15 s that the service takes for how late a commit may be
	leavingBytes = 50_000
)

// declared returns the topics of the run.
func (t *Traffic) declared() []history.Topic {
	p := t.cfg.Prefix
	brief, ofAnyAge := int64(briefMS), int64(0)
	return []history.Topic{
		{Topic: p + keyedTopic, Partitions: 6, Keys: 50},
		{Topic: p + plainTopic, Partitions: 4},
		{Topic: p + hotTopic, Partitions: 1, Keys: 7},
		{Topic: p + inputTopic, Partitions: 8, Keys: 100},
		{Topic: p + outTopic, Partitions: 8, Source: p + inputTopic, Group: p + workersGroup},
		{Topic: p + briefTopic, Partitions: 3, Keys: 30, Retention: &brief},
		{Topic: p + leavingTopic, Partitions: 2, Retention: &ofAnyAge},
	}
}

// settings returns the body of a request that makes a topic.
func (t *Traffic) settings(d *history.Topic) []byte {
	ms, bytes := -1, -1
	switch d.Topic {
	case t.cfg.Prefix + briefTopic:
		ms = briefMS
	case t.cfg.Prefix + leavingTopic:
		bytes = leavingBytes
	}
	return body(`{"partition_count":%d,"retention_ms":%d,"retention_bytes":%d}`, d.Partitions, ms, bytes)
}

// topic returns one of the topics, by its name without the prefix.
func (t *Traffic) topic(name string) *topic { return t.topics[t.cfg.Prefix+name] }

// anyTopic returns one that clients write to, seldom the one whose only partition all meet in.
func (h *hand) anyTopic() *topic {
	switch n := h.rand.IntN(100); {
	case n < 32:
		return h.t.topic(keyedTopic)
	case n < 57:
		return h.t.topic(plainTopic)
	case n < 75:
		return h.t.topic(inputTopic)
	case n < 84:
		return h.t.topic(hotTopic)
	case n < 94:
		return h.t.topic(briefTopic)
	default:
		return h.t.topic(leavingTopic)
	}
}
