package store

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// Totals is what this Store, not another proxy's, has done since it was opened,
// for metrics.
type Totals struct {
	RemovedRecords int64 // by retention and by deletions
	RemovedBatches int64
	RemovedBytes   int64 // of keys, values and headers
	ExpiredMembers int64 // of groups
}

type totals struct {
	removedRecords, removedBatches, removedBytes, expiredMembers atomic.Int64
}

// Totals returns what was done until now.
func (s *Store) Totals() Totals {
	t := &s.totals
	return Totals{
		RemovedRecords: t.removedRecords.Load(),
		RemovedBatches: t.removedBatches.Load(),
		RemovedBytes:   t.removedBytes.Load(),
		ExpiredMembers: t.expiredMembers.Load(),
	}
}

// removed counts what a step has removed. One whose COMMIT was lost, and which
// was done again, counts once; one that another proxy has done meanwhile counts
// here, too.
func (t *totals) removed(g leaving) {
	t.removedRecords.Add(g.to - g.from)
	t.removedBatches.Add(int64(g.batches))
	t.removedBytes.Add(max(g.bytes-g.fromBytes, 0))
}

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
