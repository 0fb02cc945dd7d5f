package eos

import (
	"errors"
	"maps"
	"slices"
)

// worker is a process that does all that the OpenAPI document asks of a member: it sends what
// was not answered again, drops what it has polled when it is refused, joins
// again, or loses the partition, and has one request with effects on its way.
type worker struct {
	Join
	epoch   int64 // 0: it has to join
	has     []Partition
	work    map[Partition]span // polled, and not yet committed
	pending *request           // sent, without an answer
}

// span is records of a partition, from an offset to the next one after it.
type span struct{ from, to int64 }

// request is one that may arrive now, later, twice or never.
type request struct {
	what      string // "join", "poll", "transaction", "leave"
	join      Join
	id        string
	epoch     int64
	spans     map[Partition]span
	committed bool // of a transaction: which is remembered by its id, here its pointer
}

// spend returns what the worker has done, or a part of it.
func (w *worker) spend(some bool) map[Partition]span {
	spans := maps.Clone(w.work)
	if some {
		for p := range spans {
			delete(spans, p)
			break
		}
	}
	return spans
}

// next is the request that the worker sends now. effects is whether it is to
// commit something.
func (w *worker) next(effects, transaction, some bool) *request {
	switch {
	case w.pending != nil && effects:
		return w.pending
	case w.epoch == 0:
		w.drop()
		return &request{what: "join", id: w.MemberID, join: w.Join}
	case w.pending != nil || !effects || len(w.work) == 0:
		return &request{what: "poll", id: w.MemberID, epoch: w.epoch}
	}
	w.pending = &request{what: "poll", id: w.MemberID, epoch: w.epoch, spans: w.spend(some)}
	if transaction {
		w.pending.what = "transaction"
	}
	return w.pending
}

func (w *worker) drop() { w.work, w.pending = map[Partition]span{}, nil }

// heard gives the worker the answer to a request. It reports whether the worker
// goes on.
func (w *worker) heard(r *request, a Assignment, committed map[Partition]int64, size int64, err error) bool {
	switch {
	case errors.Is(err, FencedInstanceID.Errorf("")):
		return false
	case err != nil:
		w.drop()
		w.epoch = 0
		return true
	}
	if r == w.pending {
		w.pending = nil
		for p := range r.spans {
			delete(w.work, p)
		}
	}
	if r.what == "transaction" {
		return true
	}
	w.epoch, w.has = a.MemberEpoch, a.Partitions
	maps.DeleteFunc(w.work, func(p Partition, _ span) bool { return !slices.Contains(w.has, p) })
	for _, p := range w.has {
		_, fetched := w.work[p]
		if w.pending != nil {
			_, sent := w.pending.spans[p]
			fetched = fetched || sent
		}
		if !fetched {
			w.work[p] = span{committed[p], committed[p] + size}
		}
	}
	return true
}
