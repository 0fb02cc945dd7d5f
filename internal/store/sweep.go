package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Sweep deletes up to limit batches of logs that nothing refers to any more,
// and returns how many rows it deleted; zero when there is nothing left.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	const sweep = `
		DELETE FROM batches
		WHERE log_id = $1
		  AND base_offset < (SELECT COALESCE((SELECT base_offset FROM batches
		                                      WHERE log_id = $1
		                                      ORDER BY base_offset OFFSET $2 LIMIT 1), 9223372036854775807))`
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
			tag, err := tx.Exec(ctx, sweep, log, limit-deleted)
			if err != nil {
				return err
			}
			gone := int(tag.RowsAffected())
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
