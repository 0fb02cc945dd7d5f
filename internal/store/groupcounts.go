package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// GroupCounts tells how many groups there are, by state, and how many members
// all of them have.
type GroupCounts struct {
	Empty, Reconciling, Stable int64
	Members                    int64
}

// CountGroups counts the groups, for metrics. It reads every group and member,
// and of their partitions those that are on their way: call it rarely.
func (s *Store) CountGroups(ctx context.Context) (GroupCounts, error) {
	const sql = `
		SELECT count(*) FILTER (WHERE g.idle_since IS NOT NULL),
		       count(*) FILTER (WHERE g.idle_since IS NULL AND m.group_id IS NOT NULL),
		       count(*) FILTER (WHERE g.idle_since IS NULL AND m.group_id IS NULL),
		       (SELECT count(*) FROM members)
		FROM groups g
		LEFT JOIN (SELECT DISTINCT group_id
		           FROM group_partitions
		           WHERE owner_id IS DISTINCT FROM target_id OR revoking) m ON m.group_id = g.group_id`
	var c GroupCounts
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql).Scan(&c.Empty, &c.Reconciling, &c.Stable, &c.Members)
	})
	return c, err
}
