package sim

import "github.com/eos-proxy/eos-proxy/internal/eos"

// flush is one group of calls on its way, as store/run.go has it.
type flush struct {
	w         *world
	wr        *writer
	facts     *facts
	calls     []*call
	which     []bool // those that facts were read for
	again     bool
	shared    bool
	now       int64 // when it was decided
	misrouted bool  // a call was routed by another partition count

	kept      map[identity]*keptRow
	committed map[groupPartition]int64
	staged    map[string][]offset
	groups    map[string]*eos.Group // as far as they were read
	members   map[string]bool       // whether they have any

	outcomes     []outcome
	rows         []newRow
	newStagings  []newStaging
	puts         []*newTxn
	commits      []*committing
	offsets      []newOffset
	first        map[int64]int64 // ends before
	topics       map[int64]bool
	producers    []int64 // that could be fenced
	sequences    []newRow
	transactions []int64 // refs that are staged in
}

type groupPartition struct {
	group     string
	partition eos.Partition
}

// outcome is what becomes of a call. right is what the judge would have said at
// the reading.
type outcome struct {
	*answer
	applied bool
	right   string
}

// newRow is a request's share of a log; kept on its first one.
type newRow struct {
	log    int64
	base   int64
	values []int64
	kept   *keptRow
}

type newStaging struct {
	staging
	ref int64
}

type newTxn struct {
	*op
	ref     int64
	timeout int64
	places  []place // of a whole one
	offsets []offset
}

type committing struct {
	*txnFact
	op      *op
	moves   []move
	places  []place
	offsets bool
}

type move struct{ staging, partition, records, end int64 }

type newOffset struct {
	groupPartition
	offset int64
	first  bool // the group has none there, and a client relies on that
	by     offset
}

// flush starts the SQL transaction of a group of calls.
func (w *world) flush(p *proxy, wr *writer, calls []*call) {
	what := "flush"
	for _, c := range calls {
		what += " [" + c.String() + "]"
	}
	var f *flush
	w.start(p, what, calls, wr, func(t *task) {
		if f != nil && w.mutant != FactsOutliveFailure {
			wr.facts = newFacts()
		}
		f = newFlush(w, wr, t)
		t.locks = func() []lockKey { return f.locks() }
		t.early = f.unsure() || f.shared
		t.read = f.run
	})
}

func newFlush(w *world, wr *writer, t *task) *flush {
	f := &flush{
		w: w, wr: wr, facts: wr.facts, calls: t.calls, again: t.again, shared: wr.shared > 0,
		which: make([]bool, len(t.calls)), outcomes: make([]outcome, len(t.calls)), kept: map[identity]*keptRow{},
		committed: map[groupPartition]int64{}, staged: map[string][]offset{}, groups: map[string]*eos.Group{},
		members: map[string]bool{}, first: map[int64]int64{}, topics: map[int64]bool{},
	}
	return f
}

// unsure notes the calls that cannot be decided by what is known.
func (f *flush) unsure() (some bool) {
	expected := map[scopeKey]int64{}
	for i, c := range f.calls {
		f.which[i] = f.again || f.wr.careful || !f.sure(c, expected)
		if f.w.mutant == RefusedByMemory && !f.again && !f.wr.careful {
			f.which[i] = !f.remembers(c)
		}
		some = some || f.which[i]
	}
	return some
}

// remembers is a mutant's sure: what is known is enough, whatever it says.
func (f *flush) remembers(c *call) bool {
	_, known := f.facts.next[scopeKey{c.ProducerID, c.scope}]
	return c.kind == kindProduce && known && f.facts.producers[c.ProducerID] != nil
}

