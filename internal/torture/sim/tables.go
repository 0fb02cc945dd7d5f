package sim

import (
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// tables is the database: what is committed, and who holds which row.
type tables struct {
	now           int64             // its clock, in milliseconds
	counts        map[int64]int     // partitions by topic
	logs          map[int64]*logRow // partitions and stagings
	kept          map[identity]*keptRow
	heads         map[scopeKey][]*keptRow // those of kept with a sequence, ascending
	positions     map[scopeKey]int64      // where those stand whose records retention removed
	trims         []trim
	producers     map[int64]*producerRow
	names         map[string]int64 // producers by transactional id
	registrations map[string]*answer
	transactions  map[string]*txnRow
	refs          map[int64]*txnRow
	groups        map[string]*groupRow
	locks         map[lockKey]*task
	lastID        int64
	stayUsed      bool // a mutant's
}

// identity is the unique key of a kept request.
type identity struct {
	producer, scope, sequence int64
	key                       string
}

type scopeKey struct{ producer, scope int64 }

// keptRow is a kept request.
type keptRow struct {
	identity
	eos.Stored
	ref    int64 // of its transaction; 0 when it has none
	places []place
	op     *op
}

// batch is a request's share of a partition.
type batch struct {
	base   int64
	values []int64
	at     int64    // when it was appended
	kept   *keptRow // on the first batch of a request that has an identity
}

type logRow struct {
	start, end int64 // log start offset, and the offset behind the last record
	batches    []batch
}

// insert adds a batch, in the order of their offsets.
func (l *logRow) insert(b batch) {
	at := len(l.batches)
	for at > 0 && l.batches[at-1].base > b.base {
		at--
	}
	l.batches = slices.Insert(l.batches, at, b)
	l.end = max(l.end, b.base+int64(len(b.values)))
}

// trim is a range below the start of a log, whose rows wait to be deleted.
type trim struct{ log, to, raised int64 }

type producerRow struct {
	eos.Producer
	timeout int64
}

type txnRow struct {
	eos.Transaction
	ref      int64
	expires  int64
	stagings []staging
	offsets  []offset
	places   []place // where its records are, when it is committed
	requests map[eos.Fingerprint]bool
}

// staging is where a transaction keeps its records of a partition.
type staging struct{ id, partition int64 }

type groupRow struct {
	epoch     int64
	members   map[string]eos.Member
	replaced  map[string]bool
	rows      map[eos.Partition]eos.Ownership
	committed map[eos.Partition]int64
}

// lockKey is a row that can be locked.
type lockKey struct {
	table lockTable
	id    int64
	name  string
	part  eos.Partition
}

type lockTable byte

const (
	lockProducer lockTable = iota
	lockTransaction
	lockGroup
	lockMember
	lockPartition
	lockOffset
	lockKeyOf // an Idempotency-Key of a registration, or a transactional id, that is being inserted
)

func newTables() *tables {
	return &tables{
		counts: map[int64]int{}, logs: map[int64]*logRow{}, kept: map[identity]*keptRow{}, heads: map[scopeKey][]*keptRow{},
		positions: map[scopeKey]int64{}, producers: map[int64]*producerRow{}, names: map[string]int64{},
		registrations: map[string]*answer{}, transactions: map[string]*txnRow{}, refs: map[int64]*txnRow{},
		groups: map[string]*groupRow{}, locks: map[lockKey]*task{}, lastID: firstStaging,
	}
}

func (d *tables) newID() int64 {
	d.lastID++
	return d.lastID
}

// grow gives a topic more partitions.
func (d *tables) grow(topic int64, count int) {
	for n := d.counts[topic]; n < count; n++ {
		d.logs[logOf(eos.Partition{Topic: topic, Number: n})] = &logRow{}
	}
	d.counts[topic] = count
}

// next is the sequence behind the last one that is kept or was removed.
func (d *tables) next(key scopeKey) int64 {
	next := d.positions[key]
	if rows := d.heads[key]; len(rows) > 0 {
		last := rows[len(rows)-1]
		next = max(next, last.sequence+int64(last.RecordCount))
	}
	return next
}

// open returns the ref of a producer's open transaction; 0 when there is none.
func (d *tables) open(producer int64) (ref int64, id string) {
	if p := d.producers[producer]; p != nil && p.OpenTransaction != "" {
		return d.transactions[p.OpenTransaction].ref, p.OpenTransaction
	}
	return 0, ""
}

func (d *tables) insertKept(k *keptRow) {
	d.kept[k.identity] = k
	if k.producer != eos.NoProducer {
		key := scopeKey{k.producer, k.scope}
		d.heads[key] = append(d.heads[key], k)
	}
}

func (d *tables) deleteKept(k *keptRow) {
	delete(d.kept, k.identity)
	key := scopeKey{k.producer, k.scope}
	if i := slices.Index(d.heads[key], k); i >= 0 {
		d.heads[key] = slices.Delete(d.heads[key], i, i+1)
	}
}

// endTransaction ends a transaction, and what it has staged is gone or moved.
func (d *tables) endTransaction(t *txnRow, state eos.State, by string) {
	t.State, t.AbortedBy = state, by
	for _, s := range t.stagings {
		delete(d.logs, s.id)
	}
	t.stagings, t.offsets = nil, nil
	if p := d.producers[t.ProducerID]; p != nil && p.OpenTransaction == t.ID {
		p.OpenTransaction = ""
	}
}

// abort aborts a transaction: its sequences and keys are unused again (T7).
func (d *tables) abort(t *txnRow, by string) {
	for _, s := range t.stagings {
		for _, b := range d.logs[s.id].batches {
			if b.kept == nil {
				continue
			}
			d.deleteKept(b.kept)
			if key := (scopeKey{b.kept.producer, b.kept.scope}); d.stayUsed {
				d.positions[key] = b.kept.sequence + int64(b.kept.RecordCount)
			}
		}
	}
	d.endTransaction(t, eos.StateAborted, by)
}

func (d *tables) group(id string) *groupRow {
	if d.groups[id] == nil {
		d.groups[id] = &groupRow{
			members: map[string]eos.Member{}, replaced: map[string]bool{},
			rows: map[eos.Partition]eos.Ownership{}, committed: map[eos.Partition]int64{},
		}
	}
	return d.groups[id]
}

// whole is what a join, a leave or an expiry loads of a group.
func (d *tables) whole(id string) *eos.Group {
	row := d.group(id)
	g := new(eos.NewGroup(id))
	g.Epoch = row.epoch
	maps.Copy(g.Replaced, row.replaced)
	maps.Copy(g.Topics, d.counts)
	for id, m := range row.members {
		g.Members[id] = &m
	}
	for p, row := range row.rows {
		g.Partitions[p] = &row
	}
	return g
}

// part is what a poll or a commit of one member loads of a group.
func (d *tables) part(id, member string) *eos.Group {
	row := d.group(id)
	g := new(eos.NewGroup(id))
	g.Epoch = row.epoch
	if row.replaced[member] {
		g.Replaced[member] = true
	}
	if m, ok := row.members[member]; ok {
		g.Members[member] = &m
	}
	for p, row := range row.rows {
		if row.Owner == member || row.Target == member {
			g.Partitions[p] = &row
		}
	}
	return g
}

// settled reports whether no partition of a group is on its way.
func (d *tables) settled(group string) bool {
	for _, row := range d.group(group).rows {
		if row.Owner != row.Target {
			return false
		}
	}
	return true
}
