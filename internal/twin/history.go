package twin

import (
	"fmt"
	"slices"
	"strings"
)

// What follows from the history of a twin, each time by reading all of it.

// Epoch returns the epoch of a producer's last registration; -1 when there is none.
func (tw *Twin) Epoch(producer int64) int64 {
	epoch := int64(-1)
	for _, e := range tw.history {
		if e.what == "register" && e.producer == producer {
			epoch++
		}
	}
	return epoch
}

func (tw *Twin) hasTransactionalID(producer int64) bool {
	return slices.ContainsFunc(tw.history, func(e event) bool {
		return e.what == "register" && e.producer == producer && e.transactionalID != ""
	})
}

// fate is the empty text of a transaction that nobody has named.
func (tw *Twin) fate(txn string) string {
	fate := ""
	for _, e := range tw.history {
		switch {
		case e.txn != txn || txn == "":
		case e.what == "begin":
			fate = "ongoing"
		case e.what == "commit":
			fate = "committed"
		case e.what == "abort":
			fate = "aborted by " + e.by
		}
	}
	return fate
}

func (tw *Twin) aborted(txn string) bool {
	return slices.ContainsFunc(tw.history, func(e event) bool { return txn != "" && e.what == "abort" && e.txn == txn })
}

// ended is the refusal of one that ended; empty when it did not.
func (tw *Twin) ended(txn string) string {
	for _, e := range tw.history {
		switch {
		case e.txn == txn && e.what == "abort":
			return "INVALID_TXN_STATE aborted_by=" + e.by
		case e.txn == txn && e.what == "commit":
			return "INVALID_TXN_STATE"
		}
	}
	return ""
}

// Owner returns the producer that a transaction is bound to, or NoProducer.
func (tw *Twin) Owner(txn string) int64 {
	for _, e := range tw.history {
		if (e.what == "begin" || e.what == "abort") && e.txn == txn {
			return e.producer
		}
	}
	return NoProducer
}

// Open returns the transaction that a producer has open; empty when there is none.
func (tw *Twin) Open(producer int64) string {
	for _, e := range tw.history {
		if e.what == "begin" && producer != NoProducer && e.producer == producer && tw.fate(e.txn) == "ongoing" {
			return e.txn
		}
	}
	return ""
}

// alive is the accepted appends that no abort has taken back (T7).
func (tw *Twin) alive() []int {
	var list []int
	for i, e := range tw.history {
		if e.what == "append" && !tw.aborted(e.request.Txn) {
			list = append(list, i)
		}
	}
	return list
}

// Next returns the sequence that a producer sends next to a topic: the lowest
// that is free.
func (tw *Twin) Next(producer int64, topic string) int64 {
	return tw.free(producer, tw.generation(topic))
}

func (tw *Twin) taken(producer int64, topic string, sequence int64) bool {
	return slices.ContainsFunc(tw.alive(), func(at int) bool {
		r := tw.history[at].request
		return r.Producer == producer && r.Topic == topic && r.Sequence <= sequence && sequence < r.Sequence+int64(len(r.Values))
	})
}

func (tw *Twin) free(producer int64, topic string) int64 {
	for n := int64(0); ; n++ {
		if !tw.taken(producer, topic, n) {
			return n
		}
	}
}

const unknownTopic = "UNKNOWN_TOPIC_OR_PARTITION"

// Delete deletes a topic.
func (tw *Twin) Delete(topic string) string {
	if !tw.exists(topic) {
		return unknownTopic
	}
	tw.did(event{what: "delete", topic: topic})
	return "deleted"
}

// Create creates a topic that was deleted: it is another one (P7).
func (tw *Twin) Create(topic string) string {
	if tw.exists(topic) {
		return "again: created"
	}
	tw.did(event{what: "create", topic: topic})
	return "created"
}

// exists is whether a topic is there: as often created as deleted.
func (tw *Twin) exists(topic string) bool {
	there := 1
	for _, e := range tw.history {
		switch {
		case e.topic != topic:
		case e.what == "delete":
			there--
		case e.what == "create":
			there++
		}
	}
	return there > 0
}

// generation is the name of the topic that has the name now: one that was made
// after a deletion is another.
func (tw *Twin) generation(topic string) string {
	deleted := 0
	for _, e := range tw.history {
		if e.what == "delete" && e.topic == topic {
			deleted++
		}
	}
	return fmt.Sprint(topic, "#", deleted)
}

func nameOf(generation string) string {
	name, _, _ := strings.Cut(generation, "#")
	return name
}

// wroteToDeleted is whether a transaction has records for a topic that is gone.
func (tw *Twin) wroteToDeleted(txn string) bool {
	return slices.ContainsFunc(tw.history, func(e event) bool {
		if e.what != "append" || e.request.Txn != txn {
			return false
		}
		name := nameOf(e.request.Topic)
		return !tw.exists(name) || tw.generation(name) != e.request.Topic
	})
}

// Log returns the values of a topic, and whether it exists.
func (tw *Twin) Log(topic string) (values []string, exists bool) {
	values, _ = tw.log(tw.generation(topic))
	return values, tw.exists(topic)
}

// Places returns where a committed transaction's records are: "topic:offset+count",
// by topic.
func (tw *Twin) Places(txn string) []string {
	places := []string{}
	for _, topic := range tw.topics {
		base, count := -1, 0
		for at, e := range tw.history {
			if e.what != "append" || e.request.Txn != txn || nameOf(e.request.Topic) != topic {
				continue
			}
			if _, first := tw.log(e.request.Topic); base < 0 {
				base = first[at] // they are contiguous
			}
			count += len(e.request.Values)
		}
		if count > 0 {
			places = append(places, fmt.Sprintf("%s:%d+%d", topic, base, count))
		}
	}
	return places
}

// log is the values of a topic in their order: when they were stored, or when
// their transaction was committed (T2). first is where those of an append begin.
func (tw *Twin) log(topic string) (values []string, first map[int]int) {
	first = map[int]int{}
	put := func(at int) {
		if r := tw.history[at].request; r.Topic == topic {
			first[at] = len(values)
			values = append(values, r.Values...)
		}
	}
	for at, e := range tw.history {
		switch {
		case e.what == "append" && e.request.Txn == "":
			put(at)
		case e.what == "commit":
			for staged := range at {
				if tw.history[staged].what == "append" && tw.history[staged].request.Txn == e.txn {
					put(staged)
				}
			}
		}
	}
	return values, first
}

func (tw *Twin) place(at int) string {
	r := tw.history[at].request
	if r.Txn != "" {
		return "staged"
	}
	_, first := tw.log(r.Topic)
	return fmt.Sprintf("stored at %d", first[at])
}

// Knows reports whether a transactional id was registered.
func (tw *Twin) Knows(transactionalID string) bool {
	return slices.ContainsFunc(tw.history, func(e event) bool { return e.what == "register" && e.transactionalID == transactionalID })
}