// run reads what is not known, and decides.
func (f *flush) run(t *task) plan {
	if t.early {
		f.load()
	}
	f.now = f.w.db.now
	f.decide(0)
	if f.shared && !f.again && !f.wr.careful {
		f.letJoin(t)
	}
	if f.misrouted {
		for _, c := range f.calls {
			c.proxy.writer.facts = newFacts()
			f.w.route(c, nil)
		}
		return plan{again: true}
	}
	answers := make([]*answer, len(f.calls))
	for i := range f.outcomes {
		answers[i] = f.outcomes[i].answer
		if answers[i].err != nil && !f.which[i] && f.w.mutant != RefusedByMemory {
			f.wr.careful = true
			return plan{again: true} // what is not under a lock refuses nothing
		}
	}
	f.settle(answers)
	p := plan{answers: answers}
	if f.writesNothing() {
		f.judge()
		f.wr.careful = false
		return p
	}
	p.write = func() bool {
		if !f.save() {
			return false
		}
		f.wr.careful = false
		f.wr.shared = max(0, f.wr.shared-1)
		f.forget()
		return true
	}
	return p
}

// settle tells refusals of which nobody knows whether a try before was written:
// what retention removed since cannot be found.
func (f *flush) settle(answers []*answer) {
	for i, a := range answers {
		if f.again && f.w.mutant != NoDoubt && a.err != nil && a.err.Kind == eos.DuplicateSequence {
			answers[i] = &answer{err: eos.Lost("the COMMIT was not answered, and what it wrote may have been removed since")}
		}
	}
}

func (f *flush) writesNothing() bool { return len(f.rows)+len(f.puts)+len(f.commits) == 0 }

// forget drops what is known of transactions that the flush ended.
func (f *flush) forget() {
	for _, c := range f.commits {
		delete(f.facts.transactions, c.ID)
		for _, m := range c.moves {
			delete(f.facts.ends, m.staging)
		}
	}
	for _, p := range f.puts {
		if p.whole {
			delete(f.facts.transactions, p.begin.ID)
		}
	}
}

// locks are the rows that the flush locks: those of all its calls.
func (f *flush) locks() []lockKey {
	var keys []lockKey
	d := f.w.db
	producer := func(id int64) {
		if p := d.producers[id]; p != nil && p.TransactionalID != "" {
			keys = append(keys, lockKey{table: lockProducer, id: id})
		}
	}
	for i, c := range f.calls {
		switch c.kind {
		case kindProduce:
			producer(c.ProducerID)
			if t := d.transactions[c.TransactionID]; t != nil {
				keys = append(keys, lockKey{table: lockTransaction, id: t.ref})
				continue
			}
			keys = lockParts(keys, c.parts)
		case kindPut:
			producer(c.begin.ProducerID)
			if c.whole {
				keys = lockParts(keys, c.parts)
			}
			if f.which[i] {
				keys = f.lockOffsets(keys, c.offsets)
			}
		case kindCommit:
			producer(c.ProducerID)
			t := d.transactions[c.TransactionID]
			if t == nil {
				continue
			}
			keys = append(keys, lockKey{table: lockTransaction, id: t.ref})
			for _, s := range t.stagings {
				keys = append(keys, lockKey{table: lockPartition, id: s.partition})
			}
			if f.which[i] {
				keys = f.lockOffsets(keys, t.offsets)
			}
		}
	}
	return keys
}

func lockParts(keys []lockKey, parts []part) []lockKey {
	for _, p := range parts {
		keys = append(keys, lockKey{table: lockPartition, id: p.log})
	}
	return keys
}

// lockOffsets locks committed offsets that are there, and the members that
// commit them, or the groups where no member is named.
func (f *flush) lockOffsets(keys []lockKey, offsets []offset) []lockKey {
	for _, o := range offsets {
		if _, there := f.w.db.group(o.group).committed[o.partition]; there {
			keys = append(keys, lockKey{table: lockOffset, name: o.group, part: o.partition})
		}
		switch {
		case f.w.mutant == NoMemberLock && o.member != "":
		case o.member != "":
			keys = append(keys, lockKey{table: lockMember, name: o.group + "/" + o.member})
		default:
			keys = append(keys, lockKey{table: lockGroup, name: o.group})
		}
	}
	return keys
}
