package judge

import (
	"cmp"
	"slices"
	"sort"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// scopeID names what has sequences of its own: a topic's path or a partition's, of a producer.
type scopeID struct {
	producer int64
	topic    string
	scope    int
}

// keyID names an Idempotency-Key: of a topic, or of a transaction.
type keyID struct{ topic, txn, key string }

// scope is all that was sent with sequences of one scope.
type scope struct {
	id     scopeID
	ops    []*op
	stamp  int32 // of the walk
	newest *op   // of the walk

	tiles         []tile // those in the log, by sequence
	trimmed       bool
	transactional bool // some of its requests are in transactions
	longest       int64
	acked         bounds // the end of the sequences that were acknowledged
}

// tile is an operation in the log.
type tile struct {
	op    *op
	done  int64 // by when it, or one behind it, was known to be there
	epoch int64 // the lowest that it, or one behind it, was sent under
	sent  int64 // when it, or one before it, was sent
}

func (b *book) scopeOf(p *history.Produce) *scope {
	id := scopeID{p.Producer, b.topic(p.Topic).name, p.Scope}
	s := b.scopes[id]
	if s == nil {
		s = &scope{id: id}
		b.scopes[id] = s
		b.allScopes = append(b.allScopes, s)
		b.ofProducer[p.Producer] = append(b.ofProducer[p.Producer], s)
	}
	return s
}

// stored returns the range of sequences that an operation has, or had, in the log, empty if it has none.
func (o *op) stored() (from, to int64) {
	return o.sequence, o.sequence + max(o.extent, min(o.present, o.count()))
}

// settle finds what the checks need to know of all operations of a scope.
func (b *book) settle(s *scope) {
	slices.SortStableFunc(s.ops, func(a, b *op) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, o := range s.ops {
		s.longest = max(s.longest, o.count())
		s.transactional = s.transactional || o.txn != nil
		s.trimmed = s.trimmed || b.trimmed(o)
		if acked := (deed{o, o.txn}).acked(); o.ok && acked.at != never {
			s.acked.add(acked, o.sequence+o.count())
		}
		if o.known() > 0 || o.hasLeft() && o.ok && o.txn == nil {
			s.tiles = append(s.tiles, tile{o, b.done(o), b.lastEpoch(o), b.sentFrom(o)})
		}
	}
	s.acked.sort()
	for i := 1; i < len(s.tiles); i++ {
		s.tiles[i].sent = max(s.tiles[i].sent, s.tiles[i-1].sent)
	}
	for i := len(s.tiles) - 2; i >= 0; i-- {
		s.tiles[i].done = min(s.tiles[i].done, s.tiles[i+1].done)
		s.tiles[i].epoch = min(s.tiles[i].epoch, s.tiles[i+1].epoch)
	}
}

// checkSequences holds that what is in the log of a scope are all sequences from 0 on, each of one operation, and that
// registrations told where they end.
func (b *book) checkSequences() {
	for _, s := range b.allScopes {
		b.settle(s)
		b.checkTiles(s)
		b.checkTwins(s.ops, func(o *op) int64 { return o.sequence }, "sequence")
	}
	for _, p := range b.allProducers {
		for _, r := range p.registrations {
			b.checkNext(p, r)
		}
	}
}

func (b *book) checkTiles(s *scope) {
	var last *op
	expected := int64(0)
	for i := range s.tiles {
		o := s.tiles[i].op
		from, to := o.stored()
		lines := []int32{o.line, o.ackLine}
		if last != nil {
			lines = append(lines, last.line, last.ackLine)
		}
		switch {
		case from > expected && !b.mayHaveHad(s, expected, from):
			b.add(SequenceGap, lines,
				"producer %d, %s (scope %d): operation %d with sequence %d is in the log, and nothing from "+
					"sequence %d on before it",
				s.id.producer, s.id.topic, s.id.scope, o.id, from, expected)
		case from < expected && last != nil:
			b.add(IdentityReused, lines,
				"producer %d, %s (scope %d): operation %d with sequence %d is in the log, and so is operation "+
					"%d, up to sequence %d",
				s.id.producer, s.id.topic, s.id.scope, o.id, from, last.id, expected-1)
		}
		if last != nil && from == expected && o.ok && o.acked < last.invoked {
			b.add(SequenceGap, lines,
				"producer %d, %s (scope %d): operation %d with sequence %d was acknowledged at %d; operation %d, just "+
					"before it, was first sent at %d",
				s.id.producer, s.id.topic, s.id.scope, o.id, from, o.acked, last.id, last.invoked)
		}
		if to > expected {
			expected, last = to, o
		}
	}
}

// mayHaveHad reports whether operations whose records may have left the log can have had all sequences of a range.
func (b *book) mayHaveHad(s *scope, from, to int64) bool {
	if !s.trimmed {
		return false
	}
	for _, o := range s.ops[s.firstAt(from):] {
		if o.sequence <= from && o.hasLeft() && b.may(o) {
			from = max(from, o.sequence+o.count())
		}
	}
	return from >= to
}

// checkTwins holds of operations with one identity, which follow each other, that not two are accepted; those of
// transactions that did not commit do not count, their sequences are used again.
func (b *book) checkTwins(ops []*op, identity func(*op) int64, what string) {
	var last *op
	for _, o := range ops {
		if !o.ok && o.known() == 0 || o.txn != nil && o.txn.committed.line == 0 {
			continue
		}
		if last != nil && identity(last) == identity(o) && o.count() > 0 && last.count() > 0 {
			b.add(IdentityReused, []int32{last.line, last.ackLine, o.line, o.ackLine},
				"operations %d and %d have the same %s %d%s and other records; both were accepted",
				last.id, o.id, what, identity(o), o.key)
		}
		last = o
	}
}

// checkKeys holds the same of idempotency keys.
func (b *book) checkKeys() {
	for _, id := range b.allKeys {
		b.checkTwins(b.keys[id], func(*op) int64 { return 0 }, "key")
	}
}

// checkNext holds next_sequences of a registration against the log.
func (b *book) checkNext(p *producer, r *register) {
	told := map[scopeID]int64{}
	for _, n := range r.next {
		told[scopeID{p.id, n.Topic, n.Scope}] = n.Sequence
	}
	for _, s := range b.ofProducer[p.id] {
		b.checkNextOf(s, r, told[s.id]) // a scope that is left out has nothing stored
	}
}

// checkNextOf compares a registration with one scope. What was done before it, or under an epoch that it fenced, ends
// there at the latest; what was sent later begins there at the earliest.
func (b *book) checkNextOf(s *scope, r *register, next int64) {
	above := sort.Search(len(s.tiles), func(i int) bool { _, to := s.tiles[i].op.stored(); return to > next })
	if above < len(s.tiles) && (s.tiles[above].done < r.invoked || s.tiles[above].epoch < r.epoch) {
		for i := above; i < len(s.tiles); i++ {
			if o := s.tiles[i].op; b.done(o) < r.invoked || b.lastEpoch(o) < r.epoch {
				b.wrongNext(s, r, o, next, "of before")
				break
			}
		}
	}
	below := sort.Search(len(s.tiles), func(i int) bool { return s.tiles[i].op.sequence >= next })
	if below > 0 && s.tiles[below-1].sent > r.told.at {
		for i := below - 1; i >= 0; i-- {
			if o := s.tiles[i].op; b.sentFrom(o) > r.told.at {
				b.wrongNext(s, r, o, next, "sent later")
				break
			}
		}
	}
}

func (b *book) wrongNext(s *scope, r *register, o *op, next int64, when string) {
	from, to := o.stored()
	b.add(NextSequences, []int32{o.line, o.ackLine, r.told.line},
		"registration %d (epoch %d) told the next sequence %d of %s; operation %d, %s, has the sequences %d to %d",
		r.op.id, r.epoch, next, s.id.topic, o.id, when, from, to-1)
}

// done returns by when an operation is known to be in the log.
func (b *book) done(o *op) int64 { return deed{o, o.txn}.acked().at }

// sentFrom returns from when on an operation may be in the log.
func (b *book) sentFrom(o *op) int64 { return deed{o, o.txn}.sent().at }

// lastEpoch returns the highest epoch that an operation was sent under.
func (b *book) lastEpoch(o *op) (epoch int64) {
	b.each(o, func(t *try) { epoch = max(epoch, t.epoch) })
	if o.txn != nil {
		epoch = max(epoch, o.txn.epoch)
	}
	return epoch
}
