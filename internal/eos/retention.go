package eos

// Retention is how long a topic keeps its records; -1 is for ever.
type Retention struct {
	MS    int64 // since they were committed
	Bytes int64 // of each partition, as limits count them
}

// CommitMargin bounds how many milliseconds after the time that a batch bears
// it may have been committed. Age counts from the commit (R1), so a batch is
// younger than it looks by that much at the most.
const CommitMargin = 15_000

// Oldest is the oldest batch of a log, at a moment of the database's clock.
type Oldest struct {
	AgeMS  int64 // since the time that it bears
	Behind int64 // bytes of the records behind it
}

// Expired reports whether the oldest batch of a log leaves: it is older than
// the topic keeps records, or the log has as many bytes as it keeps without
// it. Whoever removes batches begins with the oldest and stops at the first
// that has not expired (R1). A topic that keeps nothing needs no margin: what can
// be read was committed.
func (r Retention) Expired(b Oldest) bool {
	return r.MS == 0 && b.AgeMS >= 0 ||
		r.MS >= 0 && b.AgeMS > CommitMargin && b.AgeMS-CommitMargin > r.MS ||
		r.Bytes >= 0 && b.Behind >= r.Bytes
}
