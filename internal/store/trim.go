package store

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"
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

	// The next range that is to be trimmed, behind the one before, and how far
	// one step of it goes.
	sqlNextTrim = `
		SELECT log_id, from_offset, to_offset,
		       COALESCE((SELECT base_offset
		                 FROM batches b
		                 WHERE b.log_id = t.log_id AND b.base_offset >= t.from_offset AND b.base_offset < t.to_offset
		                 ORDER BY b.base_offset OFFSET $3 LIMIT 1), to_offset)
		FROM trims t
		WHERE (log_id, to_offset) > ($1, $2)
		  AND raised_at <= clock_timestamp() - $4::interval
		ORDER BY log_id, to_offset LIMIT 1
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
		SET from_offset = $3
		WHERE log_id = $1 AND to_offset = $2`
	sqlAllTrimmed = `
		DELETE FROM trims
		WHERE log_id = $1 AND to_offset = $2`
)

// Trim deletes up to limit batches below the start of one log, which was raised
// a while ago (keptFor), and makes husks of those whose requests are still to be
// recognised. It returns how many rows it has touched; zero when nothing is left
// that nobody else is trimming. Logs take turns.
func (s *Store) Trim(ctx context.Context, limit int) (rows int, err error) {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	after := s.trimmed
	rows, s.trimmed, err = s.trimAfter(ctx, after, limit)
	if err == nil && rows == 0 && after != 0 {
		rows, s.trimmed, err = s.trimAfter(ctx, 0, limit) // from the first on again
	}
	return rows, err
}

// trimAfter trims a range of the first log behind one that has something to
// trim, and returns its id; 0 when there is none.
func (s *Store) trimAfter(ctx context.Context, after int64, limit int) (touched int, log int64, err error) {
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		touched, log = 0, 0
		var from, to, end int64
		err := tx.QueryRow(ctx, sqlNextTrim, after, int64(math.MaxInt64), limit, keptFor).Scan(&log, &from, &end, &to)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		batch.Queue(sqlNeedNotLast)
		batch.Queue(sqlMakeHusks, log, from, to).Exec(affected(&touched))
		batch.Queue(sqlTrim, log, from, to).Exec(affected(&touched))
		if to == end {
			batch.Queue(sqlAllTrimmed, log, end)
		} else {
			batch.Queue(sqlTrimmed, log, end, to)
		}
		touched = 1 // an empty range is progress, too
		return tx.SendBatch(ctx, batch).Close()
	})
	return touched, log, err
}
