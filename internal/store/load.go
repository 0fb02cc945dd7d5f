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

// What the locks protect. A subquery with LIMIT 1 for each row of an unnest is
// one index probe a row, whatever the planner believes of the tables' sizes.
const (
	sqlNow = `SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint`

	sqlTopics = `
		SELECT topic_id, partition_count, max_record_bytes
		FROM topics
		WHERE topic_id = ANY ($1)`
	sqlProducers = `
		SELECT p.producer_id, p.producer_epoch, COALESCE(p.transactional_id, ''), p.transaction_timeout_ms,
		       COALESCE(o.transaction_id, ''), COALESCE(o.transaction_ref, 0)
		FROM producers p
		LEFT JOIN LATERAL (SELECT transaction_id, transaction_ref
		                   FROM transactions
		                   WHERE producer_id = p.producer_id AND state = 'ongoing' LIMIT 1) o ON true
		WHERE p.producer_id = ANY ($1)`
	sqlTransactions = `
		SELECT transaction_ref,
		       (SELECT true FROM staged_offsets o WHERE o.transaction_ref = transactions.transaction_ref LIMIT 1) IS NOT NULL,` + sqlTransactionColumns + `
		FROM transactions
		WHERE transaction_id = ANY ($1)`
	sqlPartitionEnds = `
		SELECT p.partition_id,
		       GREATEST(p.log_start_offset, COALESCE(b.base_offset + b.record_count, 0)),
		       GREATEST(p.log_start_bytes, COALESCE(b.end_bytes, 0)),
		       COALESCE(b.max_timestamp, -1)
		FROM partitions p
		LEFT JOIN LATERAL (SELECT base_offset, record_count, end_bytes, max_timestamp
		                   FROM batches
		                   WHERE log_id = p.partition_id
		                   ORDER BY base_offset DESC LIMIT 1) b ON true
		WHERE p.partition_id = ANY ($1)`
	// The stagings of transactions, and for those that end the partitions that
	// they go to; a partition that is gone has no topic.
	sqlStagings = `
		SELECT t.transaction_id, s.partition_id, s.staging_id,
		       b.base_offset + b.record_count, b.end_bytes, b.max_timestamp,
		       COALESCE(p.topic, ''), COALESCE(p.partition, 0),
		       GREATEST(p.log_start_offset, COALESCE(e.base_offset + e.record_count, 0)),
		       GREATEST(p.log_start_bytes, COALESCE(e.end_bytes, 0)),
		       COALESCE(e.max_timestamp, -1)
		FROM transactions t
		JOIN stagings s ON s.transaction_ref = t.transaction_ref
		CROSS JOIN LATERAL (SELECT base_offset, record_count, end_bytes, max_timestamp
		                    FROM batches
		                    WHERE log_id = s.staging_id
		                    ORDER BY base_offset DESC LIMIT 1) b
		LEFT JOIN LATERAL (SELECT o.topic, q.partition, q.log_start_offset, q.log_start_bytes
		                   FROM partitions q
		                   JOIN topics o ON o.topic_id = q.topic_id
		                   WHERE q.partition_id = s.partition_id LIMIT 1) p ON true
		LEFT JOIN LATERAL (SELECT base_offset, record_count, end_bytes, max_timestamp
		                   FROM batches
		                   WHERE log_id = s.partition_id
		                   ORDER BY base_offset DESC LIMIT 1) e ON true
		WHERE t.transaction_id = ANY ($1)`
	// Behind the last request that is kept, or behind what retention removed.
	sqlNextSequences = `
		SELECT k.producer_id, k.scope_id, GREATEST(b.next_sequence, o.next_sequence)
		FROM unnest($1::bigint[], $2::bigint[]) AS k (producer_id, scope_id)
		LEFT JOIN LATERAL (SELECT base_sequence + request_count AS next_sequence
		                   FROM batches
		                   WHERE producer_id = k.producer_id AND scope_id = k.scope_id
		                   ORDER BY base_sequence DESC LIMIT 1) b ON true
		LEFT JOIN LATERAL (SELECT next_sequence
		                   FROM positions
		                   WHERE producer_id = k.producer_id AND scope_id = k.scope_id LIMIT 1) o ON true
		WHERE b.next_sequence IS NOT NULL OR o.next_sequence IS NOT NULL`
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

// lock is a statement that locks rows and returns their ids.
type lock struct {
	sql  string
	args []any
	held map[int64]bool       // the ids that it returned
	rows func(pgx.Rows) error // instead of held, what reads its rows
}

// locks returns the statements that lock what operations need, in their order.
func (f *flush) locks(k *keys) []lock {
	var locks []lock
	if len(k.producers) > 0 {
		locks = append(locks, lock{sql: sqlLockProducers, args: []any{k.producers}, held: f.locked.producers})
	}
	if len(k.transactions) > 0 {
		locks = append(locks, lock{sql: sqlLockTransactions, args: []any{k.transactions}, held: f.locked.transactions})
	}
	if f.fenced.any() {
		locks = append(locks, f.fences.locks(&f.fenced)...)
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
	locks := f.locks(k)
	if ids := f.mayBeForgotten(k.producers); len(ids) > 0 {
		locks = slices.Insert(locks, 1, lock{sql: sqlHoldProducers, args: []any{ids}, held: f.locked.producers})
	}
	for _, l := range locks {
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

// queueLoads queues the reading of facts. What is known of them is forgotten.
func (f *flush) queueLoads(batch *pgx.Batch, k *keys) {
	c := f.facts
	batch.Queue(sqlNow).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&f.now)
		c.clock.set(f.now)
		return err
	})
	if len(k.topics) > 0 {
		for _, id := range k.topics {
			delete(c.topics, id)
		}
		batch.Queue(sqlTopics, k.topics).Query(func(rows pgx.Rows) error {
			var id int64
			var t topicFacts
			return each(rows, []any{&id, &t.partitionCount, &t.maxRecordBytes}, func() { c.topics[id] = t })
		})
	}
	f.queueProducers(batch, k.producers)
	f.queueTransactions(batch, distinct(slices.Concat(k.transactions, k.puts)))
	f.queueEnds(batch, k.partitions)
	if len(k.sequenced) > 0 {
		f.queueSequences(batch, k.sequenced)
	}
	if len(k.keyed) > 0 {
		f.queueKeys(batch, k.keyed)
	}
	f.queueOffsets(batch, k)
	if f.fenced.any() {
		f.fences.queue(batch, &f.fenced, true)
	}
}

func (f *flush) queueProducers(batch *pgx.Batch, ids []int64) {
	if len(ids) == 0 {
		return
	}
	appended := map[int64]int64{}
	for _, id := range ids {
		if p := f.facts.producers[id]; p != nil {
			appended[id] = p.appended
		}
		delete(f.facts.producers, id)
	}
	batch.Queue(sqlProducers, ids).Query(func(rows pgx.Rows) error {
		var p producerFacts
		return each(rows, []any{&p.ID, &p.Epoch, &p.TransactionalID, &p.timeoutMS, &p.OpenTransaction, &p.openRef}, func() {
			found := p
			found.Known, found.appended = true, appended[p.ID]
			f.facts.producers[p.ID] = &found
		})
	})
}

func (f *flush) queueTransactions(batch *pgx.Batch, ids []string) {
	if len(ids) == 0 {
		return
	}
	for _, id := range ids {
		delete(f.facts.transactions, id)
	}
	batch.Queue(sqlTransactions, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			t := newTransaction()
			if err := t.scan(rows, &t.ref, &t.offsets); err != nil {
				return err
			}
			f.facts.transactions[t.ID] = t
		}
		return rows.Err()
	})
	batch.Queue(sqlStagings, ids).Query(func(rows pgx.Rows) error {
		var name string
		var partition, staging int64
		var at place
		var staged, end logEnd
		return each(rows, []any{
			&name, &partition, &staging, &staged.offset, &staged.bytes, &staged.maxTimestamp,
			&at.topic, &at.partition, &end.offset, &end.bytes, &end.maxTimestamp,
		}, func() {
			f.facts.ends[staging] = new(staged)
			t := f.facts.transactions[name]
			if t == nil {
				return
			}
			t.stagings[partition] = staging
			t.staged += staged.bytes
			if at.topic == "" {
				return
			}
			t.places[partition] = at
			if f.locked.partitions[partition] {
				f.facts.ends[partition] = new(end)
			}
		})
	})
}

