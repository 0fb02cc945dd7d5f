package judge

import (
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// causes are, by the code of a refusal, what must have happened before. Each returns what is missing; empty: it may
// have happened, as far as the history tells.
var causes = map[string]func(b *book, t *try) string{
	"PRODUCER_FENCED":            (*book).noFence,
	"UNKNOWN_PRODUCER_ID":        (*book).producerKnown,
	"INVALID_PRODUCER_EPOCH":     (*book).epochGivenOut,
	"INVALID_TXN_STATE":          (*book).nobodyEnded,
	"TRANSACTIONAL_ID_NOT_FOUND": (*book).transactionKnown,
}

// meant are the codes of status 400 and the like that clients provoke.
var meant = map[string]bool{
	"SEQUENCE_REUSED": true, "IDEMPOTENCY_KEY_REUSED": true, "TRANSACTION_ID_REUSED": true,
}

// checkMeant holds of a refusal that clients ask for nothing malformed, nor for topics that do not exist.
func (b *book) checkMeant(line int32, a *history.Attempt) {
	if a.Outcome != history.Fail {
		return
	}
	why := ""
	switch a.Status {
	case 400, 405, 406, 411, 413, 414, 415, 422, 431:
		if !meant[a.Code] {
			why = "no client sends what is malformed"
		}
	}
	if a.Code == "UNKNOWN_TOPIC_OR_PARTITION" && b.declared(a) {
		why = "all topics and partitions of it exist"
	}
	if a.Status == 410 && a.Read != nil && b.declared(a) && !b.topics[a.Read.Topic].retains() {
		why = "its topic keeps all records"
	}
	if why != "" {
		b.add(RefusedWrongly, []int32{line}, "operation %d (%s) was refused with %d %s; %s",
			a.Operation, a.Kind, a.Status, a.Code, why)
	}
}

// declared reports whether all topics and partitions that an attempt names were made at the beginning.
func (b *book) declared(a *history.Attempt) bool {
	is := func(name string, partition int) bool {
		t := b.topics[name]
		return t != nil && partition < t.declared.Partitions
	}
	all := true
	switch {
	case a.Produce != nil:
		return is(a.Produce.Topic, a.Produce.Partition)
	case a.Read != nil:
		return is(a.Read.Topic, a.Read.Partition)
	case a.Transaction != nil:
		for _, p := range a.Transaction.Pieces {
			all = all && is(p.Topic, p.Partition)
		}
		for _, c := range a.Transaction.Offsets {
			all = all && is(c.Topic, c.Partition)
		}
	case a.Member != nil:
		for _, name := range a.Member.Topics {
			all = all && is(name, 0)
		}
		for _, c := range a.Member.Commits {
			all = all && is(c.Topic, c.Partition)
		}
	default:
		return false
	}
	return all
}

// checkCause holds of a request that was refused that its cause may have come about by then.
func (b *book) checkCause(t *try) {
	if missing := causes[t.code]; missing != nil {
		if why := missing(b, t); why != "" {
			b.refused(t, nil, "%s", why)
		}
	}
}

// producerOf returns whose request it is, 0 if that is not known, and the epoch that it is under.
func (t *try) producerOf() (id, epoch int64) {
	if t.producer == 0 && t.op.txn != nil {
		return t.op.txn.producer, t.op.txn.epoch
	}
	return t.producer, t.epoch
}

func (b *book) noFence(t *try) string {
	if id, epoch := t.producerOf(); id != 0 && !b.mayFence(id, epoch, t.returned) {
		return fmt.Sprintf("nobody had registered producer %d above epoch %d by %d", id, epoch, t.returned)
	}
	return ""
}

// kept is how long, in nanoseconds, a producer is surely known that has no transactional id and nothing appended.
const kept = 1800e9

func (b *book) producerKnown(t *try) string {
	id, _ := t.producerOf()
	p := b.producers[id]
	if p == nil {
		return ""
	}
	for _, r := range p.registrations {
		if r.told.at < t.invoked && (p.transactional != "" || t.invoked-r.told.at < kept) {
			return fmt.Sprintf("producer %d was registered by %d (line %d)", id, r.told.at, r.told.line)
		}
	}
	return ""
}

func (b *book) epochGivenOut(t *try) string {
	id, epoch := t.producerOf()
	p := b.producers[id]
	if p == nil {
		return ""
	}
	for _, r := range p.registrations {
		if r.told.at < t.invoked && epoch <= r.epoch {
			return fmt.Sprintf("producer %d had epoch %d by %d (line %d)", id, r.epoch, r.told.at, r.told.line)
		}
	}
	return ""
}

// nobodyEnded looks whether a transaction can have had an end that refuses the request: one that somebody sent, its
// timeout, or a fence.
func (b *book) nobodyEnded(t *try) string {
	x := t.op.txn
	if x == nil || x.begun.line == 0 || x.timeout == 0 || t.returned > x.begun.at+x.timeout*1e6-margin {
		return ""
	}
	sent := func(m mark) bool { return m.line > 0 && m.at <= t.returned }
	committed, aborted := sent(x.commitSent), sent(x.abortSent) ||
		x.producer != 0 && b.mayFence(x.producer, x.epoch, t.returned)
	switch t.op.kind {
	case history.KindOneShot, history.KindBegin:
		return "" // they may be refused for what their producer does
	case history.KindCommit:
		committed = false
	case history.KindAbort:
		aborted = false
	}
	if committed || aborted {
		return ""
	}
	return fmt.Sprintf("by %d nobody had sent what ends transaction %s otherwise", t.returned, x.id)
}

func (b *book) transactionKnown(t *try) string {
	if t.op.txn == nil {
		return ""
	}
	for _, o := range t.op.txn.puts {
		if o.acked < t.invoked {
			return fmt.Sprintf("transaction %s was begun by %d (line %d)", t.op.txn.id, o.acked, o.ackLine)
		}
	}
	return ""
}

// checkLive holds that a member is known until its session is over, it leaves or is replaced.
func (b *book) checkLive(g *group, m *member) {
	for i := range m.unknown {
		u := &m.unknown[i]
		if u.instance != "" || m.left.line > 0 && m.left.at <= u.returned {
			continue
		}
		for j := range m.requests {
			r := &m.requests[j]
			if r.returned < u.invoked && u.returned < r.invoked+m.session-margin {
				b.add(RefusedWrongly, []int32{r.line, u.line},
					"member %s of group %s, with a session of %d ms, was heard at %d; a request sent at %d was told that "+
						"there is no such member",
					m.name, g.name, m.session/1e6, r.invoked, u.invoked)
				break
			}
		}
	}
}
