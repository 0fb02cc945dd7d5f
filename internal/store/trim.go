package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A husk is the row of a request whose records are gone while the request is
// still to be recognised: some of its records are kept in other partitions, or
// it has a key that is not a day old (P10). It keeps its keys and its answer and
// is moved to the log -partition_id, so that the unique keys that make a request
// happen once are those of one table, whatever has left it.
const (
	// Whether request b has records left in a partition. Offsets of what came in
	// a transaction count within it; its fate tells where that was put.
	sqlPartsLeft = `
		EXISTS (SELECT
		        FROM partitions own
		        JOIN topics t ON t.topic_id = own.topic_id
		        CROSS JOIN LATERAL json_to_recordset(b.request_parts::json) AS s (partition integer, base_offset bigint)
		        JOIN partitions p ON p.topic_id = own.topic_id AND p.partition = s.partition
		        WHERE own.partition_id = abs(b.log_id)
		          AND p.log_start_offset <= s.base_offset + COALESCE((
		              SELECT a.base_offset
		              FROM transactions x
		              CROSS JOIN LATERAL json_to_recordset(x.appended::json) AS a (topic text, partition integer, base_offset bigint)
		              WHERE x.transaction_ref = b.transaction_ref AND a.topic = t.topic AND a.partition = s.partition), 0))`
	sqlKeyIsYoung = `
		b.idempotency_key IS NOT NULL AND b.appended_at > clock_timestamp() - interval '24 hours'`

	// The next log with something to trim, behind the one before; and how far it
	// goes now: no batch is deleted that could still be in the way of an append
	// that knows nothing of it.
	sqlNextTrim = `
		SELECT log_id, from_offset, to_offset,
		       COALESCE((SELECT COALESCE(min(b.base_offset) FILTER (WHERE b.appended_at > clock_timestamp() - $3::interval),
		                                 max(b.base_offset + b.record_count))
		                 FROM (SELECT base_offset, record_count, appended_at
		                       FROM batches
		                       WHERE log_id = t.log_id AND base_offset >= t.from_offset AND base_offset < t.to_offset
		                       ORDER BY base_offset LIMIT $2) b), to_offset)
		FROM trims t
		WHERE log_id > $1
		ORDER BY log_id LIMIT 1
		FOR UPDATE SKIP LOCKED`
	sqlMakeHusks = `
		UPDATE batches b
		SET log_id = -log_id, record_count = 1, body = '', ends = '{0,0}', flags = NULL, headers = NULL, timestamps = NULL
		WHERE b.log_id = $1 AND b.base_offset >= $2 AND b.base_offset < $3
		  AND b.request_count IS NOT NULL
		  AND (` + sqlKeyIsYoung + ` OR b.request_parts IS NOT NULL AND ` + sqlPartsLeft + `)`
	sqlTrim = `
		DELETE FROM batches
		WHERE log_id = $1 AND base_offset >= $2 AND base_offset < $3`
	sqlTrimmed = `
		UPDATE trims
		SET from_offset = $2
		WHERE log_id = $1`
	sqlAllTrimmed = `
		DELETE FROM trims
		WHERE log_id = $1`
)

// trimLogs bounds how many logs one call of Trim looks at.
const trimLogs = 100

// Trim deletes up to limit batches below the start of one log, and makes husks
// of those whose requests are still to be recognised. It returns how many rows
// it has touched; zero when it has found nothing that can be deleted now. Logs
// take turns.
func (s *Store) Trim(ctx context.Context, limit int) (rows int, err error) {
	after := s.trimmed.Load()
	for range trimLogs {
		touched, log, err := s.trimAfter(ctx, after, limit)
		if s.trimmed.Store(log); err != nil || touched > 0 {
			return touched, err
		}
		if log == 0 && after == 0 {
			return 0, nil
		}
		after = log // 0: from the first on again
	}
	return 0, nil
}

// trimAfter trims the first log behind one that is to be trimmed, and returns
// its id; 0 when there is none.
func (s *Store) trimAfter(ctx context.Context, after int64, limit int) (touched int, log int64, err error) {
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		touched, log = 0, 0
		var from, to, end int64
		err := tx.QueryRow(ctx, sqlNextTrim, after, limit, keptFor).Scan(&log, &from, &end, &to)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err != nil:
			return err
		case to <= from:
			return nil // too young
		}
		batch := &pgx.Batch{}
		batch.Queue(sqlMakeHusks, log, from, to).Exec(count(&touched))
		batch.Queue(sqlTrim, log, from, to).Exec(count(&touched))
		if to >= end {
			batch.Queue(sqlAllTrimmed, log)
		} else {
			batch.Queue(sqlTrimmed, log, to)
		}
		touched = 1 // an empty range is progress, too
		return tx.SendBatch(ctx, batch).Close()
	})
	return touched, log, err
}

// count adds the rows that a statement touched.
func count(to *int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*to += int(tag.RowsAffected())
		return nil
	}
}
