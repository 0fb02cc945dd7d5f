package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// A flush is one SQL transaction that carries a group of operations, in one of
// four manners:
//
//   - With the facts of the flush before: one trip, in which locks, writes and
//     a guard that compares the facts are followed by COMMIT. What is not known,
//     or would refuse an operation, is loaded under the locks in a trip before.
//   - Sharing partitions, for some time after another writer was seen on them:
//     the same, but the ends of all logs are loaded as well.
//   - Carefully, after a guard failed: all facts are loaded under the locks.
//   - Patiently: the same, waiting longer for the locks.
//
// In all but the last a lock that is not had soon makes the flush run again without
// the operations that need it; they come back as IsBusy.

const (
	// briefWait bounds how long a flush waits for a row that somebody else
	// holds, and skipFor how long after that rows that are held are passed over
	// at once.
	briefWait   = 100 * time.Millisecond
	sharedWait  = 500 * time.Millisecond // briefWait where other writers take turns with this one
	patientWait = 2 * time.Second
	skipFor     = time.Second
	// keyWait is briefWait while rows that are held are passed over: then only
	// a key that somebody else is inserting holds a flush up. searchTime bounds
	// the search for the operation that has it.
	keyWait    = 20 * time.Millisecond
	searchTime = 200 * time.Millisecond
	// sharedFlushes is how many flushes load the ends of logs after another writer
	// was seen: with two on one partition, more than half of the guards would fail.
	sharedFlushes = 64
)

// writer is the state of flushes from one to the next.
type writer struct {
	mu        sync.Mutex         // held during a flush
	facts     *facts             // guarded by mu
	ids       []int64            // drawn from object_ids, not used yet; guarded by mu
	careful   bool               // the next flush loads all facts; guarded by mu
	shared    int                // flushes that load the ends of all logs; guarded by mu
	skipUntil time.Time          // until when rows that are locked are passed over; guarded by mu
	suspect   map[int64]firstEnd // ends by which a flush has failed; guarded by mu
	pipeline  pipeline           // guarded by mu
}

func newWriter() *writer { return &writer{facts: newFacts()} }

// Flush does all that is right of a group of operations in one SQL transaction,
// in their order, and returns the outcome of each. An outcome may be IsStale or
// IsBusy. What the database refuses fails alone. One Flush runs at a time.
//
// A group that has waited for the locks of other writers may grow by what came
// meanwhile: join, if it is not nil, is asked for it at most once. The outcomes of
// what it returned follow those of ops.
func (s *Store) Flush(ctx context.Context, ops []*Op, join Join) []Outcome {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	if beforeCommit(ops) < len(ops) { // there is more than one group
		join = nil
	}
	return s.flushParts(ctx, s.writer, ops, false, join)
}

// FlushPatiently is Flush for operations that were busy: it waits longer for
// locks, and for nothing that Flush is doing. No outcome is IsBusy.
func (s *Store) FlushPatiently(ctx context.Context, ops []*Op) []Outcome {
	return s.flushParts(ctx, newWriter(), ops, true, nil)
}

// flushParts flushes a group in the parts that one SQL transaction may carry.
func (s *Store) flushParts(ctx context.Context, w *writer, ops []*Op, patient bool, join Join) []Outcome {
	outcomes := make([]Outcome, 0, len(ops))
	for len(ops) > 0 {
		n := beforeCommit(ops)
		outcomes = append(outcomes, s.flushApart(ctx, w, ops[:n], patient, join)...)
		ops = ops[n:]
	}
	return outcomes
}

// beforeCommit returns how many operations come before the commit of a
// transaction that one of them adds to: a commit moves what is written already,
// and locks the partitions of that.
func beforeCommit(ops []*Op) int {
	adds := map[string]bool{}
	for i, op := range ops {
		switch {
		case op.Append != nil && op.Append.TransactionID != "":
			adds[op.Append.TransactionID] = true
		case op.Put != nil:
			adds[op.Put.ID] = true
		case op.Commit != nil && adds[op.Commit.ID]:
			return i
		}
	}
	return len(ops)
}

