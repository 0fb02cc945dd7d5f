package judge

import (
	"cmp"
	"slices"

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

	uploads       bool // it has some
	transactional bool // some of its requests are in transactions
	longest       int64
	acked         bounds // the end of the sequences that were acknowledged
}

func (b *book) scopeOf(p *history.Produce) *scope {
	id := scopeID{p.Producer, p.Topic, p.Scope}
	s := b.scopes[id]
	if s == nil {
		s = &scope{id: id}
		b.scopes[id] = s
		b.ofProducer[p.Producer] = append(b.ofProducer[p.Producer], s)
	}
	return s
}

// stored returns the range of sequences that an operation has in the log, empty if it has none.
func (o *op) stored() (from, to int64) { return o.sequence, o.sequence + min(o.present, o.count()) }

// checkSequences holds that what is in the log of a scope are all sequences from 0 on, each of one operation, and that
// registrations told where they end.
func (b *book) checkSequences() {
	for _, s := range b.scopes {
		slices.SortStableFunc(s.ops, func(a, b *op) int { return cmp.Compare(a.sequence, b.sequence) })
		s.settle()
		b.checkTiles(s)
	}
	for _, p := range b.producers {
		for _, r := range p.registrations {
			b.checkNext(p, r)
		}
	}
}

// settle finds what the checks need to know of all operations of a scope.
func (s *scope) settle() {
	for _, o := range s.ops {
		s.longest = max(s.longest, o.count())
		s.uploads = s.uploads || o.kind == history.KindUpload
		s.transactional = s.transactional || o.txn != nil
		if acked := (deed{o, o.txn}).acked(); o.ok && acked.at != never {
			s.acked.add(acked, o.sequence+o.count())
		}
	}
	s.acked.sort()
}

func (b *book) checkTiles(s *scope) {
	var last *op
	expected := int64(0)
	for _, o := range s.ops {
		from, to := o.stored()
		if from == to || b.trimmed(o) {
			if b.trimmed(o) {
				return
			}
			continue
		}
		lines := []int32{o.line, o.ackLine}
		if last != nil {
			lines = append(lines, last.line, last.ackLine)
		}
		switch {
		case from > expected:
			b.add(SequenceGap, lines, "producer %d, %s (scope %d): operation %d with sequence %d is in the log, and nothing from sequence %d on before it",
				s.id.producer, s.id.topic, s.id.scope, o.id, from, expected)
		case from < expected:
			b.add(IdentityReused, lines, "producer %d, %s (scope %d): operation %d with sequence %d is in the log, and so is operation %d, up to sequence %d",
				s.id.producer, s.id.topic, s.id.scope, o.id, from, last.id, expected-1)
		}
		if to > expected {
			expected, last = to, o
		}
	}
	b.checkTwins(s.ops, func(o *op) int64 { return o.sequence }, "sequence")
}

// checkTwins holds of operations with one identity, which follow each other, that not two are accepted; those of
// transactions that did not commit do not count, their sequences are used again.
func (b *book) checkTwins(ops []*op, identity func(*op) int64, what string) {
	var last *op
	for _, o := range ops {
		if !o.ok || o.txn != nil && o.txn.committed.line == 0 {
			continue
		}
		if last != nil && identity(last) == identity(o) && o.count() > 0 && last.count() > 0 {
			b.add(IdentityReused, []int32{last.ackLine, o.ackLine}, "operations %d and %d have the same %s %d%s and other records; both were accepted",
				last.id, o.id, what, identity(o), o.key)
		}
		last = o
	}
}

// checkKeys holds the same of idempotency keys.
func (b *book) checkKeys() {
	for _, ops := range b.keys {
		b.checkTwins(ops, func(*op) int64 { return 0 }, "key")
	}
}

// checkNext holds next_sequences of a registration against the log.
func (b *book) checkNext(p *producer, r *register) {
	told := map[scopeID]int64{}
	for _, n := range r.next {
		told[scopeID{p.id, n.Topic, n.Scope}] = n.Sequence
	}
	for id, n := range told {
		if s := b.scopes[id]; s != nil {
			b.checkNextOf(s, r, n)
		}
	}
	for _, s := range b.ofProducer[p.id] {
		if _, ok := told[s.id]; !ok {
			b.checkNextOf(s, r, 0)
		}
	}
}

func (b *book) checkNextOf(s *scope, r *register, next int64) {
	lines := func(o *op) []int32 { return []int32{o.line, o.ackLine, r.told.line} }
	for _, o := range s.ops {
		from, to := o.stored()
		if from == to || b.trimmed(o) {
			continue
		}
		earlier := b.done(o) < r.invoked || b.lastEpoch(o) < r.epoch
		if earlier && to > next {
			b.add(NextSequences, lines(o), "registration %d (epoch %d) told the next sequence %d of %s; operation %d, of before, has the sequences %d to %d",
				r.op.id, r.epoch, next, s.id.topic, o.id, from, to-1)
		}
		if later := b.sentFrom(o) > r.told.at; later && from < next {
			b.add(NextSequences, lines(o), "registration %d (epoch %d) told the next sequence %d of %s; operation %d, sent later, has the sequences %d to %d",
				r.op.id, r.epoch, next, s.id.topic, o.id, from, to-1)
		}
	}
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
