package eos

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ledger is a log in memory that asks the rules as the store does: it derives
// what is stored from its rows, and keeps no other state.
type ledger struct {
	producers    map[int64]*Producer
	transactions map[string]*Transaction
	rows         []*row
	ends         map[string]int64 // high watermark by topic
}

// row is a kept request. Its topic has one partition, which is its scope, too.
type row struct {
	producer, sequence int64
	topic, key, txn    string
	Stored
	values []string
	base   int64 // -1 while it is staged
}

func newLedger() *ledger {
	return &ledger{producers: map[int64]*Producer{}, transactions: map[string]*Transaction{}, ends: map[string]int64{}}
}

// asked is a produce request as a client sends it.
type asked struct {
	topic, key, txn           string
	producer, epoch, sequence int64
	values                    []string
}

func recordsOf(values []string) []Record {
	records := make([]Record, len(values))
	for i, v := range values {
		records[i] = Record{Value: []byte(v), Flags: KeyNull, Timestamp: -1, Partition: -1}
	}
	return records
}

func (l *ledger) register(transactionalID string) string {
	for _, p := range l.producers {
		if transactionalID != "" && p.TransactionalID == transactionalID {
			p.Epoch++
			if t := l.openOf(p.ID); t != nil {
				l.abort(t, AbortedByFencing)
			}
			return fmt.Sprintf("producer %d epoch %d%s", p.ID, p.Epoch, l.nextOf(p.ID))
		}
	}
	id := int64(len(l.producers) + 1)
	l.producers[id] = &Producer{ID: id, TransactionalID: transactionalID, Known: true}
	return fmt.Sprintf("producer %d epoch 0", id)
}

func (l *ledger) append(r asked) string {
	a := Append{
		Identity: Identity{
			ProducerID: r.producer, Epoch: r.epoch, Sequence: r.sequence,
			Key: r.key, Fingerprint: FingerprintRecords(recordsOf(r.values)),
		},
		RecordCount: len(r.values), TransactionID: r.txn,
	}
	facts := Facts{Producer: l.producer(r.producer), Next: l.next(r.producer, r.topic), Transaction: l.transactions[r.txn]}
	stored := l.kept(r)
	if stored != nil {
		facts.Stored = &stored.Stored
	}
	verdict, err := a.Decide(facts)
	switch {
	case err != nil:
		return refusalText(err)
	case verdict == Repeat:
		return "again: " + stored.place()
	}
	kept := &row{r.producer, r.sequence, r.topic, r.key, r.txn, Stored{len(r.values), a.Fingerprint}, r.values, -1}
	if r.txn == "" {
		l.place(kept)
	}
	l.rows = append(l.rows, kept)
	return kept.place()
}

func (l *ledger) begin(id string, producer, epoch int64, content string) string {
	b := Begin{ID: id, ProducerID: producer, Epoch: epoch, Fingerprint: FingerprintRecords(recordsOf([]string{content}))}
	verdict, err := b.Decide(l.transactions[id], l.producer(producer))
	switch {
	case err != nil:
		return refusalText(err)
	case verdict == Repeat:
		return "again: " + fate(l.transactions[id])
	}
	l.transactions[id] = &Transaction{ID: id, State: StateOngoing, ProducerID: producer, Epoch: epoch, Fingerprint: &b.Fingerprint}
	return "ongoing"
}

// end commits or aborts; producer is NoProducer when the request names none.
func (l *ledger) end(id string, want State, producer, epoch int64) string {
	t := l.transactions[id]
	if t == nil && want == StateAborted {
		return l.giveUp(id, producer, epoch)
	}
	if t == nil {
		return TransactionNotFound.Code
	}
	verdict, refusal := t.DecideCommit()
	if want == StateAborted {
		verdict, refusal = t.DecideAbort()
	}
	if err := l.checkCaller(t, producer, epoch, refusal == nil && verdict == Repeat); err != nil {
		return refusalText(err)
	}
	switch {
	case refusal != nil:
		return refusalText(refusal)
	case verdict == Repeat:
		return "again: " + fate(t)
	case want == StateAborted:
		l.abort(t, AbortedByClient)
	default:
		t.State = StateCommitted
		for _, r := range l.rows {
			if r.txn == id {
				l.place(r)
			}
		}
	}
	return fate(t)
}

// giveUp records a transaction that nobody has begun as aborted by the caller.
func (l *ledger) giveUp(id string, producer, epoch int64) string {
	t := &Transaction{ID: id, State: StateAborted, AbortedBy: AbortedByClient, ProducerID: producer}
	if producer != NoProducer {
		if err := CheckGiveUp(l.producer(producer), epoch); err != nil {
			return refusalText(err)
		}
	}
	l.transactions[id] = t
	return fate(t)
}