// flushApart flushes a group, and each half of it on its own when the database
// refuses the whole for no reason that is known.
func (s *Store) flushApart(ctx context.Context, w *writer, ops []*Op, patient bool, join Join) []Outcome {
	ops, outcomes, err := s.flushGroup(ctx, w, ops, patient, join)
	if err == nil {
		return outcomes
	}
	switch {
	case errors.Is(err, errHeld):
		return s.flushAround(ctx, w, ops, time.Now().Add(searchTime))
	case len(ops) == 1 || errors.As(err, new(*eos.Error)):
		return slices.Repeat([]Outcome{{Err: err}}, len(ops))
	}
	half := len(ops) / 2
	return append(s.flushApart(ctx, w, ops[:half], patient, nil), s.flushApart(ctx, w, ops[half:], patient, nil)...)
}

// errHeld says that somebody else is inserting a key that an operation has: of
// rows that are locked nothing was touched.
var errHeld = errors.New("a key is being inserted by another writer")

// flushAround flushes each half of a group that met errHeld on its own, down to
// the operations that do; they are busy, and whatever meets it after the
// deadline.
func (s *Store) flushAround(ctx context.Context, w *writer, ops []*Op, deadline time.Time) []Outcome {
	if len(ops) == 1 || time.Now().After(deadline) {
		return slices.Repeat([]Outcome{{Err: errBusy}}, len(ops))
	}
	outcomes := make([]Outcome, 0, len(ops))
	for _, half := range [][]*Op{ops[:len(ops)/2], ops[len(ops)/2:]} {
		_, some, err := s.flushGroup(ctx, w, half, false, nil)
		switch {
		case errors.Is(err, errHeld):
			some = s.flushAround(ctx, w, half, deadline)
		case err != nil:
			some = s.flushApart(ctx, w, half, false, nil)
		}
		outcomes = append(outcomes, some...)
	}
	return outcomes
}

// flushGroup flushes a group to its end: again when it lost a race, patiently
// when a COMMIT was not answered; what has no identity is then of unknown
// effect. What is known of the database is dropped with each failure. It returns
// the group with those that joined it.
func (s *Store) flushGroup(ctx context.Context, w *writer, ops []*Op, patient bool, join Join) ([]*Op, []Outcome, error) {
	var f *flush
	var lost []*flush
	resent := false
	err := s.retry(ctx, func(ctx context.Context, conn *pgx.Conn, again bool) error {
		resent = again
		f = newFlush(s, w, ops)
		f.patient = patient || again
		f.skip = !f.patient && time.Now().Before(w.skipUntil)
		f.careful = f.patient || f.skip || w.careful
		f.shared = w.shared > 0
		f.join = join
		if again {
			f.refuseAnonymous()
		}
		err := f.run(ctx, conn)
		ops, join = f.ops, f.join
		if err == nil {
			return nil
		}
		if errors.As(err, new(*lostError)) {
			lost = append(lost, f)
		}
		w.facts = newFacts()
		locked := w.failedBy(err, f.first)
		switch {
		case locked && f.skip:
			return errHeld
		case locked && !f.patient:
			return errAgain
		}
		return err
	})
	if err == nil {
		f.done(lost)
		return ops, f.outcomes, nil
	}
	for range lost {
		s.foundOut(FateUnknown)
	}
	if !resent {
		return ops, nil, err
	}
	for i, op := range ops {
		f.outcomes[i] = Outcome{Err: err}
		if op.anonymous() {
			f.outcomes[i].Err = errAnonymous
		}
	}
	return ops, f.outcomes, nil
}

// failedBy takes note of why a flush has failed that went on from the ends of
// logs, and reports whether it met a lock.
func (w *writer) failedBy(err error, ends map[int64]firstEnd) (locked bool) {
	switch {
	case lostRace(err):
		w.careful, w.suspect = true, ends
	case sqlState(err) == lockTimeout:
		w.careful, w.skipUntil = true, time.Now().Add(skipFor)
		return true
	}
	return false
}

// forget drops what is known of a transaction: it was written to in another
// way than by a flush. The guards would find that out as well, but a flush fails
// for it.
func (w *writer) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.facts.transactions, id)
}
