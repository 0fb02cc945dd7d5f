package store

// Join returns operations that are to come along with a flush: of those that it
// finds, in their order, those that fit, which is asked once of each.
type Join func(fits func(*Op) bool) []*Op

// joinBytes bounds the records of those who join. The server has been told
// already how long it is to wait for what the flush sends.
const joinBytes = idleBytes

// letJoin lets those come along who arrived while the flush waited for the locks
// of other writers, and decides them. They are appends of which all is known, and
// all is held, that they need. It returns how many they are.
//
// Two proxies on one partition take turns, and whoever waits for its turn would
// carry only what came before it began to wait.
func (f *flush) letJoin() int {
	before, bytes := len(f.ops), int64(0)
	expected := map[scopeKey]int64{}
	joined := f.join(func(op *Op) bool {
		r := op.Append
		fits := r != nil && r.TransactionID == "" && bytes+r.Bytes() <= joinBytes && f.holds(r) && f.sureOfAppend(r, expected)
		if fits {
			bytes += r.Bytes()
		}
		return fits
	})
	f.join = nil
	f.ops = append(f.ops[:before:before], joined...)
	f.outcomes = append(f.outcomes, make([]Outcome, len(joined))...)
	f.refused = append(f.refused, make([]bool, len(joined))...)
	f.apart = append(f.apart, make([]bool, len(joined))...)
	f.decide(before)
	return len(joined)
}

// holds reports whether the flush has the locks that an append needs.
func (f *flush) holds(r *Request) bool {
	for _, p := range r.Parts {
		if !f.locked.partitions[r.Topic.PartitionIDs[p.Partition]] {
			return false
		}
	}
	p := f.facts.producers[r.ProducerID]
	return !r.HasProducer() || p != nil && (!p.transactional() || f.locked.producers[r.ProducerID])
}
