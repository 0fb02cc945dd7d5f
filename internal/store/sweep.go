package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Sweep deletes up to limit batches of logs that nothing refers to any more,
// and returns how many rows it deleted; zero when there is nothing left.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	// When a producer was last seen is known by its positions from now on.
	const sweep = `
		WITH gone AS (
			DELETE FROM batches
			WHERE log_id = $1
			  AND base_offset < (SELECT COALESCE((SELECT base_offset FROM batches
			                                      WHERE log_id = $1
			                                      ORDER BY base_offset OFFSET $2 LIMIT 1), 9223372036854775807))
			RETURNING producer_id, scope_id, base_sequence + request_count AS next_sequence, appended_at
		), saved AS (
			INSERT INTO positions (producer_id, scope_id, next_sequence, appended_at)
			SELECT producer_id, scope_id, max(next_sequence), max(appended_at)
			FROM gone
			WHERE producer_id IS NOT NULL
			GROUP BY producer_id, scope_id
			ORDER BY producer_id, scope_id
			ON CONFLICT (producer_id, scope_id) DO UPDATE
			SET next_sequence = GREATEST(positions.next_sequence, excluded.next_sequence),
			    appended_at = GREATEST(positions.appended_at, excluded.appended_at)
		)
		SELECT count(*) FROM gone`
	const forget = `DELETE FROM dropped_logs WHERE log_id = $1`
	deleted := 0
	err := s.write(ctx, func(ctx context.Context, tx *tx) error {
		deleted = 0
		rows, err := tx.Query(ctx, `SELECT log_id FROM dropped_logs ORDER BY log_id LIMIT 100 FOR UPDATE SKIP LOCKED`)
		if err != nil {
			return err
		}
		logs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		for _, log := range logs {
			if deleted >= limit {
				return nil
			}
			gone := 0
			if err := tx.QueryRow(ctx, sweep, log, limit-deleted).Scan(&gone); err != nil {
				return err
			}
			if deleted += gone; deleted < limit {
				if _, err := tx.Exec(ctx, forget, log); err != nil {
					return err
				}
				deleted++ // an empty log is progress, too
			}
		}
		return nil
	})
	return deleted, err
}
