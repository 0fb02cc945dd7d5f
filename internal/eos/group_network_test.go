package eos

import (
	"errors"
	"maps"
	"slices"
)

// send has a worker do the next thing, which may fail on its way.
func (w *world) send(wk *worker, heartbeat bool) {
	r := wk.next(!heartbeat, w.one(2), w.one(3))
	if w.one(12) {
		w.network = append(w.network, r) // a copy of it, or all that there is of it
		if w.one(2) {
			return
		}
	}
	switch w.IntN(12) {
	case 0:
		w.count["lost"]++
		w.handle(r, true)
	case 1:
		w.count["not saved"]++
		w.handle(r, false)
	default:
		w.hear(wk, r)
	}
}

// hear sends a request that arrives, and whose answer does.
func (w *world) hear(wk *worker, r *request) {
	a, err := w.handle(r, true)
	if err == nil && r.what == "join" && wk.epoch == 0 {
		wk.drop()
	}
	if !wk.heard(r, a, w.committed, int64(1+w.IntN(3)), err) {
		w.workers = slices.DeleteFunc(w.workers, func(other *worker) bool { return other == wk })
	}
}

// handle is a proxy that gets a request. Without saved it dies before COMMIT.
func (w *world) handle(r *request, saved bool) (a Assignment, err error) {
	var c Change
	parts := slices.Collect(maps.Keys(r.spans))
	switch r.what {
	case "join":
		a, c, err = w.shelf.whole().Join(w.now, w.shelf.resolve(r.join))
	case "leave":
		c, err = w.shelf.whole().Leave(r.id)
	case "poll":
		a, c, err = w.shelf.part(r.id).Poll(w.now, r.id, r.epoch, parts)
	case "transaction":
		if r.committed {
			return a, nil
		}
		c, err = w.shelf.part(r.id).Commit(r.id, r.epoch, parts)
	}
	w.judge(r, parts, err)
	w.tally("", err)
	if wk := w.worker(r.id); len(parts) > 0 && err != nil && (wk == nil || wk.pending != r) {
		w.count["zombie"]++
	}
	if err == nil && saved {
		w.tell(r, a, c)
		if r.what != "transaction" {
			w.waiting[r.id] = r.what == "poll" && r.epoch == a.MemberEpoch
		}
		w.save(c)
		w.process(r)
	}
	return a, err
}

// judge holds a verdict against the twin's.
func (w *world) judge(r *request, parts []Partition, err error) {
	if r.what != "poll" && r.what != "transaction" {
		return
	}
	if fault := w.twin.judge(r.id, r.epoch, parts, err); fault != nil {
		w.fail("%w", fault)
	}
}

// tally counts refusals by their code.
func (w *world) tally(prefix string, err error) {
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		w.count[prefix+refusal.Kind.Code]++
	case err != nil:
		w.fail("%w", err)
	}
}

// tell tells the twin of what is about to be saved.
func (w *world) tell(r *request, a Assignment, c Change) {
	for _, id := range slices.Concat(c.Left, c.Replaced) {
		w.twin.ended(id)
	}
	var fault error
	switch r.what {
	case "poll":
		if r.epoch < w.twin.latest(r.id) {
			w.count["repeated with the old epoch"]++
		}
		w.count["let go of"] += len(a.Revoking)
		w.twin.polled(r.id, r.epoch)
		fault = w.twin.answered(r.id, a)
	case "join":
		if !a.Created {
			w.count["rejoined"]++
		}
		fault = w.twin.joined(r.id, a)
	case "transaction":
		w.twin.committed(r.id, r.epoch)
	}
	if fault != nil {
		w.fail("%w", fault)
	}
}

// process applies the commits of a request, which are the records' processing:
// one that moves a committed offset must begin where it stands (G5).
func (w *world) process(r *request) {
	r.committed = r.what == "transaction"
	for p, s := range r.spans {
		stands, changed := Advance(ref(w.committed[p]), s.to)
		if (changed || r.committed) && w.committed[p] != s.from {
			w.fail("%s processed %v from %d to %d, where %d is committed", r.id, p, s.from, s.to, w.committed[p])
		}
		w.count["records"] += int(stands - w.committed[p])
		w.committed[p] = stands
	}
}

func ref[T any](v T) *T { return &v }

func (w *world) expire() {
	c := w.shelf.whole().Expire(w.now)
	for _, id := range c.Left {
		w.count["expired"]++
		w.twin.ended(id)
	}
	w.save(c)
}

func (w *world) save(c Change) {
	for _, id := range c.Wake {
		w.waiting[id] = false
	}
	if err := w.shelf.save(c); err != nil {
		w.fail("%w", err)
	}
}
