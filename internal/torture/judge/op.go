package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

// place is where a run of an operation's records is, as its acknowledgement says.
type place struct {
	part   int32
	count  int32
	offset int64
	first  int64
}

// claim is a place with what claims it.
type claim struct {
	place
	deed deed
}

// piece is what a request has for one topic.
type piece struct {
	topic     *topic
	partition int
	first     int64
	count     int64
}

// op is an operation that writes.
type op struct {
	id      int64
	kind    history.Kind
	line    int32 // of its first attempt in the history
	ackLine int32 // of its first answer
	last    int32 // of its tries, by index plus 1
	invoked int64 // the first of its attempts
	acked   int64 // the first of its answers; never, if there is none

	ok, unknown bool // what attempts came to
	failed      bool // one failed, but a repeat of it may not

	pieces   []piece
	places   []place
	answer   uint64 // a hash of what the first answer says
	scope    *scope
	sequence int64
	next     int64 // of an upload: the next sequence that was told
	key      string
	txn      *txn
	register *register

	shown mark // when a reader was first shown a record of it
	inLogs
	passed
}

// inLogs is what logs have, or had, of an operation: numbers of records.
type inLogs struct {
	present int64 // in the end
	copies  int64 // once more
	left    int64 // that are known to have left
	gone    int64 // that may have, these included
	extent  int64 // if some have: those from the first on that are known to have been there
}

// passed is where the walk over the logs met an operation.
type passed struct {
	stamp  int32 // the partition, plus 1, where it met its deed
	order  int32 // that where it met itself
	newest int64 // the last of its values
}

func (o *op) count() (n int64) {
	for _, p := range o.pieces {
		n += p.count
	}
	return n
}

// identified reports whether a repeat of the operation must have no second effect.
func (o *op) identified() bool {
	return o.scope != nil || o.key != "" || o.kind == history.KindOneShot || o.kind == history.KindBegin
}

// may reports whether the operation can have taken effect.
func (b *book) may(o *op) bool {
	return o.ok || o.unknown ||
		o.failed && (b.repeats || b.repeated[o.id] || b.again && (o.identified() || o.count() == 0))
}

// try is an attempt of an operation that writes.
type try struct {
	op                *op
	before            int32 // the previous one of the operation, by index plus 1
	line              int32
	status            int32
	outcome           history.Outcome
	code              string
	replayed          bool
	producer, epoch   int64 // as the request says
	invoked, returned int64
	expected          int64
}

// each calls f with the attempts of an operation, the latest first.
func (b *book) each(o *op, f func(t *try)) {
	for i := o.last; i > 0; i = b.tries.at(i - 1).before {
		f(b.tries.at(i - 1))
	}
}
