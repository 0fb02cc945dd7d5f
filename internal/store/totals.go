package store

import "sync/atomic"

// Totals is what this Store, not another proxy's, has done since it was opened,
// for metrics.
type Totals struct {
	RemovedRecords int64 // by retention and by deletions
	RemovedBatches int64
	RemovedBytes   int64 // of keys, values and headers
	ExpiredMembers int64 // of groups
	LostCommits    [Fates]int64
}

type totals struct {
	removedRecords, removedBatches, removedBytes, expiredMembers atomic.Int64

	lostCommits [Fates]atomic.Int64
}

// Fate is what a Store found out of a COMMIT that PostgreSQL did not answer
// (rule P12). String names it, in metrics and logs.
type Fate int

// The fates.
const (
	FateDone    Fate = iota // it took effect
	FateNotDone             // it did not, and never will
	FateEither              // what was written again is the same once and twice, and was not asked which
	FateUnknown             // nobody can say
	Fates                   // how many there are
)

func (f Fate) String() string { return [Fates]string{"done", "not_done", "either", "unknown"}[f] }

// Totals returns what was done until now.
func (s *Store) Totals() Totals {
	t := &s.totals
	return Totals{
		RemovedRecords: t.removedRecords.Load(),
		RemovedBatches: t.removedBatches.Load(),
		RemovedBytes:   t.removedBytes.Load(),
		ExpiredMembers: t.expiredMembers.Load(),
		LostCommits:    t.lost(),
	}
}

func (t *totals) lost() (all [Fates]int64) {
	for f := range all {
		all[f] = t.lostCommits[f].Load()
	}
	return all
}

// foundOut counts what became of a COMMIT that was not answered, and logs it:
// the line of one that a process did not live to count is missing.
func (s *Store) foundOut(f Fate) {
	s.totals.lostCommits[f].Add(1)
	s.log.Info("found out what became of a commit", "outcome", f.String())
}

// removed counts what a step has removed. One whose COMMIT was lost, and which
// was done again, counts once; one that another proxy has done meanwhile counts
// here, too.
func (t *totals) removed(g leaving) {
	t.removedRecords.Add(g.to - g.from)
	t.removedBatches.Add(int64(g.batches))
	t.removedBytes.Add(max(g.bytes-g.fromBytes, 0))
}
