package sim

import (
	"errors"
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// exchangeOf is what an op that is no flush locks, and what it does: the
// operations of the store that read in one trip and write in a second one.
func (w *world) exchangeOf(c *call) (locks func() []lockKey, run exchanged) {
	switch c.kind {
	case kindRegister:
		return func() []lockKey { return w.registerLocks(c) }, func(bool) (*answer, func() bool) { return w.register(c) }
	case kindAbort:
		return func() []lockKey { return w.transactionLock(c) }, func(bool) (*answer, func() bool) { return w.abort(c) }
	case kindStage:
		return func() []lockKey { return w.transactionLock(c) }, func(bool) (*answer, func() bool) { return w.stage(c) }
	}
	return w.groupExchange(c)
}

func (w *world) registerLocks(c *call) []lockKey {
	var keys []lockKey
	if c.Key != "" {
		keys = append(keys, lockKey{table: lockKeyOf, name: "key " + c.Key})
	}
	id, known := w.db.names[c.TransactionalID]
	if !known {
		return append(keys, lockKey{table: lockKeyOf, name: "id " + c.TransactionalID})
	}
	keys = append(keys, lockKey{table: lockProducer, id: id})
	if ref, _ := w.db.open(id); ref != 0 {
		keys = append(keys, lockKey{table: lockTransaction, id: ref})
	}
	return keys
}

// register creates a producer, or raises its epoch and aborts its open
// transaction (P9, T6).
func (w *world) register(c *call) (*answer, func() bool) {
	if first := w.db.registrations[c.Key]; first != nil && c.Key != "" && w.mutant != RegistrationKeyLost {
		again := *first
		again.replayed = true
		w.truth.told(c, &again, "")
		return &again, nil
	}
	a := &answer{}
	return a, func() bool {
		id, known := w.db.names[c.TransactionalID]
		if !known || c.TransactionalID == "" {
			id = w.db.newID()
			w.db.producers[id] = &producerRow{Producer: eos.Producer{ID: id, TransactionalID: c.TransactionalID, Known: true}}
			if c.TransactionalID != "" {
				w.db.names[c.TransactionalID] = id
			}
		} else {
			w.db.producers[id].Epoch++
		}
		p := w.db.producers[id]
		p.timeout = c.timeout
		if t := w.db.transactions[p.OpenTransaction]; t != nil {
			fence := func() {
				if t.State == eos.StateOngoing {
					w.db.abort(t, eos.AbortedByFencing)
					w.truth.aborted(t.ID, eos.AbortedByFencing)
				}
			}
			if w.mutant == FenceInTwoSteps {
				w.later(fence)
			} else {
				fence()
			}
		}
		a.producer, a.epoch, a.next = id, p.Epoch, map[scopeKey]int64{}
		for key := range w.db.heads {
			if key.producer == id && w.db.next(key) > 0 {
				a.next[key] = w.db.next(key)
			}
		}
		for key := range w.db.positions {
			if key.producer == id {
				a.next[key] = w.db.next(key)
			}
		}
		if c.Key != "" {
			w.db.registrations[c.Key] = a
		}
		w.truth.applies(c)
		w.truth.registered(c, a)
		return true
	}
}

func (w *world) transactionLock(c *call) []lockKey {
	if t := w.db.transactions[c.TransactionID]; t != nil {
		return []lockKey{{table: lockTransaction, id: t.ref}}
	}
	return []lockKey{{table: lockKeyOf, name: "transaction " + c.TransactionID}}
}

// caller refuses who is not the transaction's, or was replaced.
func (w *world) caller(c *call, t *eos.Transaction, repeat bool) error {
	if err := t.CheckProducer(c.ProducerID); err != nil || !c.HasProducer() {
		return err
	}
	p := eos.Producer{ID: c.ProducerID}
	if row := w.db.producers[c.ProducerID]; row != nil {
		p = row.Producer
	}
	return w.checkCaller(p, c.Epoch, repeat)
}

func (w *world) checkCaller(p eos.Producer, epoch int64, repeat bool) error {
	if err := eos.CheckKnown(p, epoch, ""); err != nil || repeat || w.mutant == NoEpochCheck {
		return err
	}
	return eos.CheckFence(p, epoch)
}

// refused answers with a refusal that is right at this moment.
func (w *world) refused(c *call, err error) (*answer, func() bool) {
	a := &answer{}
	errors.As(err, &a.err)
	w.truth.told(c, a, "")
	return a, nil
}

func (w *world) abort(c *call) (*answer, func() bool) {
	row := w.db.transactions[c.TransactionID]
	t := &eos.Transaction{ID: c.TransactionID, State: eos.StateOngoing, ProducerID: c.ProducerID}
	if row != nil {
		t = &row.Transaction
	}
	verdict, refusal := t.DecideAbort()
	err := w.caller(c, t, refusal == nil && verdict == eos.Repeat)
	if p := w.db.producers[c.ProducerID]; err == nil && row == nil && p != nil {
		err = eos.CheckBindable(p.Producer)
	}
	if err != nil {
		return w.refused(c, err)
	}
	if refusal != nil {
		return w.refused(c, refusal)
	}
	a := &answer{state: eos.StateAborted, by: eos.AbortedByClient}
	if verdict == eos.Repeat {
		a.by, a.replayed = t.AbortedBy, true
		w.truth.told(c, a, "")
		return a, nil
	}
	return a, func() bool {
		if row == nil {
			if w.db.transactions[c.TransactionID] != nil {
				return false
			}
			t.State, t.AbortedBy = eos.StateAborted, eos.AbortedByClient
			row := &txnRow{Transaction: *t, ref: w.db.newID()}
			w.db.transactions[t.ID], w.db.refs[row.ref] = row, row
			w.truth.applies(c)
			w.truth.givenUp(c.op)
			return true
		}
		w.db.abort(row, eos.AbortedByClient)
		w.truth.applies(c)
		w.truth.aborted(t.ID, eos.AbortedByClient)
		return true
	}
}

// stage stages offsets in a transaction: store/offsets.go.
func (w *world) stage(c *call) (*answer, func() bool) {
	t := w.db.transactions[c.TransactionID]
	if t == nil {
		return w.refused(c, eos.TransactionNotFound.Errorf("transaction %q is not known", c.TransactionID))
	}
	verdict, refusal := t.DecideStage(t.requests[c.Fingerprint])
	if err := w.caller(c, &t.Transaction, refusal == nil && verdict == eos.Repeat); err != nil {
		return w.refused(c, err)
	}
	if refusal != nil {
		return w.refused(c, refusal)
	}
	a := &answer{state: eos.StateOngoing}
	if verdict == eos.Repeat {
		a.replayed = true
		return a, nil
	}
	f := &flush{w: w, groups: map[string]*eos.Group{}, members: map[string]bool{}, committed: map[groupPartition]int64{}}
	f.loadOffsets(c.offsets)
	if err := f.checkMembers(c.offsets); err != nil {
		return w.refused(c, err)
	}
	return a, func() bool {
		for _, o := range c.offsets {
			i := slices.IndexFunc(t.offsets, func(p offset) bool { return p.group == o.group && p.partition == o.partition })
			if i >= 0 {
				t.offsets[i] = o
			} else {
				t.offsets = append(t.offsets, o)
			}
		}
		t.requests[c.Fingerprint] = true
		w.truth.applies(c)
		w.truth.staged(c.op)
		return true
	}
}

// expireTransactions aborts what is past its timeout by the database's clock (T5).
func (w *world) expireTransactions(p *proxy) {
	now := w.db.now
	if w.mutant == TimeoutByProxyClock {
		now += p.skew
	}
	var due []*txnRow
	for _, id := range slices.Sorted(maps.Keys(w.db.refs)) {
		if t := w.db.refs[id]; t.State == eos.StateOngoing && t.expires <= now {
			due = append(due, t)
		}
	}
	if len(due) == 0 {
		return
	}
	w.start(p, "expiry of transactions", nil, nil, func(t *task) {
		var mine []*txnRow
		t.early = true
		t.locks = func() (keys []lockKey) {
			mine = nil
			for _, x := range due {
				key := lockKey{table: lockTransaction, id: x.ref}
				if holder := w.db.locks[key]; holder == nil || holder == t {
					mine, keys = append(mine, x), append(keys, key)
				}
			}
			return keys
		}
		t.read = func(*task) plan {
			return plan{write: func() bool {
				for _, x := range mine {
					if x.State == eos.StateOngoing {
						w.db.abort(x, eos.AbortedByTimeout)
						w.truth.aborted(x.ID, eos.AbortedByTimeout)
					}
				}
				return true
			}}
		}
	})
}

// later writes something in an SQL transaction of its own, unless the proxy dies
// before: what a mutant does.
func (w *world) later(fn func()) {
	w.tasks = append(w.tasks, &task{what: "a second SQL transaction", early: true, plan: &plan{write: func() bool {
		if w.calm || !w.one(3) {
			fn()
		}
		return true
	}}})
}
