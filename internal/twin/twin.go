// Package twin answers requests as the rules say in words, from nothing but the
// list of all that was ever accepted. It is slow and obvious, imports none of the
// code that it is held against, and is used by tests alone: one of the pure rules
// in eos, one of the log in PostgreSQL.
//
// An answer is a text: what was done and where, "again: …" for a repeat, or the
// code of a refusal and its facts.
package twin

import (
	"fmt"
	"slices"
)

// NoProducer is the producer of a request that names none.
const NoProducer = -1

// Twin is a log in which nothing is stored but its history. Producers have the
// numbers 1, 2, …, in the order of their registration; topics are there from the
// start and have one partition each.
type Twin struct {
	topics  []string
	history []event
}

// Request is a produce request as a client sends it.
type Request struct {
	Topic, Key, Txn           string
	Producer, Epoch, Sequence int64
	Values                    []string
}

// event is something that was accepted.
type event struct {
	what            string  // "register", "append", "begin", "commit", "abort", "delete" or "create"
	producer        int64   // that registers, or that a transaction is first named by
	transactionalID string  // of a registration
	request         Request // of an append, with the topic's generation
	txn, content    string  // of a begin or an end
	topic           string  // that is deleted or created
	by              string  // who aborted
}

// New returns a log with these topics.
func New(topics ...string) *Twin { return &Twin{topics: topics} }

// Clone returns a log with the same history.
func (tw *Twin) Clone() *Twin { return &Twin{tw.topics, slices.Clone(tw.history)} }

// History returns all that was accepted, as a text.
func (tw *Twin) History() string { return fmt.Sprint(tw.history) }

func (tw *Twin) did(e event) { tw.history = append(tw.history, e) }

// Register registers a producer, or raises the epoch of the one with the
// transactional id.
func (tw *Twin) Register(transactionalID string) string {
	id, producers := int64(0), map[int64]bool{}
	for _, e := range tw.history {
		if e.what == "register" {
			producers[e.producer] = true
			if transactionalID != "" && e.transactionalID == transactionalID {
				id = e.producer
			}
		}
	}
	if id == 0 { // a fresh producer
		id = int64(len(producers)) + 1
	}
	// T6: registering again aborts the open transaction.
	if open := tw.Open(id); open != "" {
		tw.did(event{what: "abort", txn: open, by: "fencing"})
	}
	tw.did(event{what: "register", producer: id, transactionalID: transactionalID})
	answer := fmt.Sprintf("producer %d epoch %d", id, tw.Epoch(id))
	for _, topic := range tw.topics {
		if next := tw.Next(id, topic); next > 0 {
			answer += fmt.Sprintf(" next %s=%d", topic, next)
		}
	}
	return answer
}

// Append appends to a topic, or to what a transaction has staged.
func (tw *Twin) Append(r Request) string {
	if !tw.exists(r.Topic) {
		return unknownTopic
	}
	r.Topic = tw.generation(r.Topic)
	if r.Producer != NoProducer {
		// P7: a producer that the server does not know.
		if tw.Epoch(r.Producer) < 0 {
			return "UNKNOWN_PRODUCER_ID"
		}
		// P3: an epoch above the known one.
		if r.Epoch > tw.Epoch(r.Producer) {
			return fmt.Sprintf("INVALID_PRODUCER_EPOCH producer_epoch=%d", tw.Epoch(r.Producer))
		}
	}
	// P3: the same request again gets the first answer, before any other
	// check. T4: but nothing of an aborted transaction happened.
	for _, at := range tw.alive() {
		first := tw.history[at].request
		if sameIdentity(first, r) && slices.Equal(first.Values, r.Values) && !tw.aborted(r.Txn) {
			return "again: " + tw.place(at)
		}
	}
	// P9: no append of an older epoch succeeds.
	if r.Producer != NoProducer && r.Epoch < tw.Epoch(r.Producer) {
		return fmt.Sprintf("PRODUCER_FENCED producer_epoch=%d", tw.Epoch(r.Producer))
	}
	if answer := tw.refusedByTransaction(r); answer != "" {
		return answer
	}
	if answer := tw.refusedByIdentity(r); answer != "" {
		return answer
	}
	tw.did(event{what: "append", request: r})
	return tw.place(len(tw.history) - 1)
}

func (tw *Twin) refusedByTransaction(r Request) string {
	if r.Txn == "" {
		// T10: while a producer has an open transaction, its requests carry it.
		if open := tw.Open(r.Producer); open != "" {
			return "INVALID_TXN_STATE transaction_id=" + open
		}
		return ""
	}
	// T10: producer headers must match, and an unbound one takes none. T4: one
	// that ended takes nothing.
	switch {
	case tw.fate(r.Txn) == "":
		return "TRANSACTIONAL_ID_NOT_FOUND"
	case r.Producer != NoProducer && r.Producer != tw.Owner(r.Txn):
		return "INVALID_PRODUCER_ID_MAPPING"
	}
	return tw.ended(r.Txn)
}

func (tw *Twin) refusedByIdentity(r Request) string {
	if r.Producer == NoProducer {
		// P10: same key, other records.
		for _, at := range tw.alive() {
			if sameIdentity(tw.history[at].request, r) {
				return "IDEMPOTENCY_KEY_REUSED"
			}
		}
		return ""
	}
	next, free := tw.free(r.Producer, r.Topic), 0
	for i := range r.Values {
		if !tw.taken(r.Producer, r.Topic, r.Sequence+int64(i)) {
			free++
		}
	}
	switch {
	case free == len(r.Values) && r.Sequence == next:
		return ""
	case free > 0: // P5, P6: any that is not stored
		return fmt.Sprintf("OUT_OF_ORDER_SEQUENCE_NUMBER expected_sequence=%d", next)
	}
	for _, at := range tw.alive() { // P4: exactly one kept request with other content
		if first := tw.history[at].request; sameIdentity(first, r) && len(first.Values) == len(r.Values) {
			return "SEQUENCE_REUSED"
		}
	}
	return fmt.Sprintf("DUPLICATE_SEQUENCE_NUMBER expected_sequence=%d", next)
}

