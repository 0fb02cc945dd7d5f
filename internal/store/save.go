package store

import (
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
	result         Result // the answer to the request

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

// kept returns the row's request as it is found when it comes again.
func (r *row) kept() *kept {
	return &kept{eos.Stored{RecordCount: r.requestCount, Fingerprint: r.fingerprint}, r.result}
}

// save queues the writes of what was decided.
func (f *flush) save(batch *pgx.Batch) error {
	if err := f.savePuts(batch); err != nil {
		return err
	}
	f.saveRows(batch)
	if err := f.saveCommits(batch); err != nil {
		return err
	}
	f.saveOffsets(batch)
	return nil
}

func (f *flush) saveRows(batch *pgx.Batch) {
	n := len(f.rows)
	if n == 0 {
		return
	}
	var (
		logs, offsets, endBytes, maxTimestamps     = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		scopes, producers, epochs, sequences, refs = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		counts, requestCounts                      = make([]int32, n), make([]int32, n)
		endsTo, headersTo, timestampsTo            = make([]int32, n), make([]int32, n), make([]int32, n)
		keys, parts                                = make([]string, n), make([]string, n)
		fingerprints, bodies, flags                = make([][]byte, n), make([][]byte, n), make([][]byte, n)
		ends                                       = make([]int32, 0, 2*n)
		headers                                    []*string
		timestamps                                 []int64
	)
	for i, r := range f.sortedRows() {
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
}