func (f *flush) queueEnds(batch *pgx.Batch, partitions []int64) {
	if len(partitions) == 0 {
		return
	}
	for _, id := range partitions {
		delete(f.facts.ends, id)
	}
	batch.Queue(sqlPartitionEnds, partitions).Query(func(rows pgx.Rows) error {
		var id int64
		var end logEnd
		return each(rows, []any{&id, &end.offset, &end.bytes, &end.maxTimestamp}, func() { f.facts.ends[id] = new(end) })
	})
}

func (f *flush) queueSequences(batch *pgx.Batch, requests []*Request) {
	n := len(requests)
	producers, scopes, sequences := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, r := range requests {
		producers[i], scopes[i], sequences[i] = r.ProducerID, r.Scope(), r.Sequence
	}
	batch.Queue(sqlNextSequences, producers, scopes).Query(func(rows pgx.Rows) error {
		for i := range producers {
			f.facts.next[scopeKey{producers[i], scopes[i]}] = f.nextSequence(producers[i], 0)
		}
		var key scopeKey
		var next int64
		return each(rows, []any{&key.producer, &key.scope, &next}, func() { f.facts.next[key] = f.nextSequence(key.producer, next) })
	})
	batch.Queue(sqlKeptBySequence, producers, scopes, sequences).Query(f.readKept)
}

// nextSequence returns what was read of a sequence; the producer's facts were
// read before it. Of a producer whose lock was passed over, which may have
// begun a transaction in between, nothing is known.
func (f *flush) nextSequence(producer, sequence int64) nextSequence {
	n := nextSequence{sequence: sequence, at: f.now}
	if p := f.facts.producers[producer]; p != nil {
		n.openRef = p.openRef
		if p.transactional() && !f.locked.producers[producer] {
			n.openRef = unknownRef
		}
	}
	return n
}

// each scans every row into the same variables and calls fn after each.
func each(rows pgx.Rows, into []any, fn func()) error {
	_, err := pgx.ForEachRow(rows, into, func() error {
		fn()
		return nil
	})
	return err
}

func distinct[T int64 | string](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
