package traffic

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// values returns the first of n values that nobody else has.
func (t *Traffic) values(n int) history.Value {
	return history.Value(t.lastValue.Add(int64(n)) - int64(n) + 1)
}

// count returns how many records a request has: few, most of the time.
func (h *hand) count() int {
	switch n := h.rand.IntN(1000); {
	case n < 940:
		return 1 + h.rand.IntN(4)
	case n < 997:
		return 6 + h.rand.IntN(25)
	default:
		return 31 + h.rand.IntN(470)
	}
}

// size returns how many bytes a value has.
func (h *hand) size() int { return 90 + h.rand.IntN(110) }

// appendRecords appends the records of a piece, each as JSON with what follows it. Those with explicit set name their
// partition.
func (h *hand) appendRecords(b []byte, p *history.Piece, explicit bool, size int, separator byte) []byte {
	tp := h.t.topics[p.Topic]
	for i := range p.Count {
		v := p.First + history.Value(i)
		if i > 0 {
			b = append(b, separator)
		}
		b = appendForm(append(b, '{'), v, size)
		if tp.Keys > 0 {
			b = append(b, `,"key":"`...)
			b = append(b, v.RecordKey(tp.Keys)...)
			b = append(b, '"')
		}
		if explicit {
			b = append(b, `,"partition":`...)
			b = strconv.AppendInt(b, int64(p.Partition), 10)
		}
		b = append(b, '}')
	}
	return b
}

// target is where a request for records goes.
type target struct {
	topic     *topic
	scope     int // 0: the topic's path; p+1: that of partition p
	partition int // of the path or of all records; -1: the service picks
	explicit  bool
}

// target picks one. Where records have keys, the service picks the partition, so that a key has one.
func (h *hand) target(tp *topic) target {
	t := target{topic: tp, partition: -1}
	if tp.Keys > 0 || h.chance(300) {
		return t
	}
	t.partition = h.rand.IntN(tp.Partitions)
	if t.explicit = h.chance(300); !t.explicit {
		t.scope = t.partition + 1
	}
	return t
}

// path returns the path of a target's records.
func (t *target) path() string {
	if t.scope > 0 {
		return "/v1/topics/" + t.topic.Topic.Topic + "/partitions/" + strconv.Itoa(t.partition) + "/records"
	}
	return "/v1/topics/" + t.topic.Topic.Topic + "/records"
}

// produce returns an operation that appends n new records to a target; whose, is for the caller to say in its Produce.
func (h *hand) produce(to target, n int) *operation {
	size := h.size()
	if h.rand.IntN(30_000) == 0 {
		n, size = 500, 10<<10 // 5 MiB
	}
	return h.produceSized(to, n, size)
}

func (h *hand) produceSized(to target, n, size int) *operation {
	p := &history.Produce{
		Piece: history.Piece{Topic: to.topic.Topic.Topic, Partition: to.partition, First: h.t.values(n), Count: n},
		Scope: to.scope,
	}
	b := make([]byte, 0, n*(size+40)+20)
	lines := h.chance(80)
	if lines {
		b = h.appendRecords(b, &p.Piece, to.explicit, size, '\n')
	} else {
		b = append(b, `{"records":[`...)
		b = h.appendRecords(b, &p.Piece, to.explicit, size, ',')
		b = append(b, "]}"...)
	}
	o := h.operation(history.Attempt{Kind: history.KindProduce, Produce: p}, http.MethodPost, to.path(), b)
	o.read = readProduced
	if lines {
		o.media = mediaNDJSON
	}
	switch packed := h.rand.IntN(40); packed {
	case 0:
		o.encoding, o.body = gzipEncoding, gzipped(b)
	case 1:
		o.encoding, o.body = zstdEncoding, packer.EncodeAll(b, nil)
	}
	return o
}

// targetOf returns where a request has gone.
func (h *hand) targetOf(p *history.Produce) target {
	return target{h.t.topics[p.Topic], p.Scope, p.Partition, p.Scope == 0 && p.Partition >= 0}
}

// reuse returns an operation that appends n other records under the identity of an older one, which is refused.
func (h *hand) reuse(older *operation, n int) *operation {
	p := older.ask.Produce
	o := h.produceSized(h.targetOf(p), n, h.size())
	q := o.ask.Produce
	q.Producer, q.Epoch, q.Sequence, q.Key, q.Transaction = p.Producer, p.Epoch, p.Sequence, p.Key, p.Transaction
	return o
}

const mediaNDJSON = "application/x-ndjson"

// body returns a body that is small and has no records.
func body(format string, values ...any) []byte { return fmt.Appendf(nil, format, values...) }
