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
// three manners:
//
//   - With the facts of the flush before: one trip, in which locks, writes and
//     a guard that compares the facts are followed by COMMIT. What is not known,
//     or would refuse an operation, is loaded under the locks in a trip before.
//   - Loading all facts under the locks, after a guard failed, and for some time
//     after another writer was seen on the same partitions.
//   - Patiently: the same, waiting longer for the locks.
//
// In the first two a lock that is not had soon makes the flush run again without
// the operations that need it; they come back as IsBusy.

const (
	// briefWait bounds how long a flush waits for a row that somebody else
	// holds, and skipFor how long after that rows that are held are passed over
	// at once.
	briefWait   = 100 * time.Millisecond
	patientWait = 2 * time.Second
	skipFor     = time.Second
	// keyWait is briefWait while rows that are held are passed over: then only
	// a key that somebody else is inserting holds a flush up. searchTime bounds
	// the search for the operation that has it.
	keyWait    = 20 * time.Millisecond
	searchTime = 200 * time.Millisecond
	// carefulFlushes is how many flushes load all facts after another writer was
	// seen: with two on one partition, more than half of the guards would fail.
	carefulFlushes = 64
)

// writer is the state of flushes from one to the next.
type writer struct {
	mu        sync.Mutex         // held during a flush
	facts     *facts             // guarded by mu
	ids       []int64            // drawn from object_ids, not used yet; guarded by mu
	careful   int                // flushes that load all facts; guarded by mu
	skipUntil time.Time          // until when rows that are locked are passed over; guarded by mu
	suspect   map[int64]firstEnd // ends by which a flush has failed; guarded by mu
	pipeline  pipeline           // guarded by mu
}

func newWriter() *writer { return &writer{facts: newFacts()} }

// Flush does all that is right of a group of operations in one SQL transaction,
// in their order, and returns the outcome of each. An outcome may be IsStale or
// IsBusy. What the database refuses fails alone. One Flush runs at a time.
func (s *Store) Flush(ctx context.Context, ops []*Op) []Outcome {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.flushParts(ctx, s.writer, ops, false)
}

// FlushPatiently is Flush for operations that were busy: it waits longer for
// locks, and for nothing that Flush is doing. No outcome is IsBusy.
func (s *Store) FlushPatiently(ctx context.Context, ops []*Op) []Outcome {
	return s.flushParts(ctx, newWriter(), ops, true)
}

