package store

import (
	"context"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// row is one row of batches to insert.
type row struct {
	log          int64
	baseOffset   int64
	endBytes     int64
	maxTimestamp int64

	identity       // the zero value, with requestCount 0, on rows without one
	epoch          int64
	fingerprint    eos.Fingerprint
	requestCount   int
	parts          string
	transactionRef int64
	staged         bool // the log is a staging

	*Packed
}

// The rows come as one array a column. What is an array in a row comes as a
// slice of one long array; 0 and the empty text stand for null where a column
// may be null and never holds them.
const sqlInsertBatches = `
	INSERT INTO batches (
		log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at,
		scope_id, producer_id, producer_epoch, base_sequence, idempotency_key,
		fingerprint, request_count, request_parts, transaction_ref,
		body, ends, flags, timestamp, headers, timestamps)
	SELECT r.log_id, r.base_offset, r.record_count, r.end_bytes, r.max_timestamp, clock_timestamp(),
	       NULLIF(r.scope_id, 0), NULLIF(r.producer_id, 0),
	       CASE WHEN r.producer_id > 0 THEN r.producer_epoch END,
	       CASE WHEN r.producer_id > 0 THEN r.base_sequence END,
	       NULLIF(r.idempotency_key, ''), r.fingerprint, NULLIF(r.request_count, 0), NULLIF(r.request_parts, ''),
	       NULLIF(r.transaction_ref, 0),
	       r.body, ($16::integer[])[r.ends_to - 2 * r.record_count + 1 : r.ends_to], r.flags, $17,
	       CASE WHEN r.headers_to > 0 THEN ($18::text[])[r.headers_to - r.record_count + 1 : r.headers_to] END,
	       CASE WHEN r.timestamps_to > 0 THEN ($19::bigint[])[r.timestamps_to - r.record_count + 1 : r.timestamps_to] END
	FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[],
	            $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::text[],
	            $11::bytea[], $12::integer[], $13::text[], $14::bigint[], $15::bytea[],
	            $20::integer[], $21::bytea[], $22::integer[], $23::integer[])
	     AS r (log_id, base_offset, record_count, end_bytes, max_timestamp,
	           scope_id, producer_id, producer_epoch, base_sequence, idempotency_key,
	           fingerprint, request_count, request_parts, transaction_ref, body,
	           ends_to, flags, headers_to, timestamps_to)`

// save queues the writes of what was decided. It draws the ids of new stagings
// itself, which is a trip of its own.
func (f *flush) save(ctx context.Context, conn *pgx.Conn, batch *pgx.Batch) error {
	if err := f.saveStagings(ctx, conn, batch); err != nil {
		return err
	}
	if len(f.rows) == 0 {
		return nil
	}
	n := len(f.rows)
	var (
		logs, offsets, endBytes, maxTimestamps     = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		scopes, producers, epochs, sequences, refs = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		counts, requestCounts                      = make([]int32, n), make([]int32, n)
		endsTo, headersTo, timestampsTo            = make([]int32, n), make([]int32, n), make([]int32, n)
		keys, parts                                = make([]string, n), make([]string, n)
		fingerprints, bodies, flags                = make([][]byte, n), make([][]byte, n), make([][]byte, n)
		ends                                       []int32
		headers                                    []*string
		timestamps                                 []int64
	)
	for i := range f.rows {
		r := &f.rows[i]
		logs[i], offsets[i], counts[i] = r.log, r.baseOffset, int32(r.Count)
		endBytes[i], maxTimestamps[i] = r.endBytes, r.maxTimestamp
		if r.requestCount > 0 {
			scopes[i], sequences[i], epochs[i], keys[i] = r.scope, r.sequence, r.epoch, r.key
			producers[i] = max(r.producer, 0)
			fingerprints[i], requestCounts[i], parts[i], refs[i] = r.fingerprint[:], int32(r.requestCount), r.parts, r.transactionRef
		}
		bodies[i], flags[i] = r.Body, r.Flags
		ends = append(ends, r.Ends...)
		endsTo[i] = int32(len(ends))
		if r.Headers != nil {
			headers = append(headers, r.Headers...)
			headersTo[i] = int32(len(headers))
		}
		if r.Timestamps != nil {
			for _, t := range r.Timestamps {
				if t < 0 {
					t = f.now
				}
				timestamps = append(timestamps, t)
			}
			timestampsTo[i] = int32(len(timestamps))
		}
	}
	batch.Queue(sqlInsertBatches,
		logs, offsets, counts, endBytes, maxTimestamps,
		scopes, producers, epochs, sequences, keys,
		fingerprints, requestCounts, parts, refs, bodies,
		ends, f.now, headers, timestamps,
		endsTo, flags, headersTo, timestampsTo)
	return nil
}

func (f *flush) saveStagings(ctx context.Context, conn *pgx.Conn, batch *pgx.Batch) error {
	if len(f.newStagings) == 0 {
		return nil
	}
	const draw = `SELECT nextval('object_ids') FROM generate_series(1, $1)`
	const insert = `
		INSERT INTO stagings (staging_id, transaction_ref, partition_id)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])`
	rows, err := conn.Query(ctx, draw, len(f.newStagings))
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	refs, partitions := make([]int64, len(ids)), make([]int64, len(ids))
	for i, s := range f.newStagings {
		refs[i], partitions[i] = s[0], s[1]
	}
	for i := range f.rows {
		if log := f.rows[i].log; log < 0 {
			f.rows[i].log = ids[-log-1]
		}
	}
	batch.Queue(insert, ids, refs, partitions)
	return nil
}
