package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

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
	shared  bool // load the ends of all logs
	skip    bool // pass over rows that are locked
	patient bool // wait longer for them
	join    Join // who else may come along; nil: nobody, or they were asked

	now    int64 // the database's clock when it was looked at last, in milliseconds since 1970
	locked struct{ producers, transactions, partitions map[int64]bool }

	// Read for this flush only.
	kept      map[identity]*keptRequest
	targets   map[TopicPartition]target
	committed map[groupPartition]int64 // committed offsets; after decide as they will be
	staged    map[string][]partitionOffset
	checks    commitChecks
	toCheck   checkedOffsets // what was asked of them

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
		kept:    map[identity]*keptRequest{},
		targets: map[TopicPartition]target{}, committed: map[groupPartition]int64{}, staged: map[string][]partitionOffset{}, checks: commitChecks{},
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
	load := some || f.shared
	if load {
		if err := f.load(ctx, conn, which); err != nil {
			return err
		}
	}
	f.now, _ = f.facts.clock.now()
	f.decide(0)
	if f.shared && f.join != nil && !f.careful {
		joined := f.letJoin()
		which = append(which, make([]bool, joined)...) // nothing was read for them
	}
	for i := range f.ops {
		if f.refused[i] && !which[i] && !f.apart[i] {
			return errAgain // what is not under a lock refuses nothing
		}
	}
	switch {
	case f.writesNothing() && load:
		_, err := conn.Exec(ctx, "ROLLBACK")
		return err
	case f.writesNothing():
		return nil
	}
	return f.save(ctx, conn, !load)
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

// needs returns how many bytes the flush sends, about, and how long it waits
// for a lock.
func (f *flush) needs() (bytes int64, wait time.Duration) {
	for _, op := range f.ops {
		bytes += op.Bytes()
	}
	switch {
	case f.patient:
		return bytes, patientWait
	case f.skip:
		return bytes, keyWait
	case f.shared:
		return bytes, sharedWait
	}
	return bytes, briefWait
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
