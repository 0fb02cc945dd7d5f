package eos

import (
	"fmt"
	"slices"
)

// twin answers as the rules say in words, from nothing but the list of all
// that was ever accepted, and calls none of the code that decides.
type twin struct {
	history []event
}

// event is something that was accepted.
type event struct {
	what            string // "register", "append", "begin", "commit" or "abort"
	producer        int64
	transactionalID string // of a registration
	request         asked  // of an append
	txn, content    string // of a begin or an end
	by              string // who aborted
}

func (tw *twin) did(e event) { tw.history = append(tw.history, e) }

func (tw *twin) register(transactionalID string) string {
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
	if open := tw.open(id); open != "" {
		tw.did(event{what: "abort", txn: open, by: AbortedByFencing})
	}
	tw.did(event{what: "register", producer: id, transactionalID: transactionalID})
	answer := fmt.Sprintf("producer %d epoch %d", id, tw.epoch(id))
	for _, topic := range []string{"a", "b"} {
		if next := tw.lowestFree(id, topic); next > 0 {
			answer += fmt.Sprintf(" next %s=%d", topic, next)
		}
	}
	return answer
}

func (tw *twin) append(r asked) string {
	if r.producer != NoProducer {
		// P7: a producer that the server does not know.
		if tw.epoch(r.producer) < 0 {
			return "UNKNOWN_PRODUCER_ID"
		}
		// P3: an epoch above the known one.
		if r.epoch > tw.epoch(r.producer) {
			return fmt.Sprintf("INVALID_PRODUCER_EPOCH producer_epoch=%d", tw.epoch(r.producer))
		}
	}
	// P3: the same request again gets the first answer, before any other
	// check. T4: but nothing of an aborted transaction happened.
	for _, at := range tw.alive() {
		first := tw.history[at].request
		if sameIdentity(first, r) && slices.Equal(first.values, r.values) && !tw.aborted(r.txn) {
			return "again: " + tw.place(at)
		}
	}
	// P9: no append of an older epoch succeeds.
	if r.producer != NoProducer && r.epoch < tw.epoch(r.producer) {
		return fmt.Sprintf("PRODUCER_FENCED producer_epoch=%d", tw.epoch(r.producer))
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

func (tw *twin) refusedByTransaction(r asked) string {
	if r.txn == "" {
		// T10: while a producer has an open transaction, its requests carry it.
		if open := tw.open(r.producer); open != "" {
			return "INVALID_TXN_STATE transaction_id=" + open
		}
		return ""
	}
	// T10: producer headers must match, and an unbound one takes none. T4: one
	// that ended takes nothing.
	switch {
	case tw.fate(r.txn) == "":
		return "TRANSACTIONAL_ID_NOT_FOUND"
	case r.producer != NoProducer && r.producer != tw.owner(r.txn):
		return "INVALID_PRODUCER_ID_MAPPING"
	}
	return tw.ended(r.txn)
}

func (tw *twin) refusedByIdentity(r asked) string {
	if r.producer == NoProducer {
		// P10: same key, other records.
		for _, at := range tw.alive() {
			if sameIdentity(tw.history[at].request, r) {
				return "IDEMPOTENCY_KEY_REUSED"
			}
		}
		return ""
	}
	next, free := tw.lowestFree(r.producer, r.topic), 0
	for i := range r.values {
		if !tw.taken(r.producer, r.topic, r.sequence+int64(i)) {
			free++
		}
	}
	switch {
	case free == len(r.values) && r.sequence == next:
		return ""
	case free > 0: // P5, P6: any that is not stored
		return fmt.Sprintf("OUT_OF_ORDER_SEQUENCE_NUMBER expected_sequence=%d", next)
	}
	for _, at := range tw.alive() { // P4: exactly one kept request with other content
		if first := tw.history[at].request; sameIdentity(first, r) && len(first.values) == len(r.values) {
			return "SEQUENCE_REUSED"
		}
	}
	return fmt.Sprintf("DUPLICATE_SEQUENCE_NUMBER expected_sequence=%d", next)
}

// sameIdentity: producer, scope and first sequence; or the key, in its
// transaction, else in its topic; or none, which is never the same.
func sameIdentity(a, b asked) bool {
	switch {
	case a.producer != b.producer:
		return false
	case a.producer != NoProducer:
		return a.topic == b.topic && a.sequence == b.sequence
	}
	return a.key != "" && a.key == b.key && a.txn == b.txn && (a.txn != "" || a.topic == b.topic)
}

func (tw *twin) begin(id string, producer, epoch int64, content string) string {
	named := producer != NoProducer
	if named && tw.epoch(producer) < 0 {
		return "UNKNOWN_PRODUCER_ID"
	}
	if named && epoch > tw.epoch(producer) {
		return fmt.Sprintf("INVALID_PRODUCER_EPOCH producer_epoch=%d", tw.epoch(producer))
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
	if named && epoch < tw.epoch(producer) { // P9
		return fmt.Sprintf("PRODUCER_FENCED producer_epoch=%d", tw.epoch(producer))
	}
	if open := tw.open(producer); open != "" { // T9
		return "CONCURRENT_TRANSACTIONS transaction_id=" + open
	}
	tw.did(event{what: "begin", txn: id, producer: producer, content: content})
	return "ongoing"
}

// end commits or aborts (T3).
func (tw *twin) end(id string, want State, producer, epoch int64) string {
	what := map[State]string{StateCommitted: "commit", StateAborted: "abort"}[want]
	if tw.fate(id) == "" {
		if what == "commit" {
			return "TRANSACTIONAL_ID_NOT_FOUND"
		}
		tw.did(event{what: "abort", txn: id, by: AbortedByClient}) // given up before it came
	}
	ongoing := tw.fate(id) == "ongoing"
	repeat := tw.fate(id) == "committed" && what == "commit" || tw.aborted(id) && what == "abort"
	if producer != NoProducer {
		switch current := tw.epoch(producer); {
		case producer != tw.owner(id):
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
	case !ongoing:
		return tw.ended(id)
	}
	tw.did(event{what: what, txn: id, by: AbortedByClient})
	return tw.fate(id)
}

// expire: T5.
func (tw *twin) expire(id string) string {
	if tw.fate(id) != "ongoing" {
		return "nothing"
	}
	tw.did(event{what: "abort", txn: id, by: AbortedByTimeout})
	return tw.fate(id)
}