// sameIdentity: producer, scope and first sequence; or the key, in its
// transaction, else in its topic; or none, which is never the same.
func sameIdentity(a, b Request) bool {
	switch {
	case a.Producer != b.Producer:
		return false
	case a.Producer != NoProducer:
		return a.Topic == b.Topic && a.Sequence == b.Sequence
	}
	return a.Key != "" && a.Key == b.Key && a.Txn == b.Txn && (a.Txn != "" || a.Topic == b.Topic)
}

// Begin begins a transaction.
func (tw *Twin) Begin(id string, producer, epoch int64, content string) string {
	named := producer != NoProducer
	if named && tw.Epoch(producer) < 0 {
		return "UNKNOWN_PRODUCER_ID"
	}
	if named && epoch > tw.Epoch(producer) {
		return fmt.Sprintf("INVALID_PRODUCER_EPOCH producer_epoch=%d", tw.Epoch(producer))
	}
	// T8: the same again is a repeat, with another content it is refused. T3: one
	// that was given up before it came is refused.
	if fate := tw.fate(id); fate != "" {
		for _, e := range tw.history {
			if e.what == "begin" && e.txn == id && e.content == content {
				return "again: " + fate
			} else if e.what == "begin" && e.txn == id {
				return "TRANSACTION_ID_REUSED"
			}
		}
		return tw.ended(id)
	}
	if named && !tw.hasTransactionalID(producer) { // T10
		return "INVALID_PRODUCER_ID_MAPPING"
	}
	if named && epoch < tw.Epoch(producer) { // P9
		return fmt.Sprintf("PRODUCER_FENCED producer_epoch=%d", tw.Epoch(producer))
	}
	if open := tw.Open(producer); open != "" { // T9
		return "CONCURRENT_TRANSACTIONS transaction_id=" + open
	}
	tw.did(event{what: "begin", txn: id, producer: producer, content: content})
	return "ongoing"
}

// Whole begins a transaction, appends to it and commits it, all or nothing; when
// commit is not set, it is left open.
func (tw *Twin) Whole(id string, producer, epoch int64, content string, commit bool, appends ...Request) string {
	before := len(tw.history)
	answer := tw.Begin(id, producer, epoch, content)
	if answer != "ongoing" {
		return answer
	}
	for _, r := range appends {
		if !tw.exists(r.Topic) {
			tw.history = tw.history[:before] // a refused PUT leaves its id unused
			return unknownTopic
		}
		r.Txn, r.Producer, r.Topic = id, NoProducer, tw.generation(r.Topic)
		tw.did(event{what: "append", request: r})
	}
	if commit {
		tw.did(event{what: "commit", txn: id})
	}
	return tw.fate(id)
}

// Commit commits a transaction (T3). The caller is a producer, or NoProducer.
func (tw *Twin) Commit(id string, producer, epoch int64) string {
	if tw.fate(id) == "" {
		return "TRANSACTIONAL_ID_NOT_FOUND"
	}
	return tw.end(id, "commit", producer, epoch)
}

// Abort aborts a transaction (T3). One that nobody has begun is given up by the
// caller: it is his.
func (tw *Twin) Abort(id string, producer, epoch int64) string {
	if tw.fate(id) != "" {
		return tw.end(id, "abort", producer, epoch)
	}
	if producer != NoProducer {
		switch current := tw.Epoch(producer); {
		case current < 0:
			return "UNKNOWN_PRODUCER_ID"
		case epoch > current:
			return fmt.Sprintf("INVALID_PRODUCER_EPOCH producer_epoch=%d", current)
		case !tw.hasTransactionalID(producer): // T10
			return "INVALID_PRODUCER_ID_MAPPING"
		case epoch < current:
			return fmt.Sprintf("PRODUCER_FENCED producer_epoch=%d", current)
		}
	}
	tw.did(event{what: "abort", producer: producer, txn: id, by: "client"})
	return tw.fate(id)
}

func (tw *Twin) end(id, what string, producer, epoch int64) string {
	repeat := tw.fate(id) == "committed" && what == "commit" || tw.aborted(id) && what == "abort"
	if producer != NoProducer {
		switch current := tw.Epoch(producer); {
		case producer != tw.Owner(id):
			return "INVALID_PRODUCER_ID_MAPPING"
		case epoch > current:
			return fmt.Sprintf("INVALID_PRODUCER_EPOCH producer_epoch=%d", current)
		case epoch < current && !repeat:
			return fmt.Sprintf("PRODUCER_FENCED producer_epoch=%d", current)
		}
	}
	switch {
	case repeat:
		return "again: " + tw.fate(id)
	case tw.fate(id) != "ongoing":
		return tw.ended(id)
	case what == "commit" && tw.wroteToDeleted(id): // it changes nothing
		return unknownTopic
	}
	tw.did(event{what: what, txn: id, by: "client"})
	return tw.fate(id)
}

// Expire is what a transaction's timeout does (T5).
func (tw *Twin) Expire(id string) string {
	if tw.fate(id) != "ongoing" {
		return "nothing"
	}
	tw.did(event{what: "abort", txn: id, by: "timeout"})
	return tw.fate(id)
}
