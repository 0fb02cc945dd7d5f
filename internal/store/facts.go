package store

import (
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// facts is the state that decides about operations. Those of the last flush
// are the cache of the next one: nothing but a flush of this proxy, or a write
// of another, changes them, and the latter is found out by the guard of the
// flush (guard.go), in its own SQL transaction. They are dropped whenever a
// flush fails.
type facts struct {
	clock        clock
	topics       map[int64]topicFacts
	producers    map[int64]*producerFacts
	transactions map[string]*transaction
	ends         map[int64]*logEnd // by log id
	next         map[scopeKey]nextSequence
}

func newFacts() *facts {
	return &facts{
		topics:       map[int64]topicFacts{},
		producers:    map[int64]*producerFacts{},
		transactions: map[string]*transaction{},
		ends:         map[int64]*logEnd{},
		next:         map[scopeKey]nextSequence{},
	}
}

// maxFacts bounds the entries that are kept from flush to flush, at about a
// hundred bytes each.
const maxFacts = 500_000

func (c *facts) tooMany() bool {
	return len(c.topics)+len(c.producers)+len(c.transactions)+len(c.ends)+len(c.next) > maxFacts
}

// topicFacts is the part of a topic that decides about a request.
type topicFacts struct {
	partitionCount int
	maxRecordBytes int64
}

// producerFacts is a producer; openRef is its open transaction, 0 for none.
type producerFacts struct {
	eos.Producer
	openRef   int64
	timeoutMS int
	appended  int64 // when this proxy last appended for it, in milliseconds since 1970; 0 if it did not
}

// Rows that are deleted cannot be found in the way by a unique key. So what is
// known must be young, by the database's clock, or is checked otherwise:
//
//   - A sequence that follows what was stored until surelyNext ago: who has
//     stored it since is in the way, as no row is deleted before the start of its
//     log has been behind it for keptFor.
//   - A producer that appended until surelyKnown ago is not forgotten, which
//     takes it a week of idleness (forgetProducers).
//
// A guard holds that the flush is not later than maxLate, so that a proxy that
// freezes between its decision and its writing does not write.
const (
	surelyNext  = 30 * time.Second
	surelyKnown = 30 * time.Minute
	maxLate     = eos.CommitMargin * time.Millisecond
	keptFor     = 2 * time.Minute // more than surelyNext and maxLate, of the one who writes and the other
)

// mayBeForgotten reports whether the producer must be held while it appends.
func (p *producerFacts) mayBeForgotten(now int64) bool {
	return !p.transactional() && now-p.appended > surelyKnown.Milliseconds()
}

// transactional reports whether the producer can be fenced or bound: only then
// do its facts ever change, but that another one may be forgotten.
func (p *producerFacts) transactional() bool { return p.TransactionalID != "" }

// transaction is a transaction as the writer sees it.
type transaction struct {
	TransactionState
	ref      int64
	stagings map[int64]int64 // staging id by partition id
	places   map[int64]place // of those partitions; one that is gone has none
	staged   int64           // bytes
	scopes   []scopeKey      // whose next sequence counts within it, as far as they are known
	offsets  bool            // group offsets are staged as well
}

func newTransaction() *transaction {
	return &transaction{stagings: map[int64]int64{}, places: map[int64]place{}}
}

// place is where a partition is.
type place struct {
	topic     string
	partition int
}

// logEnd is the end of a log, from which the next batch goes on.
type logEnd struct {
	offset       int64
	bytes        int64
	maxTimestamp int64
}

// scopeKey is where sequences count.
type scopeKey struct{ producer, scope int64 }

// nextSequence is the sequence that a producer sends next. Where an open
// transaction holds a part of those before it, the number counts only within
// it: an abort takes it back (T7).
type nextSequence struct {
	sequence int64
	openRef  int64
	at       int64 // when it was known to be that, in milliseconds since 1970
}

// unknownRef is the openRef that no transaction has.
const unknownRef = -1

// keptRequest is a stored request: what decides about its repeat, and its answer.
type keptRequest struct {
	eos.Stored
	result Result
	at     int64 // when it was stored, in milliseconds since 1970; 0 while it is not
}

// identity is the key of a kept request in the tables.
type identity struct {
	producer, scope, sequence int64
	key                       string
}

// clock tells the database's time between two readings of it, by the proxy's
// monotonic clock (R2).
type clock struct {
	ms   int64 // since 1970
	read time.Time
}

// maxClockAge bounds how far the two may drift apart.
const maxClockAge = time.Second

func (c *clock) set(ms int64) { *c = clock{ms, time.Now()} }

// now returns the database's time in milliseconds since 1970, and whether it
// was read lately.
func (c *clock) now() (ms int64, ok bool) {
	age := time.Since(c.read)
	return c.ms + age.Milliseconds(), !c.read.IsZero() && age < maxClockAge
}
