package store

import (
	"errors"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// Op is one operation that a flush carries. Exactly one field is set.
type Op struct {
	Append *Request
	Put    *Put
	Commit *Commit
}

// Commit asks to commit an open transaction.
type Commit struct {
	ID     string
	Caller Caller
}

// Outcome is what became of an Op: the Result of an append, the State of a
// transaction, or the error that refused it.
type Outcome struct {
	Result Result
	State  *TransactionState
	Err    error
}

// Requests returns what the operation appends, routed.
func (o *Op) Requests() []*Request {
	switch {
	case o.Append != nil:
		return []*Request{o.Append}
	case o.Put != nil:
		return o.Put.requests
	}
	return nil
}

// Bytes returns about how many bytes the operation takes on its way to the
// database.
func (o *Op) Bytes() int64 {
	const perOffset = 64
	switch {
	case o.Append != nil:
		return o.Append.Bytes()
	case o.Put != nil:
		n := perOffset * int64(len(o.Put.Offsets))
		for _, r := range o.Put.requests {
			n += r.Bytes()
		}
		return n
	}
	return 0
}

// anonymous reports whether the operation cannot be recognised when it comes
// again.
func (o *Op) anonymous() bool { return o.Append != nil && !o.Append.Any() }

// errStale says that an operation was routed by a topic that is another by now.
var errStale = errors.New("the topic has changed")

// IsStale reports whether an operation must be routed again by the topics as
// they are now.
func IsStale(err error) bool { return errors.Is(err, errStale) }

// errBusy says that somebody else holds a lock that an operation needs.
var errBusy = errors.New("a row is locked by another writer")

// IsBusy reports whether an operation was set aside: nothing was done, and
// FlushPatiently is the way to wait for whoever holds the lock.
func IsBusy(err error) bool { return errors.Is(err, errBusy) }

// errAnonymous is the outcome of a request without identity whose COMMIT was
// not answered: sent again it would not be recognised.
var errAnonymous = eos.Lost("the database did not answer the COMMIT, and the request has no identity to ask by")

// errRemoved is the outcome of an append whose COMMIT was not answered, and of
// whose sequence it is known only that records were stored and are removed: its
// own, or others.
var errRemoved = eos.Lost("the database did not answer the COMMIT, and what tells of the sequence was removed meanwhile")

// errGone is the outcome of an append whose COMMIT was not answered, and whose
// topic was deleted before it could be looked up: it is not to be done again in
// another topic of that name.
var errGone = eos.Lost("the database did not answer the COMMIT, and the topic was deleted meanwhile")
