package eos

// NoProducer is the ProducerID of a request that names no producer.
const NoProducer = -1

// Identity is what makes a produce request the same request again: producer,
// scope and first sequence, or an idempotency key, or nothing (at least once).
type Identity struct {
	ProducerID  int64 // NoProducer when absent
	Epoch       int64
	Sequence    int64
	Key         string // the idempotency key; empty when absent
	Fingerprint Fingerprint
}

// HasProducer reports whether the request is sequenced.
func (id *Identity) HasProducer() bool { return id.ProducerID != NoProducer }

// Any reports whether the request can be recognised when it comes again.
func (id *Identity) Any() bool { return id.HasProducer() || id.Key != "" }

// Producer is what is stored of a producer.
type Producer struct {
	ID              int64
	Epoch           int64
	TransactionalID string // empty when it has none: then it can be neither fenced nor bound
	OpenTransaction string // the id of its ongoing transaction; empty when there is none
	Known           bool   // whether the producer exists
}

// Stored is the part of a kept request that decides about its repeat.
type Stored struct {
	RecordCount int
	Fingerprint Fingerprint
}

// Append is a produce request as the rules see it.
type Append struct {
	Identity
	RecordCount     int
	TransactionalID string // as the client names it; empty when it does not
	TransactionID   string // the transaction that the records go into; empty for none
}

// Facts is what is stored about an Append, read under the locks that its write
// will hold.
type Facts struct {
	Producer    Producer     // of Identity.ProducerID
	Next        int64        // the next sequence of the producer in the scope
	Stored      *Stored      // the kept request under the same identity; nil when there is none
	Transaction *Transaction // that TransactionID names; nil when it is not known
}

// Verdict is what to do with a request that is not refused.
type Verdict int

const (
	// Apply says that the request is new: do it.
	Apply Verdict = iota
	// Repeat says that the request was done before: give the first answer.
	Repeat
)

// Decide says whether to store the request or to repeat its first answer, or
// refuses it. The order of the checks is rule P3's: what happened is told
// before any check of epoch, transaction state or sequence.
func (a *Append) Decide(f Facts) (Verdict, error) {
	if a.HasProducer() {
		if err := CheckKnown(f.Producer, a.Epoch, a.TransactionalID); err != nil {
			return Apply, err
		}
	}
	if a.repeats(f) {
		return Repeat, nil
	}
	if a.HasProducer() {
		if err := CheckFence(f.Producer, a.Epoch); err != nil {
			return Apply, err
		}
	}
	if err := a.checkTransaction(f); err != nil {
		return Apply, err
	}
	switch {
	case a.HasProducer():
		return Apply, checkSequence(f.Next, f.Stored, a.Sequence, a.RecordCount)
	case a.Key != "" && f.Stored != nil:
		return Apply, KeyReused.Errorf("idempotency key %q is stored with other records", a.Key)
	}
	return Apply, nil
}

// repeats reports whether what is stored is this request. It is not when the
// request names a transaction that was aborted: that one's records are gone,
// and the next one has stored the same under the same sequence (T4, T7).
func (a *Append) repeats(f Facts) bool {
	if f.Stored == nil || f.Stored.RecordCount != a.RecordCount || f.Stored.Fingerprint != a.Fingerprint {
		return false
	}
	return a.TransactionID == "" || f.Transaction == nil || f.Transaction.State != StateAborted
}

// checkTransaction refuses records for a transaction that cannot take them,
// and records outside the transaction that their producer has open (T4, T10).
func (a *Append) checkTransaction(f Facts) error {
	if a.TransactionID != "" {
		if f.Transaction == nil {
			return TransactionNotFound.Errorf("transaction %q is not known", a.TransactionID)
		}
		if err := f.Transaction.CheckProducer(a.ProducerID); err != nil {
			return err
		}
		return f.Transaction.CheckOngoing()
	}
	if a.HasProducer() && f.Producer.OpenTransaction != "" {
		err := InvalidTxnState.Errorf("producer %d has transaction %q open: send Transaction-Id, or end it first", a.ProducerID, f.Producer.OpenTransaction)
		err.TransactionID = f.Producer.OpenTransaction
		return err
	}
	return nil
}

// CheckKnown refuses a producer that does not exist (P7), whose transactional
// id is not the one that the client names, or whose epoch was never given out
// (P3). These refusals come even before a repeat is answered.
func CheckKnown(p Producer, epoch int64, transactionalID string) error {
	switch {
	case !p.Known:
		return UnknownProducer.Errorf("producer %d is not known: register it", p.ID)
	case transactionalID != "" && transactionalID != p.TransactionalID:
		return InvalidMapping.Errorf("producer %d does not have transactional id %q", p.ID, transactionalID)
	case epoch > p.Epoch:
		return InvalidProducerEpoch.Errorf("epoch %d was never given out; the current one is %d", epoch, p.Epoch).AtEpoch(p.Epoch)
	}
	return nil
}

// CheckFence refuses an epoch that a later registration replaced (P9).
func CheckFence(p Producer, epoch int64) error {
	if epoch < p.Epoch {
		return ProducerFenced.Errorf("epoch %d was replaced by epoch %d", epoch, p.Epoch).AtEpoch(p.Epoch)
	}
	return nil
}

// checkSequence accepts the next sequence (P5) and tells the others apart (P4,
// P6). stored is the kept request with the same first sequence, or nil.
func checkSequence(next int64, stored *Stored, sequence int64, count int) error {
	last := sequence + int64(count) - 1
	switch {
	case sequence == next:
		return nil
	case last >= next:
		return OutOfOrder.Errorf("got sequence %d, want %d", sequence, next).Expecting(next)
	case stored != nil && stored.RecordCount == count:
		return SequenceReused.Errorf("sequence %d is stored with other records", sequence)
	}
	return DuplicateSequence.Errorf("sequences %d to %d were stored, but not as one request that is kept", sequence, last).Expecting(next)
}
