package judge

import (
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// checkTransactions holds of each transaction that it has one fate that somebody asked for, and that its records are
// all in the log or none, as its fate says.
func (b *book) checkTransactions() {
	for _, t := range b.allTxns {
		b.checkFate(t)
		b.checkAsked(t)
		b.checkRecords(t)
		b.checkStuck(t)
		b.checkTooLate(t)
	}
}

// writes returns the operations that put records into the transaction.
func (t *txn) writes() []*op { return append(t.puts[:len(t.puts):len(t.puts)], t.staged...) }

func (b *book) checkFate(t *txn) {
	if t.committed.line > 0 && t.aborted.line > 0 {
		b.add(TwoFates, []int32{t.committed.line, t.aborted.line},
			"transaction %s was said to be committed and to be aborted by %s",
			t.id, t.by)
	}
	over := t.committed
	if over.line == 0 || t.aborted.line > 0 && t.aborted.at < over.at {
		over = t.aborted
	}
	if over.line > 0 && t.ongoing.line > 0 && t.ongoing.at > over.at {
		b.add(TwoFates, []int32{over.line, t.ongoing.line},
			"transaction %s had ended by %d, and was said to be ongoing to who asked at %d",
			t.id, over.at, t.ongoing.at)
	}
	h, s := t.fates[history.HTTP], t.fates[history.SQL]
	for _, f := range []*history.Fate{h, s} {
		if f != nil && f.State != "committed" && f.State != "aborted" && over.line > 0 {
			b.add(TwoFates, []int32{over.line, t.fateLine},
				"transaction %s had ended by %d; in the end it is %s by %s",
				t.id, over.at, f.State, f.Source)
		}
	}
	if h != nil && s != nil && (h.State != s.State || h.By != s.By) {
		b.add(DrainDiffers, []int32{t.fateLine},
			"transaction %s is %s %s by HTTP, and %s %s by SQL",
			t.id, h.State, h.By, s.State, s.By)
	}
}

// checkAsked holds that somebody, or something, asked for the fate that a transaction has.
func (b *book) checkAsked(t *txn) {
	if t.committed.line > 0 {
		switch {
		case t.commitSent.line == 0 || t.commitSent.at > t.committed.at:
			b.add(WrongTransaction, []int32{t.line, t.committed.line},
				"transaction %s is committed; nobody had asked for it",
				t.id)
		case !b.mayCommit(t):
			b.add(LyingFailure, b.showEnds(t),
				"transaction %s is committed; each request to commit it was refused",
				t.id)
		}
		b.checkZombie(t)
	}
	if t.aborted.line == 0 {
		return
	}
	switch t.by {
	case "client":
		if t.abortSent.line == 0 || t.abortSent.at > t.aborted.at {
			b.add(WrongTransaction, []int32{t.line, t.aborted.line},
				"transaction %s was aborted by its client; no client had asked for it",
				t.id)
		}
	case "fencing":
		switch {
		case t.producer == 0:
			b.add(WrongTransaction, []int32{t.line, t.aborted.line},
				"transaction %s was aborted by fencing, but has no producer",
				t.id)
		case !b.mayFence(t.producer, t.epoch, t.aborted.at):
			b.add(WrongTransaction, []int32{t.line, t.aborted.line},
				"transaction %s was aborted by fencing, but nobody had registered producer %d above epoch %d by %d",
				t.id, t.producer, t.epoch, t.aborted.at)
		}
	case "timeout":
		if passed := t.aborted.at - t.begun.at; t.begun.line > 0 && t.timeout > 0 && passed < t.timeout*1e6 {
			b.add(EarlyTimeout, []int32{t.begun.line, t.aborted.line},
				"transaction %s was aborted by its timeout of %d ms at most %d ms after it was begun",
				t.id, t.timeout, passed/1e6)
		}
	}
}

// mayCommit reports whether some request to commit the transaction can have taken effect.
func (b *book) mayCommit(t *txn) bool {
	for _, o := range t.puts {
		if o.kind == history.KindOneShot && b.may(o) {
			return true
		}
	}
	for _, o := range t.ends {
		if o.kind == history.KindCommit && b.may(o) {
			return true
		}
	}
	return false
}

func (b *book) showEnds(t *txn) (lines []int32) {
	for _, o := range append(t.ends[:len(t.ends):len(t.ends)], t.puts...) {
		if o.kind == history.KindCommit || o.kind == history.KindOneShot {
			lines = append(lines, b.showTries(o)...)
		}
	}
	return append(lines[:min(5, len(lines))], t.committed.line)
}

// checkZombie holds that no transaction was committed that was first to be committed after its producer was fenced.
func (b *book) checkZombie(t *txn) {
	if t.producer == 0 {
		return
	}
	if fence := b.fence(t.producer, t.epoch); fence.at < t.commitSent.at {
		b.add(ZombieCommit, []int32{t.begun.line, fence.line, t.commitSent.line, t.committed.line},
			"transaction %s of producer %d, epoch %d, is committed; a later epoch was given out by %d, its "+
				"commit was sent at %d",
			t.id, t.producer, t.epoch, fence.at, t.commitSent.at)
	}
}

// checkRecords holds a transaction's records in the log against its fate.
func (b *book) checkRecords(t *txn) {
	var missing, there *op
	b.checkContents(t)
	for _, o := range t.writes() {
		count := o.count()
		switch {
		case count == 0:
		case o.present+o.gone == 0 && o.ok:
			missing = o
		case o.known() > 0 && o.present+o.gone < count:
			b.add(TornTransaction, b.showMissing(o),
				"transaction %s: %d of the %d records of operation %d are in the log",
				t.id, o.present+o.gone, count, o.id)
			there = o
		case o.known() > 0:
			there = o
		}
	}
	switch {
	case t.aborted.line > 0 && t.committed.line == 0 && there != nil:
		b.add(AbortedRead, append(b.showMissing(there), t.aborted.line),
			"transaction %s was aborted by %s; records of its operation %d are in the log",
			t.id, t.by, there.id)
	case there != nil && missing != nil:
		b.add(TornTransaction, append(b.showMissing(there), missing.line, missing.ackLine),
			"transaction %s: the records of operation %d are in the log, those of operation %d, which was "+
				"acknowledged, are not",
			t.id, there.id, missing.id)
	case missing != nil && t.committed.line > 0:
		b.add(LostWrite, []int32{missing.line, missing.ackLine, t.committed.line},
			"transaction %s was committed; the records of its operation %d, which was acknowledged, are in no log",
			t.id, missing.id)
	}
	if there != nil && t.committed.line == 0 && t.aborted.line == 0 && len(t.fates) > 0 {
		b.add(UncommittedRead, append(b.showMissing(there), t.fateLine),
			"transaction %s has not ended in the end; records of its operation %d are in the log",
			t.id, there.id)
	}
	if there != nil && t.commitSent.line == 0 {
		b.add(WrongTransaction, b.showMissing(there),
			"transaction %s: its records are in the log, and nobody asked to commit it",
			t.id)
	}
	if there != nil && there.kind == history.KindBegin && !b.may(there) ||
		there != nil && there.kind == history.KindOneShot && !b.may(there) {
		b.add(LyingFailure, b.showTries(there), "transaction %s was refused, and its records are in the log", t.id)
	}
	b.checkTransactionPlaces(t)
}

// checkContents holds that not two contents were accepted under the id of the transaction.
func (b *book) checkContents(t *txn) {
	var first *op
	for _, o := range t.puts {
		switch {
		case !o.ok && o.known() == 0 || o.count() == 0:
		case first == nil:
			first = o
		default:
			b.add(IdentityReused, []int32{first.line, first.ackLine, o.line, o.ackLine},
				"operations %d and %d put other records into transaction %s; both were accepted",
				first.id, o.id, t.id)
		}
	}
}

// checkTransactionPlaces holds what the answer to a commit says of where the records are against the log.
func (b *book) checkTransactionPlaces(t *txn) {
	told := int64(0)
	for i := range t.places {
		at := &t.places[i]
		p := b.partition(at.Topic, at.Partition)
		for j := range int64(at.Count) {
			left := p.hasLeft(at.Offset + j)
			if left && p.at(at.Offset+j) == 0 {
				continue
			}
			if !left {
				told++
			}
			if o := b.writer(p.at(at.Offset + j)); o == nil || o.txn != t {
				b.add(AckDiffers, []int32{t.committed.line, p.line(at.Offset + j)},
					"transaction %s was told that its records are in %s/%d from offset %d on; there is value "+
						"%d at offset %d",
					t.id, p.topic.name, p.number, at.Offset, p.at(at.Offset+j), at.Offset+j)
				return
			}
		}
	}
	if t.places != nil && told != t.present {
		b.add(AckDiffers, []int32{t.committed.line},
			"transaction %s was told where %d records are; it has %d in the log",
			t.id, told, t.present)
	}
}

// grace is how long, in nanoseconds, a transaction may go on beyond its timeout while some proxy runs: it is aborted
// within a second (T5). Outage is the same while faults are about: proxies may all be down for a while.
const (
	grace  = 5e9
	outage = 60e9
)

// checkStuck holds that a transaction that was open is not open long after its timeout, nor one that nobody has named
// since.
func (b *book) checkStuck(t *txn) {
	if t.timeout <= 0 {
		return
	}
	f := t.fates[history.HTTP]
	if f == nil {
		f = t.fates[history.SQL]
	}
	if f != nil && f.State == "ongoing" && b.back > 0 {
		if due := max(b.back, t.active+t.timeout*1e6); b.now > due+grace {
			b.add(StuckTransaction, []int32{t.line, t.fateLine},
				"transaction %s with a timeout of %d ms goes on %d s after it was last heard of, and %d s after the last fault",
				t.id, t.timeout, (b.now-t.active)/1e9, (b.now-b.back)/1e9)
			return
		}
	}
	most := t.timeout*1e6 + outage
	if len(b.Faults) == 0 {
		most = t.timeout*1e6 + grace
	}
	if t.open.line > 0 && t.asked.at-t.open.at > most {
		b.add(StuckTransaction, []int32{t.open.line, t.asked.line},
			"transaction %s with a timeout of %d ms was open at %d, and is still so, as was told to who asked %d s later",
			t.id, t.timeout, t.open.at, (t.asked.at-t.open.at)/1e9)
	}
}
