package store

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Locks first, each kind in a statement of its own and sorted; what is read
// after them sees every write that held them before. A producer's row excludes
// its registration (P9), its begin (T10), and also its other appends: shared
// locks that overlap all the time would starve a registration. A producer
// without a transactional id never changes; it is held by whoever loads it, so
// that it is not forgotten before the append is seen (P8).
const (
	sqlLockProducers = `
		SELECT producer_id
		FROM producers
		WHERE producer_id = ANY ($1) AND transactional_id IS NOT NULL
		ORDER BY producer_id
		FOR NO KEY UPDATE`
	sqlHoldProducers = `
		SELECT producer_id
		FROM producers
		WHERE producer_id = ANY ($1) AND transactional_id IS NULL
		ORDER BY producer_id
		FOR KEY SHARE`
	sqlLockTransactions = `
		SELECT transaction_ref
		FROM transactions
		WHERE transaction_id = ANY ($1)
		ORDER BY transaction_ref
		FOR UPDATE`
	sqlLockPartitions = `
		SELECT partition_id
		FROM partitions
		WHERE partition_id = ANY ($1)
		ORDER BY partition_id
		FOR UPDATE`
	sqlLockStagedPartitions = `
		SELECT partition_id
		FROM partitions
		WHERE partition_id = ANY ($1)
		   OR partition_id = ANY (ARRAY (SELECT s.partition_id
		                                 FROM transactions t
		                                 JOIN stagings s ON s.transaction_ref = t.transaction_ref
		                                 WHERE t.transaction_id = ANY ($2)))
		ORDER BY partition_id
		FOR UPDATE`
	skipLocked = ` SKIP LOCKED`
)

// keys are what a flush has to lock or to load, of some of its operations.
type keys struct {
	topics, producers, partitions []int64
	transactions, commits, puts   []string // by their ids
	sequenced                     []*Request
	keyed                         []*Request
	offsets                       []GroupOffset // of puts
}

func (f *flush) keysOf(include func(i int) bool) *keys {
	k := &keys{}
	for i, op := range f.ops {
		if f.refused[i] || !include(i) {
			continue
		}
		switch {
		case op.Append != nil:
			k.append(op.Append)
		case op.Put != nil:
			k.puts = append(k.puts, op.Put.ID)
			k.producer(op.Put.ProducerID)
			k.offsets = append(k.offsets, op.Put.Offsets...)
			for _, r := range op.Put.requests {
				k.topics = append(k.topics, r.Topic.ID)
				if op.Put.Commit {
					k.partitions = append(k.partitions, r.Logs()...)
				}
			}
		case op.Commit != nil:
			k.commits = append(k.commits, op.Commit.ID)
			k.transactions = append(k.transactions, op.Commit.ID)
			k.producer(op.Commit.Caller.ProducerID)
		}
	}
	k.topics, k.producers, k.partitions = distinct(k.topics), distinct(k.producers), distinct(k.partitions)
	k.transactions, k.commits, k.puts = distinct(k.transactions), distinct(k.commits), distinct(k.puts)
	return k
}

func (k *keys) append(r *Request) {
	k.topics = append(k.topics, r.Topic.ID)
	k.producer(r.ProducerID)
	switch {
	case r.HasProducer():
		k.sequenced = append(k.sequenced, r)
	case r.Key != "":
		k.keyed = append(k.keyed, r)
	}
	if r.TransactionID != "" {
		k.transactions = append(k.transactions, r.TransactionID)
		return
	}
	k.partitions = append(k.partitions, r.Logs()...)
}

func (k *keys) producer(id int64) {
	if id != eos.NoProducer {
		k.producers = append(k.producers, id)
	}
}

func distinct[T int64 | string](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

// lock is a statement that locks rows and returns their ids.
type lock struct {
	sql  string
	args []any
	held map[int64]bool       // the ids that it returned
	rows func(pgx.Rows) error // instead of held, what reads its rows
}

// locks returns the statements that lock what operations need, in their order;
// hold are the producers that must not be forgotten meanwhile.
func (f *flush) locks(k *keys, hold []int64) []lock {
	var locks []lock
	if len(k.producers) > 0 {
		locks = append(locks, lock{sql: sqlLockProducers, args: []any{k.producers}, held: f.locked.producers})
	}
	if len(hold) > 0 {
		locks = append(locks, lock{sql: sqlHoldProducers, args: []any{hold}, held: f.locked.producers})
	}
	if len(k.transactions) > 0 {
		locks = append(locks, lock{sql: sqlLockTransactions, args: []any{k.transactions}, held: f.locked.transactions})
	}
	if f.toCheck.any() {
		locks = append(locks, f.checks.locks(&f.toCheck)...)
	}
	switch {
	case len(k.commits) > 0:
		locks = append(locks, lock{sql: sqlLockStagedPartitions, args: []any{k.partitions, k.commits}, held: f.locked.partitions})
	case len(k.partitions) > 0:
		locks = append(locks, lock{sql: sqlLockPartitions, args: []any{k.partitions}, held: f.locked.partitions})
	}
	return locks
}

// queueLocks queues the locks before a load.
func (f *flush) queueLocks(batch *pgx.Batch, k *keys) {
	for _, l := range f.locks(k, f.mayBeForgotten(k.producers)) {
		if f.skip {
			l.sql += skipLocked
		}
		if l.rows == nil {
			l.rows = func(rows pgx.Rows) error {
				var id int64
				return each(rows, []any{&id}, func() { l.held[id] = true })
			}
		}
		batch.Queue(l.sql, l.args...).Query(l.rows)
	}
	f.queueOffsetLocks(batch, k)
}

// mayBeForgotten returns the producers that are not surely known.
func (f *flush) mayBeForgotten(producers []int64) []int64 {
	var ids []int64
	for _, id := range producers {
		if p := f.facts.producers[id]; p == nil || p.mayBeForgotten(f.now) {
			ids = append(ids, id)
		}
	}
	return ids
}
