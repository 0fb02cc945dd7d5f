package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
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

// load takes the locks of all operations and reads the facts about some; about
// the others, where partitions are shared, the ends of their logs.
func (f *flush) load(ctx context.Context, conn *pgx.Conn, which []bool) error {
	batch := &pgx.Batch{}
	bytes, wait := f.needs()
	f.store.queueBegin(batch, bytes, wait)
	all := f.keysOf(func(int) bool { return true })
	unsure := f.keysOf(func(i int) bool { return which[i] })
	f.toCheck = offsetsToCheck(unsure.offsets, unsure.commits) // of the others it is known that they commit no offsets
	f.queueLocks(batch, all)
	if f.shared {
		unsure.partitions = all.partitions
	}
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
			w.shared = sharedFlushes
		}
	}
	w.suspect = nil
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
	if f.toCheck.any() {
		f.checks.queue(batch, &f.toCheck, true)
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
