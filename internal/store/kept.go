package store

import (
	"encoding/json"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// A request is kept in the row of its first batch.
const (
	sqlKeptRow = `
		                           producer_id, scope_id, base_sequence, idempotency_key, fingerprint, request_count,
		                           request_parts, transaction_ref, log_id, base_offset, timestamp`
	sqlKeptColumns = `
		b.producer_id, b.scope_id, b.base_sequence, b.idempotency_key, b.fingerprint,
		b.request_count, b.request_parts, b.transaction_ref IS NOT NULL, b.base_offset, b.timestamp,
		COALESCE((SELECT p.partition FROM partitions p
		          WHERE p.partition_id = abs(b.log_id)), -- of a husk, too
		         (SELECT p.partition FROM stagings s
		          JOIN partitions p ON p.partition_id = s.partition_id
		          WHERE s.staging_id = b.log_id), -1)`
	sqlKeptBySequence = `
		SELECT ` + sqlKeptColumns + `
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (producer_id, scope_id, base_sequence)
		CROSS JOIN LATERAL (SELECT ` + sqlKeptRow + `
		                    FROM batches
		                    WHERE producer_id = k.producer_id AND scope_id = k.scope_id
		                      AND base_sequence = k.base_sequence LIMIT 1) b`
	sqlKeptByKey = `
		SELECT ` + sqlKeptColumns + `
		FROM unnest($1::bigint[], $2::text[], $3::text[]) AS k (topic_id, transaction_id, idempotency_key)
		LEFT JOIN transactions t ON t.transaction_id = NULLIF(k.transaction_id, '')
		CROSS JOIN LATERAL (SELECT ` + sqlKeptRow + `
		                    FROM batches
		                    WHERE scope_id = CASE WHEN k.transaction_id = '' THEN k.topic_id ELSE t.transaction_ref END
		                      AND idempotency_key = k.idempotency_key LIMIT 1) b`
)

func (f *flush) queueKeys(batch *pgx.Batch, requests []*Request) {
	n := len(requests)
	topics, transactions, keys := make([]int64, n), make([]string, n), make([]string, n)
	for i, r := range requests {
		topics[i], transactions[i], keys[i] = r.Topic.ID, r.TransactionID, r.Key
	}
	batch.Queue(sqlKeptByKey, topics, transactions, keys).Query(f.readKept)
}

// readKept reads rows of sqlKeptColumns into the flush.
func (f *flush) readKept(rows pgx.Rows) error {
	var decodeErr error
	var producer, sequence *int64
	var key, parts *string
	var scope, base, at int64
	var fingerprint []byte
	var count, partition int
	var staged bool
	err := each(rows, []any{&producer, &scope, &sequence, &key, &fingerprint, &count, &parts, &staged, &base, &at, &partition}, func() {
		id := identity{producer: eos.NoProducer, scope: scope}
		k := &keptRequest{eos.Stored{RecordCount: count, Fingerprint: eos.Fingerprint(fingerprint)}, Result{NextSequence: -1, Staged: staged}, at}
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
