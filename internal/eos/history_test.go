package eos

import (
	"fmt"
	"slices"
)

// What follows from the history of a twin, each time by reading all of it.

// epoch counts a producer's registrations; -1 when there is none.
func (tw *twin) epoch(producer int64) int64 {
	epoch := int64(-1)
	for _, e := range tw.history {
		if e.what == "register" && e.producer == producer {
			epoch++
		}
	}
	return epoch
}

func (tw *twin) hasTransactionalID(producer int64) bool {
	return slices.ContainsFunc(tw.history, func(e event) bool {
		return e.what == "register" && e.producer == producer && e.transactionalID != ""
	})
}

// fate is the empty text of a transaction that nobody has named.
func (tw *twin) fate(txn string) string {
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

func (tw *twin) aborted(txn string) bool {
	return slices.ContainsFunc(tw.history, func(e event) bool { return txn != "" && e.what == "abort" && e.txn == txn })
}

// ended is the refusal of one that ended; empty when it did not.
func (tw *twin) ended(txn string) string {
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

func (tw *twin) owner(txn string) int64 {
	for _, e := range tw.history {
		if e.what == "begin" && e.txn == txn {
			return e.producer
		}
	}
	return NoProducer
}

func (tw *twin) open(producer int64) string {
	for _, e := range tw.history {
		if e.what == "begin" && producer != NoProducer && e.producer == producer && tw.fate(e.txn) == "ongoing" {
			return e.txn
		}
	}
	return ""
}

// alive is the accepted appends that no abort has taken back (T7).
func (tw *twin) alive() []int {
	var list []int
	for i, e := range tw.history {
		if e.what == "append" && !tw.aborted(e.request.txn) {
			list = append(list, i)
		}
	}
	return list
}

func (tw *twin) taken(producer int64, topic string, sequence int64) bool {
	return slices.ContainsFunc(tw.alive(), func(at int) bool {
		r := tw.history[at].request
		return r.producer == producer && r.topic == topic && r.sequence <= sequence && sequence < r.sequence+int64(len(r.values))
	})
}

func (tw *twin) lowestFree(producer int64, topic string) int64 {
	for n := int64(0); ; n++ {
		if !tw.taken(producer, topic, n) {
			return n
		}
	}
}

// log is the values of a topic in their order: when they were stored, or when
// their transaction was committed (T2). first is where those of an append begin.
func (tw *twin) log(topic string) (values []string, first map[int]int) {
	first = map[int]int{}
	put := func(at int) {
		if r := tw.history[at].request; r.topic == topic {
			first[at] = len(values)
			values = append(values, r.values...)
		}
	}
	for at, e := range tw.history {
		switch {
		case e.what == "append" && e.request.txn == "":
			put(at)
		case e.what == "commit":
			for staged := range at {
				if tw.history[staged].what == "append" && tw.history[staged].request.txn == e.txn {
					put(staged)
				}
			}
		}
	}
	return values, first
}

func (tw *twin) place(at int) string {
	r := tw.history[at].request
	if r.txn != "" {
		return "staged"
	}
	_, first := tw.log(r.topic)
	return fmt.Sprintf("stored at %d", first[at])
}