// flushParts flushes a group in the parts that one SQL transaction may carry.
func (s *Store) flushParts(ctx context.Context, w *writer, ops []*Op, patient bool) []Outcome {
	outcomes := make([]Outcome, 0, len(ops))
	for len(ops) > 0 {
		n := beforeCommit(ops)
		outcomes = append(outcomes, s.flushApart(ctx, w, ops[:n], patient)...)
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
func (s *Store) flushApart(ctx context.Context, w *writer, ops []*Op, patient bool) []Outcome {
	outcomes, err := s.flushGroup(ctx, w, ops, patient)
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
	return append(s.flushApart(ctx, w, ops[:half], patient), s.flushApart(ctx, w, ops[half:], patient)...)
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
		some, err := s.flushGroup(ctx, w, half, false)
		switch {
		case errors.Is(err, errHeld):
			some = s.flushAround(ctx, w, half, deadline)
		case err != nil:
			some = s.flushApart(ctx, w, half, false)
		}
		outcomes = append(outcomes, some...)
	}
	return outcomes
}

// flushGroup flushes a group to its end: again when it lost a race, patiently
// when a COMMIT was not answered; what has no identity is then of unknown
// effect. What is known of the database is dropped with each failure.
func (s *Store) flushGroup(ctx context.Context, w *writer, ops []*Op, patient bool) ([]Outcome, error) {
	var f *flush
	var lost []*flush
	resent := false
	err := s.run(ctx, func(ctx context.Context, conn *pgx.Conn, again bool) error {
		resent = again
		f = newFlush(s, w, ops)
		f.patient = patient || again
		f.skip = !f.patient && time.Now().Before(w.skipUntil)
		f.careful = f.patient || f.skip || w.careful > 0
		if again {
			f.refuseAnonymous()
		}
		err := f.run(ctx, conn)
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
		return f.outcomes, nil
	}
	if !resent {
		return nil, err
	}
	for i, op := range ops {
		f.outcomes[i] = Outcome{Err: err}
		if op.anonymous() {
			f.outcomes[i].Err = errAnonymous
		}
	}
	return f.outcomes, nil
}

// failedBy takes note of why a flush has failed that went on from the ends of
// logs, and reports whether it met a lock.
func (w *writer) failedBy(err error, ends map[int64]firstEnd) (locked bool) {
	switch {
	case lostRace(err):
		w.careful, w.suspect = max(w.careful, 1), ends
	case sqlState(err) == lockTimeout:
		w.careful, w.skipUntil = max(w.careful, 1), time.Now().Add(skipFor)
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

// flush is one group of operations on its way: loaded, decided, saved.
type flush struct {
	store    *Store
	writer   *writer
	facts    *facts // the writer's; after decide as they will be
	ops      []*Op
	outcomes []Outcome
	refused  []bool
	apart    []bool // refused before anything was read

	careful bool // load all facts
	skip    bool // pass over rows that are locked
	patient bool // wait longer for them

	now    int64 // the database's clock when it was looked at last, in milliseconds since 1970
	locked struct{ producers, transactions, partitions map[int64]bool }

	// Read for this flush only.
	kept      map[identity]*kept
	targets   map[TopicPartition]target
	committed map[groupPartition]int64 // committed offsets; after decide as they will be
	staged    map[string][]partitionOffset
	fences    fences
	fenced    fenced // what was asked of them

	// What is to be written, and what it depends on.
	rows         []row
	keyed        map[identity]int // of those in rows that have a key
	newStagings  [][3]int64       // staging id, transaction ref, partition id
	puts         []*putRow
	commits      []*committing
	offsets      map[groupPartition]*offsetRow
	newGroups    int64                    // that offsets create
	topics       map[int64]bool           // that rows were routed by
	first        map[int64]firstEnd       // ends before the flush, by partition id
	producers    map[int64]*producerFacts // that could be fenced
	sequences    map[scopeKey]int64       // the first of those that are appended where the next one is not surely known
	transactions map[int64]bool           // refs that rows were staged in
}

// firstEnd is where a partition's log ended before the flush, and the topic by
// which it was routed to; 0 for what was staged before.
type firstEnd struct{ end, topic int64 }

func newFlush(s *Store, w *writer, ops []*Op) *flush {
	f := &flush{
		store: s, writer: w, facts: w.facts, ops: ops,
		outcomes: make([]Outcome, len(ops)), refused: make([]bool, len(ops)), apart: make([]bool, len(ops)),
		kept:    map[identity]*kept{},
		targets: map[TopicPartition]target{}, committed: map[groupPartition]int64{}, staged: map[string][]partitionOffset{}, fences: fences{},
		rows: make([]row, 0, len(ops)), keyed: map[identity]int{}, offsets: map[groupPartition]*offsetRow{},
		topics: map[int64]bool{}, first: map[int64]firstEnd{}, producers: map[int64]*producerFacts{}, sequences: map[scopeKey]int64{}, transactions: map[int64]bool{},
	}
	f.locked.producers, f.locked.transactions, f.locked.partitions = map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
	return f
}

// refuseAnonymous gives up what may have been done and cannot be found.
func (f *flush) refuseAnonymous() {
	for i, op := range f.ops {
		if op.anonymous() {
			f.refuse(i, errAnonymous)
			f.apart[i] = true
		}
	}
}

// run is one try of the flush on a connection.
func (f *flush) run(ctx context.Context, conn *pgx.Conn) error {
	if err := f.drawIDs(ctx, conn); err != nil {
		return err
	}
	f.passOver()
	which, some := f.unsure()
	if some {
		if err := f.load(ctx, conn, which); err != nil {
			return err
		}
	}
	f.now, _ = f.facts.clock.now()
	f.decide()
	for i := range f.ops {
		if f.refused[i] && !which[i] && !f.apart[i] {
			return errAgain // what is not under a lock refuses nothing
		}
	}
	switch {
	case f.writesNothing() && some:
		_, err := conn.Exec(ctx, "ROLLBACK")
		return err
	case f.writesNothing():
		return nil
	}
	return f.save(ctx, conn, !some)
}

// passOver leaves out, while locks are passed over, the operations whose
// committed offsets would have to be locked: of those, one that is held cannot
// be told from one that is not there.
func (f *flush) passOver() {
	for i, op := range f.ops {
		if f.skip && (op.Commit != nil || op.Put != nil && len(op.Put.Offsets) > 0) {
			f.refuse(i, errBusy)
			f.apart[i] = true
		}
	}
}

func (f *flush) writesNothing() bool {
	return len(f.rows) == 0 && len(f.puts) == 0 && len(f.commits) == 0
}

// bounds returns how many bytes the flush sends, about, and how long it waits
// for a lock.
func (f *flush) bounds() (bytes int64, wait time.Duration) {
	for _, op := range f.ops {
		bytes += op.Bytes()
	}
	switch {
	case f.patient:
		return bytes, patientWait
	case f.skip:
		return bytes, keyWait
	}
	return bytes, briefWait
}

// load takes the locks of all operations and reads the facts about some.
func (f *flush) load(ctx context.Context, conn *pgx.Conn, which []bool) error {
	batch := &pgx.Batch{}
	bytes, wait := f.bounds()
	f.store.queueBegin(batch, bytes, wait)
	all := f.keysOf(func(int) bool { return true })
	unsure := f.keysOf(func(i int) bool { return which[i] })
	f.fenced = fencedBy(unsure.offsets, unsure.commits) // of the others it is known that they commit no offsets
	f.queueLocks(batch, all)
	f.queueLoads(batch, unsure)
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	f.writer.compare(f.facts.ends)
	if !f.skip && f.appeared(all) {
		return errAgain
	}
	return nil
}

// appeared reports whether a row that is to be locked came into being between
// the locks and the reading: it is known, and anybody may change it.
func (f *flush) appeared(k *keys) bool {
	for _, id := range k.transactions {
		if t := f.facts.transactions[id]; t != nil && !f.locked.transactions[t.ref] {
			return true
		}
	}
	for _, id := range k.producers {
		if p := f.facts.producers[id]; p != nil && p.transactional() && !f.locked.producers[id] {
			return true
		}
	}
	return false
}

// compare looks whether somebody else has moved the ends that a failed flush
// had known.
func (w *writer) compare(ends map[int64]*logEnd) {
	for id, was := range w.suspect {
		if now := ends[id]; now != nil && now.offset != was.end {
			w.careful = carefulFlushes
		}
	}
	w.suspect = nil
}

// drawIDs sees to it that there are ids for what the operations may create.
func (f *flush) drawIDs(ctx context.Context, conn *pgx.Conn) error {
	const sql = `SELECT nextval('object_ids') FROM generate_series(1, $1)`
	need := -len(f.writer.ids)
	for _, op := range f.ops {
		switch {
		case op.Append != nil && op.Append.TransactionID != "":
			need += len(op.Append.Parts)
		case op.Put != nil:
			need++
			for _, r := range op.Put.requests {
				need += len(r.Parts)
			}
		}
	}
	if need <= 0 {
		return nil
	}
	if !f.patient {
		need += idsAhead
	}
	rows, err := conn.Query(ctx, sql, need)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	f.writer.ids = append(f.writer.ids, ids...)
	return err
}

// idsAhead is how many ids are drawn beyond those that are needed now.
const idsAhead = 1000

func (f *flush) newID() int64 {
	id := f.writer.ids[0]
	f.writer.ids = f.writer.ids[1:]
	return id
}

// done counts what was written. lost are the tries whose COMMIT was not
// answered.
func (f *flush) done(lost []*flush) {
	f.settle(lost)
	w := f.writer
	if w.careful > 0 {
		w.careful--
	}
	if f.facts.tooMany() {
		w.facts = newFacts()
	}
	f.store.tail.keep(f)
	f.store.counts.groups.Add(f.newGroups)
	for _, p := range f.puts {
		f.store.counts.ended(p.state, true)
		if p.Commit {
			delete(f.facts.transactions, p.ID)
			continue
		}
		f.facts.transactions[p.ID].ExpiresAt = p.state.ExpiresAt
	}
	for _, o := range f.outcomes { // repeats in this flush, which were told before the time was known
		if s := o.State; s != nil && s.Repeated && s.State == eos.StateOngoing {
			s.ExpiresAt = f.facts.transactions[s.ID].ExpiresAt
		}
	}
	for _, c := range f.commits {
		f.store.tail.drop(c.state.Logs...) // moved rows are not in it
		f.store.counts.ended(c.state, false)
		delete(f.facts.transactions, c.state.ID)
		for _, m := range c.moves {
			delete(f.facts.ends, m.staging)
		}
	}
}
