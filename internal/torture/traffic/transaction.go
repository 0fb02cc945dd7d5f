package traffic

import (
	"context"
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// transaction returns an operation on a transaction.
func (h *hand) transaction(k history.Kind, t *history.Transaction, body []byte) *operation {
	h.t.noteTransaction(t.ID)
	method, path := http.MethodPost, "/v1/transactions/"+t.ID
	switch k {
	case history.KindOneShot, history.KindBegin:
		method = http.MethodPut
	case history.KindTxn:
		method = http.MethodGet
	case history.KindTxnOffsets:
		path += "/offsets"
	default: // commit and abort are named as their paths are
		path += "/" + string(k)
	}
	o := h.operation(history.Attempt{Kind: k, Transaction: t}, method, path, body)
	o.read = readTransaction
	if k == history.KindTxnOffsets {
		o.read = readStaged
	}
	return o
}

// simple returns an operation without a body: commit, abort or a look.
func (h *hand) simple(k history.Kind, id string) *operation {
	return h.transaction(k, &history.Transaction{ID: id}, nil)
}

// put returns a PUT of a transaction, from what t says of it.
func (h *hand) put(k history.Kind, t *history.Transaction) *operation {
	b := []byte(`{`)
	if t.Producer != 0 {
		b = append(b, body(`"producer_id":%d,"producer_epoch":%d,`, t.Producer, t.Epoch)...)
	}
	if t.Timeout != 0 {
		b = append(b, body(`"timeout_ms":%d,`, t.Timeout)...)
	}
	if len(t.Pieces) > 0 {
		b = append(h.appendPieces(append(b, `"produce":[`...), t.Pieces), "],"...)
	}
	if len(t.Offsets) > 0 {
		b = append(appendOffsets(append(b, `"offsets":`...), t.Offsets), ',')
	}
	return h.transaction(k, t, append(b, body(`"commit":%t}`, k == history.KindOneShot)...))
}

// appendPieces appends one entry for each run of pieces of one topic.
func (h *hand) appendPieces(b []byte, pieces []history.Piece) []byte {
	size := h.size()
	for i := range pieces {
		p := &pieces[i]
		switch {
		case i > 0 && pieces[i-1].Topic == p.Topic:
			b = append(b, ',')
		case i > 0:
			b = append(b, "]},"...)
			fallthrough
		default:
			b = append(b, body(`{"topic":%q,"records":[`, p.Topic)...)
		}
		b = h.appendRecords(b, p, p.Partition >= 0, size, ',')
	}
	return append(b, "]}"...)
}

// appendOffsets appends offsets, one entry for each run of those of one group; they are of one member or none.
func appendOffsets(b []byte, offsets []history.Commit) []byte {
	b = append(b, '[')
	for begin := 0; begin < len(offsets); {
		first, end := &offsets[begin], begin+1
		for end < len(offsets) && offsets[end].Group == first.Group {
			end++
		}
		if begin > 0 {
			b = append(b, ',')
		}
		b = append(b, body(`{"group":%q,`, first.Group)...)
		if first.Member != "" {
			b = append(b, body(`"member_id":%q,"member_epoch":%d,`, first.Member, first.Epoch)...)
		}
		b = append(appendCommits(append(b, `"offsets":`...), offsets[begin:end]), '}')
		begin = end
	}
	return append(b, ']')
}

func appendCommits(b []byte, offsets []history.Commit) []byte {
	b = append(b, '[')
	for i := range offsets {
		c := &offsets[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, body(`{"topic":%q,"partition":%d,`, c.Topic, c.Partition)...)
		if c.From >= 0 {
			b = append(b, `"from":`...)
			b = append(strconv.AppendInt(b, c.From, 10), ',')
		}
		b = append(strconv.AppendInt(append(b, `"offset":`...), c.Offset, 10), '}')
	}
	return append(b, ']')
}

// pieces returns what a transaction has for several topics.
func (h *hand) pieces(most int) []history.Piece {
	var pieces []history.Piece
	for _, name := range []string{keyedTopic, plainTopic, inputTopic, hotTopic} {
		if len(pieces) == most || !h.chance(500) && len(pieces) > 0 {
			continue
		}
		to := h.target(h.t.topic(name))
		if to.scope > 0 { // no path says it here
			to.scope = 0
		}
		n := 1 + h.rand.IntN(4)
		pieces = append(pieces, history.Piece{
			Topic: to.topic.Topic.Topic, Partition: to.partition, First: h.t.values(n), Count: n,
		})
	}
	return pieces
}

// giveUp aborts the id of a transaction whose beginning was refused for a reason that passes, so that no late copy of
// the request begins it after all. If that is too late, the request is repeated, to be told of its success. It
// reports whether that is so.
func (h *hand) giveUp(ctx context.Context, o *operation) bool {
	a := h.settle(ctx, h.simple(history.KindAbort, o.ask.Transaction.ID))
	return a.Outcome == history.Fail && h.settle(ctx, o).Outcome == history.OK
}

// solo are groups without members, whose offsets one client commits.
type solo struct {
	groups    []string
	committed map[soloPartition]int64
}

type soloPartition struct {
	group, topic string
	partition    int
}

func (h *hand) newSolo(groups int) *solo {
	s := &solo{committed: map[soloPartition]int64{}}
	for range groups {
		group := h.t.name("solo")
		h.t.noteGroup(group)
		s.groups = append(s.groups, group)
	}
	return s
}

// next returns offsets to be committed, of one of the groups or of several; nothing if the logs have not grown.
func (s *solo) next(h *hand) (offsets []history.Commit) {
	first := h.rand.IntN(len(s.groups))
	offsets = s.nextOf(h, s.groups[first])
	for _, group := range s.groups[first+1:] {
		offsets = append(offsets, s.nextOf(h, group)...)
	}
	return offsets
}

// nextOf returns offsets of some partitions of a topic, none below the one that is committed.
func (s *solo) nextOf(h *hand, group string) (offsets []history.Commit) {
	const most = 3
	tp := h.anyTopic()
	for _, partition := range h.rand.Perm(tp.Partitions)[:min(1+h.rand.IntN(most), tp.Partitions)] {
		was, end := s.committed[soloPartition{group, tp.Topic.Topic, partition}], tp.ends[partition].Load()
		if end <= was {
			continue
		}
		offsets = append(offsets, history.Commit{
			Group: group, Topic: tp.Topic.Topic, Partition: partition,
			From: was, Offset: was + 1 + h.rand.Int64N(end-was),
		})
	}
	return offsets
}

// did notes that offsets are committed.
func (s *solo) did(offsets []history.Commit) {
	for _, c := range offsets {
		s.committed[soloPartition{c.Group, c.Topic, c.Partition}] = c.Offset
	}
}
