package appender

import (
	"errors"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// settle answers a group. A request whose predecessor may still arrive is kept;
// those whose predecessor has just been written are ready; what met somebody
// else's lock is set aside.
func (a *Appender) settle(group []*waiting, outcomes []store.Outcome) {
	var busy []*waiting
	var done appended
	for i, w := range group {
		o := outcomes[i]
		if store.IsBusy(o.Err) {
			busy = append(busy, w)
			continue
		}
		if r := w.op.Append; r != nil && r.HasProducer() {
			if a.waitsForPredecessor(w, o.Err) {
				continue
			}
			if o.Err == nil {
				a.ready = append(a.ready, a.early.after(w.scope(), o.Result.NextSequence)...)
			}
		}
		done.add(w.op, &o)
		w.answer(o)
	}
	if len(busy) > 0 {
		a.setAside(busy)
	}
	if (done.records > 0 || len(done.logs) > 0) && a.cfg.Appended != nil {
		a.cfg.Appended(done.logs, done.records, done.bytes)
	}
}

// appended counts what a flush appended.
type appended struct {
	logs    []int64 // ids of the partitions that have grown
	records int
	bytes   int64
}

func (d *appended) add(op *store.Op, o *store.Outcome) {
	if o.Err != nil || o.Result.Repeated || o.State != nil && o.State.Repeated {
		return
	}
	for _, r := range op.Requests() {
		d.records += r.RecordCount
		for _, p := range r.Parts {
			d.bytes += p.Size
		}
	}
	switch {
	case o.State != nil:
		d.logs = append(d.logs, o.State.Logs...)
	case !o.Result.Staged:
		d.logs = append(d.logs, op.Append.Logs()...)
	}
}

func (w *waiting) answer(o store.Outcome) {
	w.op = nil // its records are not needed while its deadline passes
	w.outcome <- o
}

// waitsForPredecessor keeps a request that came too early for its sequence,
// and reports whether it does. It is refused when its time is over.
func (a *Appender) waitsForPredecessor(w *waiting, err error) bool {
	if a.cfg.SequenceWait <= 0 || err == nil {
		return false
	}
	var refusal *eos.Error
	if !errors.As(err, &refusal) || refusal.Kind != eos.OutOfOrder || w.op.Append.Sequence <= *refusal.ExpectedSequence {
		return false
	}
	now := time.Now()
	if w.deadline.IsZero() {
		if len(a.early.byTime) >= a.cfg.MaxQueued {
			return false
		}
	} else if !now.Before(w.deadline) {
		return false
	}
	a.early.add(w, now.Add(a.cfg.SequenceWait))
	return true
}
