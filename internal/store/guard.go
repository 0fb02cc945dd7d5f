package store

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
)

// A guard fails with a division by zero unless everything that the flush was
// decided by is true. Guards are the last statements before COMMIT, under the
// locks and behind the inserts: what they read cannot change any more.
const (
	// The log of each partition ended where this flush went on: no gap, no
	// offset that retention has removed. And each topic has the partition count
	// that requests were routed by, and the size limit; it is named beside one
	// of its partitions, or alone, with partition 0, by what is staged. And it is
	// not too late.
	sqlGuardLogs = `
		SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint,
		       1 / (count(*) = cardinality($1) AND EXTRACT(EPOCH FROM clock_timestamp()) * 1000 < $6)::integer
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[])
		     AS k (partition_id, end_offset, topic_id, partition_count, max_record_bytes)
		WHERE (k.partition_id = 0
		       OR k.end_offset = (SELECT GREATEST(p.log_start_offset, COALESCE((
		                                 SELECT b.base_offset + b.record_count
		                                 FROM batches b
		                                 WHERE b.log_id = k.partition_id AND b.base_offset < k.end_offset
		                                 ORDER BY b.base_offset DESC LIMIT 1), 0))
		                          FROM partitions p
		                          WHERE p.partition_id = k.partition_id))
		  AND (k.topic_id = 0
		       OR EXISTS (SELECT FROM topics t
		                  WHERE t.topic_id = k.topic_id
		                    AND t.partition_count = k.partition_count
		                    AND t.max_record_bytes = k.max_record_bytes))`
	// Each producer that could be fenced has the epoch, and the open transaction
	// (0 for none), that it was taken to have (P9, T10).
	sqlGuardProducers = `
		SELECT 1 / (count(*) = cardinality($1))::integer
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (producer_id, producer_epoch, open_ref)
		WHERE k.producer_epoch = (SELECT p.producer_epoch FROM producers p WHERE p.producer_id = k.producer_id)
		  AND k.open_ref = COALESCE((SELECT t.transaction_ref
		                             FROM transactions t
		                             WHERE t.producer_id = k.producer_id AND t.state = 'ongoing'), 0)`
	// In each scope of which nothing was heard for a while, and in all of them
	// where partitions are shared, the first sequence is none of those that
	// retention has removed: what unique keys cannot tell of rows that are gone
	// (P8).
	sqlGuardSequences = `
		SELECT 1 / (count(*) = cardinality($1))::integer
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (producer_id, scope_id, base_sequence)
		WHERE k.base_sequence >= COALESCE((SELECT o.next_sequence
		                                   FROM positions o
		                                   WHERE o.producer_id = k.producer_id AND o.scope_id = k.scope_id), 0)`
	// Each transaction that records were staged in is ongoing (T4).
	sqlGuardTransactions = `
		SELECT 1 / (count(*) = cardinality($1))::integer
		FROM unnest($1::bigint[]) AS k (transaction_ref)
		WHERE 'ongoing' = (SELECT t.state FROM transactions t WHERE t.transaction_ref = k.transaction_ref)`
	// Before they are moved: what a commit moves is all that its transaction has
	// staged, which is ongoing (T1, T3).
	sqlGuardCommits = `
		SELECT 1 / (count(*) = cardinality($1))::integer
		FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) AS k (transaction_ref, stagings, offsets)
		WHERE 'ongoing' = (SELECT t.state FROM transactions t WHERE t.transaction_ref = k.transaction_ref)
		  AND k.stagings = (SELECT count(*) FROM stagings s WHERE s.transaction_ref = k.transaction_ref)
		  AND k.offsets = ((SELECT true FROM staged_offsets o WHERE o.transaction_ref = k.transaction_ref LIMIT 1) IS NOT NULL)`
	sqlGuardMoves = `
		SELECT 1 / (count(*) = cardinality($1))::integer
		FROM unnest($1::bigint[], $2::bigint[]) AS k (staging_id, records)
		WHERE k.records = (SELECT b.base_offset + b.record_count
		                   FROM batches b
		                   WHERE b.log_id = k.staging_id
		                   ORDER BY b.base_offset DESC LIMIT 1)`
)

// queueGuards queues the guards, of which the first also reads the clock.
func (f *flush) queueGuards(ctx context.Context, p *pipeline) {
	logs, ends, topics, maxBytes := []int64{}, []int64{}, []int64{}, []int64{}
	counts := []int32{}
	add := func(log, end, topic int64) {
		t := f.facts.topics[topic]
		logs, ends, topics = append(logs, log), append(ends, end), append(topics, topic)
		counts, maxBytes = append(counts, int32(t.partitionCount)), append(maxBytes, t.maxRecordBytes)
	}
	for id, first := range f.first {
		add(id, first.end, first.topic)
		delete(f.topics, first.topic)
	}
	for id := range f.topics {
		add(0, 0, id)
	}
	p.queueRows(ctx, func(fields [][]byte) error {
		f.facts.clock.set(int64(binary.BigEndian.Uint64(fields[0])))
		return nil
	}, sqlGuardLogs, logs, ends, topics, counts, maxBytes, f.now+maxLate.Milliseconds())
	if len(f.producers) > 0 {
		f.queueProducersGuard(ctx, p)
	}
	if len(f.sequences) > 0 {
		f.queueSequencesGuard(ctx, p)
	}
	for _, c := range f.commits {
		delete(f.transactions, c.ref) // not any more: this flush ends it
	}
	if len(f.transactions) > 0 {
		p.queue(ctx, sqlGuardTransactions, slices.Collect(maps.Keys(f.transactions)))
	}
}

// queueCommitsGuard queues the guard of the commits, which comes before what
// they move.
func (f *flush) queueCommitsGuard(ctx context.Context, p *pipeline) {
	var refs, counts, stagings, records []int64
	var offsets []bool
	for _, c := range f.commits {
		refs, counts, offsets = append(refs, c.ref), append(counts, int64(len(c.moves))), append(offsets, c.offsets)
		for _, m := range c.moves {
			stagings, records = append(stagings, m.staging), append(records, m.records)
		}
	}
	p.queue(ctx, sqlGuardCommits, refs, counts, offsets)
	if len(stagings) > 0 {
		p.queue(ctx, sqlGuardMoves, stagings, records)
	}
}

func (f *flush) queueSequencesGuard(ctx context.Context, p *pipeline) {
	n := len(f.sequences)
	producers, scopes, sequences := make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n)
	for key, first := range f.sequences {
		producers, scopes, sequences = append(producers, key.producer), append(scopes, key.scope), append(sequences, first)
	}
	p.queue(ctx, sqlGuardSequences, producers, scopes, sequences)
}

func (f *flush) queueProducersGuard(ctx context.Context, p *pipeline) {
	var ids, epochs, open []int64
	for id, producer := range f.producers {
		ids, epochs, open = append(ids, id), append(epochs, producer.Epoch), append(open, producer.openRef)
	}
	p.queue(ctx, sqlGuardProducers, ids, epochs, open)
}
