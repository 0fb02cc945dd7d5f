package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Locks first, each kind in a statement of its own and sorted; what is read
// after them sees every write that held them before. A producer's row excludes
// its registration (P9), its begin (T10), and also its other appends: shared
// locks that overlap all the time would starve a registration.
const (
	sqlLockProducers = `
		SELECT producer_id, producer_epoch, COALESCE(transactional_id, '')
		FROM producers
		WHERE producer_id = ANY ($1)
		ORDER BY producer_id
		FOR NO KEY UPDATE`
	sqlLockTransactions = `
		SELECT transaction_ref, transaction_id, state, COALESCE(aborted_by, ''),
		       COALESCE(producer_id, -1), COALESCE(producer_epoch, 0), fingerprint
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
)

// What the locks protect. A subquery with LIMIT 1 for each row of an unnest is
// one index probe a row, whatever the planner believes of the tables' sizes.
const (
	sqlNow = `SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint`

	sqlTopics = `
		SELECT topic_id, partition_count, max_record_bytes
		FROM topics
		WHERE topic_id = ANY ($1)`
	sqlOpenTransactions = `
		SELECT producer_id, transaction_id
		FROM transactions
		WHERE producer_id = ANY ($1) AND state = 'ongoing'`
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
	sqlStagingEnds = `
		SELECT t.transaction_id, s.partition_id, s.staging_id,
		       b.base_offset + b.record_count, b.end_bytes, b.max_timestamp
		FROM transactions t
		JOIN stagings s ON s.transaction_ref = t.transaction_ref
		CROSS JOIN LATERAL (SELECT base_offset, record_count, end_bytes, max_timestamp
		                    FROM batches
		                    WHERE log_id = s.staging_id
		                    ORDER BY base_offset DESC LIMIT 1) b
		WHERE t.transaction_id = ANY ($1)`
	sqlNextSequences = `
		SELECT k.producer_id, k.scope_id, b.base_sequence + b.request_count
		FROM unnest($1::bigint[], $2::bigint[]) AS k (producer_id, scope_id)
		CROSS JOIN LATERAL (SELECT base_sequence, request_count
		                    FROM batches
		                    WHERE producer_id = k.producer_id AND scope_id = k.scope_id
		                    ORDER BY base_sequence DESC LIMIT 1) b`

	sqlKeptColumns = `
		b.producer_id, b.scope_id, b.base_sequence, b.idempotency_key, b.fingerprint,
		b.request_count, b.request_parts, b.transaction_ref IS NOT NULL, b.base_offset,
		COALESCE((SELECT p.partition FROM partitions p
		          WHERE p.partition_id = b.log_id),
		         (SELECT p.partition FROM stagings s
		          JOIN partitions p ON p.partition_id = s.partition_id
		          WHERE s.staging_id = b.log_id), -1)`
	sqlKeptBySequence = `
		SELECT ` + sqlKeptColumns + `
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (producer_id, scope_id, base_sequence)
		CROSS JOIN LATERAL (SELECT * FROM batches
		                    WHERE producer_id = k.producer_id AND scope_id = k.scope_id
		                      AND base_sequence = k.base_sequence LIMIT 1) b`
	sqlKeptByKey = `
		SELECT ` + sqlKeptColumns + `
		FROM unnest($1::bigint[], $2::text[], $3::text[]) AS k (topic_id, transaction_id, idempotency_key)
		LEFT JOIN transactions t ON t.transaction_id = NULLIF(k.transaction_id, '')
		CROSS JOIN LATERAL (SELECT * FROM batches
		                    WHERE scope_id = CASE WHEN k.transaction_id = '' THEN k.topic_id ELSE t.transaction_ref END
		                      AND idempotency_key = k.idempotency_key LIMIT 1) b`
)

// load queues the locks and reads behind what is in the batch, sends it, and
// fills the maps of the flush.
func (f *flush) load(ctx context.Context, conn *pgx.Conn, batch *pgx.Batch) error {
	var producers, partitions, topics []int64
	var transactions []string
	var seqProducers, seqScopes, sequences []int64
	var keyTopics []int64
	var keyTransactions, keys []string
	for i, r := range f.requests {
		if f.refused[i] {
			continue
		}
		topics = append(topics, r.Topic.ID)
		if r.HasProducer() {
			producers = append(producers, r.ProducerID)
			seqProducers = append(seqProducers, r.ProducerID)
			seqScopes = append(seqScopes, r.Scope())
			sequences = append(sequences, r.Sequence)
		} else if r.Key != "" {
			keyTopics = append(keyTopics, r.Topic.ID)
			keyTransactions = append(keyTransactions, r.TransactionID)
			keys = append(keys, r.Key)
		}
		if r.TransactionID != "" {
			transactions = append(transactions, r.TransactionID)
			continue
		}
		for _, p := range r.Parts {
			partitions = append(partitions, r.Topic.PartitionIDs[p.Partition])
		}
	}
	producers, partitions, topics = distinct(producers), distinct(partitions), distinct(topics)
	transactions = distinct(transactions)

	f.queueLocks(batch, producers, transactions, partitions)
	batch.Queue(sqlNow).QueryRow(func(row pgx.Row) error { return row.Scan(&f.now) })
	batch.Queue(sqlTopics, topics).Query(func(rows pgx.Rows) error {
		var id int64
		var t topicNow
		return each(rows, []any{&id, &t.partitionCount, &t.maxRecordBytes}, func() { f.topics[id] = t })
	})
	f.queueEnds(batch, partitions, transactions)
	if len(producers) > 0 {
		var id int64
		var txn string
		batch.Queue(sqlOpenTransactions, producers).Query(func(rows pgx.Rows) error {
			return each(rows, []any{&id, &txn}, func() {
				if p := f.producers[id]; p != nil {
					p.OpenTransaction = txn
				}
			})
		})
		batch.Queue(sqlNextSequences, seqProducers, seqScopes).Query(func(rows pgx.Rows) error {
			var scope, next int64
			return each(rows, []any{&id, &scope, &next}, func() { f.next[[2]int64{id, scope}] = next })
		})
		batch.Queue(sqlKeptBySequence, seqProducers, seqScopes, sequences).Query(f.readKept)
	}
	if len(keys) > 0 {
		batch.Queue(sqlKeptByKey, keyTopics, keyTransactions, keys).Query(f.readKept)
	}
	return conn.SendBatch(ctx, batch).Close()
}

func (f *flush) queueLocks(batch *pgx.Batch, producers []int64, transactions []string, partitions []int64) {
	if len(producers) > 0 {
		batch.Queue(sqlLockProducers, producers).Query(func(rows pgx.Rows) error {
			var p eos.Producer
			return each(rows, []any{&p.ID, &p.Epoch, &p.TransactionalID}, func() {
				found := p
				found.Known = true
				f.producers[p.ID] = &found
			})
		})
	}
	if len(transactions) > 0 {
		batch.Queue(sqlLockTransactions, transactions).Query(func(rows pgx.Rows) error {
			return readTransactions(rows, func(t *transaction) { f.transactions[t.ID] = t })
		})
	}
	if len(partitions) > 0 {
		batch.Queue(sqlLockPartitions, partitions)
	}
}

func (f *flush) queueEnds(batch *pgx.Batch, partitions []int64, transactions []string) {
	if len(partitions) > 0 {
		batch.Queue(sqlPartitionEnds, partitions).Query(func(rows pgx.Rows) error {
			var id int64
			var end logEnd
			return each(rows, []any{&id, &end.offset, &end.bytes, &end.maxTimestamp}, func() {
				found := end
				f.ends[id] = &found
			})
		})
	}
	if len(transactions) > 0 {
		batch.Queue(sqlStagingEnds, transactions).Query(func(rows pgx.Rows) error {
			var name string
			var partition, staging int64
			var end logEnd
			return each(rows, []any{&name, &partition, &staging, &end.offset, &end.bytes, &end.maxTimestamp}, func() {
				found := end
				f.ends[staging] = &found
				if t := f.transactions[name]; t != nil {
					t.stagings[partition] = staging
					t.staged += end.bytes
				}
			})
		})
	}
}

// readKept reads rows of sqlKeptColumns into the flush.
func (f *flush) readKept(rows pgx.Rows) error {
	var decodeErr error
	var producer, sequence *int64
	var key, parts *string
	var scope, base int64
	var fingerprint []byte
	var count, partition int
	var staged bool
	err := each(rows, []any{&producer, &scope, &sequence, &key, &fingerprint, &count, &parts, &staged, &base, &partition}, func() {
		id := identity{producer: eos.NoProducer, scope: scope}
		k := &kept{eos.Stored{RecordCount: count, Fingerprint: eos.Fingerprint(fingerprint)}, Result{NextSequence: -1, Staged: staged}}
		if producer != nil {
			id.producer, id.sequence = *producer, *sequence
			k.result.NextSequence = *sequence + int64(count)
		} else {
			id.key = *key
		}
		if parts == nil {
			k.result.Shares = []Share{{Partition: partition, BaseOffset: base, RecordCount: count}}
		} else if err := json.Unmarshal([]byte(*parts), &k.result.Shares); err != nil {
			decodeErr = fmt.Errorf("request_parts of %+v: %w", id, err)
		}
		f.kept[id] = k
	})
	if err != nil {
		return err
	}
	return decodeErr
}

// readTransactions reads rows of sqlLockTransactions.
func readTransactions(rows pgx.Rows, found func(*transaction)) error {
	var t transaction
	var fingerprint []byte
	return each(rows, []any{&t.ref, &t.ID, &t.State, &t.AbortedBy, &t.ProducerID, &t.Epoch, &fingerprint}, func() {
		read := t
		read.stagings = map[int64]int64{}
		if fingerprint != nil {
			sum := eos.Fingerprint(fingerprint)
			read.Fingerprint = &sum
		}
		found(&read)
	})
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
