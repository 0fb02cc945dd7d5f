package store

import (
	"context"
	"encoding/binary"
)

// sqlGuard fails with a division by zero unless everything that the flush was
// decided by is true. It is the last statement before COMMIT, under the locks
// and behind the inserts: what it reads cannot change any more.
//
//   - Each topic has the partition count that requests were routed by, and the
//     size limit.
//   - The log of each partition ended where this flush went on: no gap, no
//     offset that retention has removed.
//   - Each producer that could be fenced has the epoch, and the open transaction
//     (0 for none), that it was taken to have (P9, T10).
//   - Each transaction that records were staged in is ongoing (T4).
const sqlGuard = `
	SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint,
	       1 / ((SELECT count(*)
	             FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS k (topic_id, partition_count, max_record_bytes)
	             CROSS JOIN LATERAL (SELECT FROM topics t
	                                 WHERE t.topic_id = k.topic_id
	                                   AND t.partition_count = k.partition_count
	                                   AND t.max_record_bytes = k.max_record_bytes LIMIT 1) found) = cardinality($1)
	        AND (SELECT count(*)
	             FROM unnest($4::bigint[], $5::bigint[]) AS k (partition_id, end_offset)
	             CROSS JOIN LATERAL (SELECT FROM partitions p
	                                 WHERE p.partition_id = k.partition_id
	                                   AND GREATEST(p.log_start_offset, COALESCE((
	                                         SELECT b.base_offset + b.record_count
	                                         FROM batches b
	                                         WHERE b.log_id = k.partition_id AND b.base_offset < k.end_offset
	                                         ORDER BY b.base_offset DESC LIMIT 1), 0)) = k.end_offset LIMIT 1) found) = cardinality($4)
	        AND (SELECT count(*)
	             FROM unnest($6::bigint[], $7::bigint[], $8::bigint[]) AS k (producer_id, producer_epoch, open_ref)
	             CROSS JOIN LATERAL (SELECT FROM producers p
	                                 WHERE p.producer_id = k.producer_id
	                                   AND p.producer_epoch = k.producer_epoch
	                                   AND COALESCE((SELECT t.transaction_ref
	                                                 FROM transactions t
	                                                 WHERE t.producer_id = k.producer_id AND t.state = 'ongoing'
	                                                 LIMIT 1), 0) = k.open_ref LIMIT 1) found) = cardinality($6)
	        AND (SELECT count(*)
	             FROM unnest($9::bigint[]) AS k (transaction_ref)
	             CROSS JOIN LATERAL (SELECT FROM transactions t
	                                 WHERE t.transaction_ref = k.transaction_ref AND t.state = 'ongoing' LIMIT 1) found) = cardinality($9)
	       )::integer`

// queueGuard queues the guard. It also reads the clock.
func (f *flush) queueGuard(ctx context.Context, p *pipeline) error {
	var topics, maxBytes, logs, ends, producers, epochs, open, refs []int64
	var counts []int32
	for id := range f.topics {
		t := f.facts.topics[id]
		topics, counts, maxBytes = append(topics, id), append(counts, int32(t.partitionCount)), append(maxBytes, t.maxRecordBytes)
	}
	for id, end := range f.first {
		logs, ends = append(logs, id), append(ends, end)
	}
	for id, producer := range f.producers {
		producers, epochs, open = append(producers, id), append(epochs, producer.Epoch), append(open, producer.openRef)
	}
	for _, c := range f.commits {
		delete(f.transactions, c.ref)
	}
	for ref := range f.transactions {
		refs = append(refs, ref)
	}
	return p.queueRows(ctx, func(fields [][]byte) error {
		f.facts.clock.set(int64(binary.BigEndian.Uint64(fields[0])))
		return nil
	}, sqlGuard, present(topics), present(counts), present(maxBytes), present(logs), present(ends),
		present(producers), present(epochs), present(open), present(refs))
}

// present returns an empty list for a nil one, which would be a null.
func present[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
