package sim

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// retention is that of the topic of which records leave.
var retention = eos.Retention{MS: 20_000, Bytes: 6}

// retain raises the start of a log behind the batches that leave, and keeps
// where their producers stand: store/retention.go.
func (w *world) retain(p *proxy) {
	log := logOf(eos.Partition{Topic: shortTopic, Number: w.n(w.db.counts[shortTopic])})
	w.start(p, "retention", nil, nil, func(t *task) {
		t.early = true
		t.locks = func() []lockKey { return []lockKey{{table: lockPartition, id: log}} }
		t.read = func(*task) plan {
			l := w.db.logs[log]
			start, leave := l.start, []*keptRow(nil)
			for _, b := range l.batches {
				if b.base < start {
					continue
				}
				end := b.base + int64(len(b.values))
				if !retention.Expired(eos.Oldest{AgeMS: w.db.now - b.at, Behind: l.end - end}) {
					break
				}
				start = end
				if b.kept != nil {
					leave = append(leave, b.kept)
				}
			}
			if start == l.start {
				return plan{}
			}
			return plan{write: func() bool {
				if l.start >= start {
					return true
				}
				for _, k := range leave {
					key := scopeKey{k.producer, k.scope}
					w.db.positions[key] = max(w.db.positions[key], k.sequence+int64(k.RecordCount))
				}
				w.truth.leaves(log, l.start, start)
				l.start = start
				w.db.trims = append(w.db.trims, trim{log, start, w.db.now})
				w.count.Raised++
				return true
			}}
		}
	})
}

// trim deletes what lies below a start that was raised a while ago.
func (w *world) trim() {
	if len(w.db.trims) == 0 || w.db.now < w.db.trims[0].raised+keptFor {
		return
	}
	t := w.db.trims[0]
	w.db.trims = w.db.trims[1:]
	l := w.db.logs[t.log]
	l.batches = slices.DeleteFunc(l.batches, func(b batch) bool {
		if b.base >= t.to {
			return false
		}
		if b.kept != nil {
			w.db.deleteKept(b.kept)
			w.truth.trimmed(b.kept.op)
			w.count.Trimmed++
		}
		return true
	})
	w.tracef("batches of %d below %d are deleted", t.log, t.to)
}
