package store

import "sync/atomic"

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
