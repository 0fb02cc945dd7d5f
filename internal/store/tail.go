package store

import (
	"container/list"
	"slices"
	"sync"
	"time"
)

// tail keeps the last batches that this proxy committed, of the logs that
// somebody follows, up to a limit of bytes over all of them. Of each log it
// keeps batches without a gap, up to the last one that this proxy wrote: other
// proxies may have written behind it, which the tail does not know. What it
// keeps never becomes untrue, as records do not change; only where a log ends
// must be asked elsewhere.
type tail struct {
	limit int64 // 0: it keeps nothing

	mu    sync.RWMutex
	logs  map[int64][]*tailBatch // by log id, in offset order, never empty; guarded by mu
	order list.List              // of *tailBatch, the oldest first; guarded by mu
	bytes int64                  // guarded by mu

	wanted map[int64]time.Time // when somebody last was at the end of a log; guarded by mu
}

// tailBatch is a batch in memory; only at is changed after it was made.
type tailBatch struct {
	log       int64
	base      int64
	timestamp int64
	packed    *Packed
	cost      int64
	at        *list.Element // in order; guarded by the tail's mu
}

func (b *tailBatch) end() int64 { return b.base + int64(b.packed.Count) }

func newTail(limit int64) *tail {
	return &tail{limit: limit, logs: map[int64][]*tailBatch{}, wanted: map[int64]time.Time{}}
}

// batchOverhead is about what a batch takes in memory beside its contents.
const batchOverhead = 400

// costOf returns the bytes that a batch takes in memory.
func costOf(p *Packed) int64 {
	cost := batchOverhead + cap(p.Body) + 4*cap(p.Ends) + cap(p.Flags) + 8*cap(p.Timestamps)
	for _, h := range p.Headers {
		if cost += 8; h != nil {
			cost += 16 + len(*h)
		}
	}
	return int64(cost)
}

// wantedFor is how long a log is kept after somebody was at its end: longer
// than a fetch may wait.
const wantedFor = 2 * time.Minute

// want tells that somebody is at the end of a log, and waits for more.
func (t *tail) want(log int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted[log] = time.Now()
}

// keep appends what a flush wrote to the logs that somebody follows, after its
// COMMIT was answered. Of the others nothing is kept.
func (t *tail) keep(f *flush) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for i := range f.rows {
		r := &f.rows[i]
		if r.staged {
			continue
		}
		if at, ok := t.wanted[r.log]; !ok || now.Sub(at) > wantedFor {
			delete(t.wanted, r.log)
			t.remove(r.log)
			continue
		}
		t.add(r.log, r.baseOffset, f.now, r.Packed)
	}
}

// add adds a batch that was just committed at an offset of a log, with the
// timestamp of its records that have none of their own. It is called for one
// log in the order of its offsets. Where the batch does not continue what is
// kept of the log, somebody else wrote in between, and that is dropped.
func (t *tail) add(log, baseOffset, timestamp int64, p *Packed) {
	if t.limit == 0 {
		return
	}
	b := &tailBatch{log: log, base: baseOffset, timestamp: timestamp, packed: p, cost: costOf(p)}
	if kept := t.logs[log]; len(kept) > 0 && kept[len(kept)-1].end() != baseOffset {
		t.remove(log)
	}
	t.logs[log] = append(t.logs[log], b)
	b.at = t.order.PushBack(b)
	t.bytes += b.cost
	for t.bytes > t.limit {
		t.evict()
	}
}

// evict removes the oldest batch, which is the first of its log.
func (t *tail) evict() {
	b, ok := t.order.Remove(t.order.Front()).(*tailBatch)
	if !ok {
		panic("the tail holds what is no batch")
	}
	t.bytes -= b.cost
	kept := t.logs[b.log]
	kept[0] = nil // the array lives on with the rest
	if t.logs[b.log] = kept[1:]; len(kept) == 1 {
		delete(t.logs, b.log)
	}
}

// drop forgets logs that were written to or deleted in another way than keep
// knows of. They need not be known.
func (t *tail) drop(logs ...int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, log := range logs {
		t.remove(log)
	}
}

func (t *tail) remove(log int64) {
	for _, b := range t.logs[log] {
		t.order.Remove(b.at)
		t.bytes -= b.cost
	}
	delete(t.logs, log)
}

// span returns the offsets from which and up to before which a log is kept;
// ok is false when nothing is.
func (t *tail) span(log int64) (start, end int64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	kept := t.logs[log]
	if len(kept) == 0 {
		return 0, 0, false
	}
	return kept[0].base, kept[len(kept)-1].end(), true
}

// read appends the batches from the one that holds an offset on, up to the end
// or until they have so many bytes, but one at least; none when the offset is
// not kept. It returns the end of what is kept of the log.
func (t *tail) read(to []*tailBatch, log, offset, bytes int64) (batches []*tailBatch, end int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	kept := t.logs[log]
	if len(kept) == 0 || offset < kept[0].base || offset >= kept[len(kept)-1].end() {
		return to, 0
	}
	first, found := slices.BinarySearchFunc(kept, offset, func(b *tailBatch, offset int64) int {
		switch {
		case b.base > offset:
			return 1
		case b.base < offset:
			return -1
		}
		return 0
	})
	if !found {
		first-- // the one before holds it
	}
	for _, b := range kept[first:] {
		if to = append(to, b); bytes <= b.cost {
			break
		}
		bytes -= b.cost
	}
	return to, kept[len(kept)-1].end()
}
