package eos

// State is the state of a transaction. It leaves StateOngoing once (T3).
type State string

// The states of a transaction.
const (
	StateOngoing   State = "ongoing"
	StateCommitted State = "committed"
	StateAborted   State = "aborted"
)

// Who aborted a transaction.
const (
	AbortedByClient  = "client"
	AbortedByTimeout = "timeout"
	AbortedByFencing = "fencing"
)

// Bounds of a transaction's timeout, in milliseconds (T5).
const (
	DefaultTransactionTimeoutMS = 60_000
	MaxTransactionTimeoutMS     = 900_000
)

// Transaction is what is stored of a transaction.
type Transaction struct {
	ID          string
	State       State
	AbortedBy   string
	ProducerID  int64 // NoProducer when the transaction is bound to none
	Epoch       int64
	Fingerprint *Fingerprint // of the content that began it; nil for one that was aborted before it came
}

// Begin is a PUT of a transaction as the rules see it.
type Begin struct {
	ID          string
	ProducerID  int64 // NoProducer when it is bound to none
	Epoch       int64
	Fingerprint Fingerprint
}

// Decide says whether a transaction begins, or whether this PUT is the repeat
// of the stored one (T8). stored is nil when the id is unused; p is the
// producer that the PUT names.
func (b *Begin) Decide(stored *Transaction, p Producer) (Verdict, error) {
	bound := b.ProducerID != NoProducer
	if bound {
		if err := CheckKnown(p, b.Epoch, ""); err != nil {
			return Apply, err
		}
	}
	if stored != nil {
		switch {
		case stored.Fingerprint == nil:
			return Apply, stored.CheckOngoing()
		case *stored.Fingerprint != b.Fingerprint:
			return Apply, TransactionIDReused.Errorf("transaction %q is stored with another content", b.ID)
		}
		return Repeat, nil
	}
	if !bound {
		return Apply, nil
	}
	if err := CheckBindable(p); err != nil {
		return Apply, err
	}
	if err := CheckFence(p, b.Epoch); err != nil {
		return Apply, err
	}
	if p.OpenTransaction != "" {
		err := ConcurrentTxns.Errorf("producer %d has transaction %q open", p.ID, p.OpenTransaction)
		err.TransactionID = p.OpenTransaction
		return Apply, err
	}
	return Apply, nil
}

// CheckBindable refuses a producer that no transaction can be bound to: it has no
// transactional id (T10).
func CheckBindable(p Producer) error {
	if p.TransactionalID == "" {
		return InvalidMapping.Errorf("producer %d has no transactional id: only one that has can be bound to a transaction", p.ID)
	}
	return nil
}

// CheckGiveUp refuses a producer who aborts a transaction that nobody has begun,
// and to whom it will be bound (T3), for what would refuse its begin.
func CheckGiveUp(p Producer, epoch int64) error {
	if err := CheckKnown(p, epoch, ""); err != nil {
		return err
	}
	if err := CheckBindable(p); err != nil {
		return err
	}
	return CheckFence(p, epoch)
}

// CheckProducer refuses producer headers that are not those of the transaction
// (T10). producerID is NoProducer when the request has none, which a bound
// transaction accepts. The epoch is CheckFence's: while a transaction is
// ongoing, its epoch is the current one.
func (t *Transaction) CheckProducer(producerID int64) error {
	switch {
	case producerID == NoProducer || producerID == t.ProducerID:
		return nil
	case t.ProducerID == NoProducer:
		return InvalidMapping.Errorf("transaction %q is bound to no producer and takes no producer headers", t.ID)
	}
	return InvalidMapping.Errorf("transaction %q is bound to producer %d", t.ID, t.ProducerID)
}

// CheckOngoing refuses a request that arrives after the transaction ended (T4).
func (t *Transaction) CheckOngoing() error {
	if t.State == StateOngoing {
		return nil
	}
	return t.ended()
}

// DecideStage says whether to stage what a request brings, or to repeat the
// answer of one that was staged: stored is whether this transaction has an exact
// repeat of it (T4).
func (t *Transaction) DecideStage(stored bool) (Verdict, error) {
	if stored && t.State != StateAborted {
		return Repeat, nil
	}
	return Apply, t.CheckOngoing()
}

// DecideCommit says whether to commit, or to repeat the answer of the commit
// that was (T3).
func (t *Transaction) DecideCommit() (Verdict, error) { return t.decideEnd(StateCommitted) }

// DecideAbort says whether to abort, or to repeat the answer of the abort that
// was (T3).
func (t *Transaction) DecideAbort() (Verdict, error) { return t.decideEnd(StateAborted) }

func (t *Transaction) decideEnd(want State) (Verdict, error) {
	switch t.State {
	case StateOngoing:
		return Apply, nil
	case want:
		return Repeat, nil
	}
	return Apply, t.ended()
}

func (t *Transaction) ended() error {
	err := InvalidTxnState.Errorf("transaction %q is %s", t.ID, t.State)
	err.State = t.State
	if t.State == StateAborted {
		err.Detail += " by " + t.AbortedBy
		err.AbortedBy = t.AbortedBy
	}
	return err
}

// CheckOffset refuses to commit an offset that no record can have yet.
func CheckOffset(offset, highWatermark int64) error {
	if offset <= highWatermark {
		return nil
	}
	return beyondEnd(offset, highWatermark)
}

// CheckFrom refuses to commit over a committed offset that is not the one the
// client saw. from is nil when the client does not say, committed when the
// group has none, which a client sees as 0.
func CheckFrom(from, committed *int64) error {
	stands := int64(0)
	if committed != nil {
		stands = *committed
	}
	if from == nil || *from == stands {
		return nil
	}
	err := OffsetMismatch.Errorf("the committed offset is %d, not %d", stands, *from)
	err.CommittedOffset = &stands
	return err
}