func (l *ledger) checkCaller(t *Transaction, producer, epoch int64, repeat bool) error {
	if err := t.CheckProducer(producer); err != nil || producer == NoProducer {
		return err
	}
	if err := CheckKnown(l.producer(producer), epoch, ""); err != nil || repeat {
		return err
	}
	return CheckFence(l.producer(producer), epoch)
}

// expire aborts an ongoing transaction as its timeout does.
func (l *ledger) expire(id string) string {
	if t := l.transactions[id]; t != nil && t.State == StateOngoing {
		l.abort(t, AbortedByTimeout)
		return fate(t)
	}
	return "nothing"
}

func (l *ledger) abort(t *Transaction, by string) {
	t.State, t.AbortedBy = StateAborted, by
	l.rows = slices.DeleteFunc(l.rows, func(r *row) bool { return r.txn == t.ID })
}

func (l *ledger) place(r *row) {
	r.base = l.ends[r.topic]
	l.ends[r.topic] += int64(r.RecordCount)
}

// producer is what is stored of a producer.
func (l *ledger) producer(id int64) Producer {
	p := Producer{ID: id}
	if stored := l.producers[id]; stored != nil {
		p = *stored
		if t := l.openOf(id); t != nil {
			p.OpenTransaction = t.ID
		}
	}
	return p
}

func (l *ledger) openOf(producer int64) *Transaction {
	for _, t := range l.transactions {
		if t.ProducerID == producer && t.State == StateOngoing {
			return t
		}
	}
	return nil
}

// next follows the request with the highest sequence.
func (l *ledger) next(producer int64, topic string) int64 {
	next := int64(0)
	for _, r := range l.rows {
		if r.producer == producer && producer != NoProducer && r.topic == topic {
			next = max(next, r.sequence+int64(r.RecordCount))
		}
	}
	return next
}

// kept is the row with the identity of the request: a key counts within its
// transaction, or else within its topic.
func (l *ledger) kept(want asked) *row {
	for _, r := range l.rows {
		switch {
		case want.producer != NoProducer:
			if r.producer == want.producer && r.topic == want.topic && r.sequence == want.sequence {
				return r
			}
		case want.key != "":
			if r.producer == NoProducer && r.key == want.key && r.txn == want.txn && (want.txn != "" || r.topic == want.topic) {
				return r
			}
		}
	}
	return nil
}

func (l *ledger) nextOf(producer int64) string {
	var b strings.Builder
	for _, topic := range []string{"a", "b"} {
		if next := l.next(producer, topic); next > 0 {
			fmt.Fprintf(&b, " next %s=%d", topic, next)
		}
	}
	return b.String()
}

// log is the committed values of a topic by offset.
func (l *ledger) log(topic string) map[int64]string {
	values := map[int64]string{}
	for _, r := range l.rows {
		for i, v := range r.values {
			if r.topic == topic && r.base >= 0 {
				values[r.base+int64(i)] += v // two at one offset would show
			}
		}
	}
	return values
}

func (l *ledger) logText(topic string) string {
	values := l.log(topic)
	if len(values) == 0 {
		return "empty"
	}
	var list []string
	for _, offset := range slices.Sorted(maps.Keys(values)) {
		list = append(list, fmt.Sprintf("%d=%s", offset, values[offset]))
	}
	return strings.Join(list, " ")
}

// place is the answer to a request: a repeat's is the first one, also after
// the commit gave its records other offsets.
func (r *row) place() string {
	if r.txn != "" {
		return "staged"
	}
	return fmt.Sprintf("stored at %d", r.base)
}

func fate(t *Transaction) string {
	if t.State == StateAborted {
		return "aborted by " + t.AbortedBy
	}
	return string(t.State)
}

// refusalText is the code and the facts of a refusal.
func refusalText(err error) string {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return "not an *Error: " + err.Error()
	}
	text := refusal.Kind.Code
	if refusal.ExpectedSequence != nil {
		text += fmt.Sprintf(" expected_sequence=%d", *refusal.ExpectedSequence)
	}
	if refusal.ProducerEpoch != nil {
		text += fmt.Sprintf(" producer_epoch=%d", *refusal.ProducerEpoch)
	}
	if refusal.TransactionID != "" {
		text += " transaction_id=" + refusal.TransactionID
	}
	if refusal.AbortedBy != "" {
		text += " aborted_by=" + refusal.AbortedBy
	}
	return text
}
