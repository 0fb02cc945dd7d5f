package sim

import (
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

type kind int

const (
	kindRegister kind = iota
	kindProduce
	kindPut
	kindStage // POST …/offsets
	kindCommit
	kindAbort
	kindJoin
	kindLeave
	kindPoll
	kindOffsets // GET of a group's offsets
)

var kindNames = [...]string{
	"register", "produce", "put", "stage", "commit", "abort", "join", "leave", "poll", "offsets",
}

// op is what a client asks for: the same in each of its attempts.
type op struct {
	n    int
	kind kind
	by   *client
	// Of a registration TransactionalID and Key count; of stage, commit and abort
	// TransactionID, and the caller: ProducerID and Epoch.
	eos.Append
	scope  int64   // of the sequence or key
	parts  []part  // of a produce or a PUT
	spread []int64 // instead of parts: values for a topic, the scope, that the proxy routes

	begin   eos.Begin // of a PUT
	timeout int64     // ms
	whole   bool      // commit with the PUT
	offsets []offset  // of a PUT, a stage or a poll

	group, member string
	epoch         int64 // of the member
	join          eos.Join
	spoiled       bool // it is meant to be refused
	tries         int
	again         int64 // when to send it again

	// The judge's.
	done   bool   // it is written
	routed []part // where its records are to be
}

// part is what a request has for one partition.
type part struct {
	log    int64
	values []int64
}

// offset is what a request commits for a partition.
type offset struct {
	group, member string // member is empty where none is named
	epoch         int64
	partition     eos.Partition
	from          *int64
	began         int64 // what the client did is the records from here to offset
	offset        int64
}

// place is where records are.
type place struct {
	log, base int64
	count     int
}

// answer is what a proxy answers.
type answer struct {
	err      *eos.Error
	places   []place
	staged   bool
	replayed bool

	producer, epoch int64 // of a registration
	next            map[scopeKey]int64

	state eos.State
	by    string

	assignment eos.Assignment
	readable   []readable
}

// readable is a partition that a member may read, and from where.
type readable struct {
	partition      eos.Partition
	committed, end int64
}

// unknown reports whether the attempt may have had its effect.
func (a *answer) unknown() bool { return a.err != nil && a.err.Effect == eos.EffectUnknown }

func (a *answer) code() string {
	switch {
	case a.unknown():
		return "unknown"
	case a.err != nil:
		return a.err.Kind.Code
	}
	return ""
}

// Topics have numbers, and partitions of them as logs: 101 is the second one of
// topic 1. Stagings come behind them.
const (
	perTopic     = 100
	firstStaging = 10_000
)

func logOf(p eos.Partition) int64 { return p.Topic*perTopic + int64(p.Number) }

func (o *op) String() string {
	s := fmt.Sprintf("%s#%d %s", o.by.name, o.n, kindNames[o.kind])
	switch o.kind {
	case kindRegister:
		s += fmt.Sprintf(" %q key %q", o.TransactionalID, o.Key)
	case kindProduce, kindPut:
		for _, p := range o.parts {
			s += fmt.Sprintf(" %v to %d", p.values, p.log)
		}
		if o.spread != nil {
			s += fmt.Sprintf(" %v to topic %d", o.spread, o.scope)
		}
	case kindJoin, kindLeave, kindPoll:
		s += fmt.Sprintf(" %s/%s epoch %d instance %q", o.group, o.member, o.epoch, o.join.InstanceID)
	}
	switch {
	case o.kind == kindPut:
		s += fmt.Sprintf(" id %s whole %v timeout %d", o.begin.ID, o.whole, o.timeout)
		if o.begin.ProducerID != eos.NoProducer {
			s += fmt.Sprintf(" producer %d/%d", o.begin.ProducerID, o.begin.Epoch)
		}
	case o.TransactionID != "":
		s += " in " + o.TransactionID
	}
	switch {
	case o.kind == kindRegister, o.kind >= kindJoin, o.kind == kindPut:
	case o.ProducerID != eos.NoProducer:
		s += fmt.Sprintf(" producer %d/%d", o.ProducerID, o.Epoch)
		if o.kind == kindProduce {
			s += fmt.Sprintf(" scope %d sequence %d", o.scope, o.Sequence)
		}
	case o.Key != "":
		s += " key " + o.Key
	}
	for _, c := range o.offsets {
		s += fmt.Sprintf(" commits %s/%s/%d %d:%d→%d", c.group, c.member, c.epoch, logOf(c.partition), c.began, c.offset)
		if c.from != nil {
			s += fmt.Sprintf(" from %d", *c.from)
		}
	}
	if o.spoiled {
		s += " (spoiled)"
	}
	return s
}

func (a *answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s, effect %s", a.err, a.err.Effect)
	}
	s := "ok"
	if a.replayed {
		s = "ok again"
	}
	if a.producer != 0 {
		s += fmt.Sprintf(" producer %d/%d next %v", a.producer, a.epoch, a.next)
	}
	if a.staged {
		s += " staged"
	}
	if a.state != "" {
		s += " " + string(a.state) + " " + a.by
	}
	for _, p := range a.places {
		s += fmt.Sprintf(" %d@%d+%d", p.log, p.base, p.count)
	}
	if a.assignment.MemberEpoch != 0 {
		s += fmt.Sprintf(" epoch %d has %v", a.assignment.MemberEpoch, a.assignment.Partitions)
	}
	if len(a.assignment.Revoking) > 0 {
		s += fmt.Sprintf(" revoking %v", a.assignment.Revoking)
	}
	for _, r := range a.readable {
		s += fmt.Sprintf(" %d:%d/%d", logOf(r.partition), r.committed, r.end)
	}
	return s
}

// fingerprintOf stands for the hash of records, whose values are all different.
func fingerprintOf(parts []part, more int64) (f eos.Fingerprint) {
	r := random(more)
	for _, p := range parts {
		r = random(r.next() ^ uint64(p.log))
		for _, v := range p.values {
			r = random(r.next() ^ uint64(v))
		}
	}
	for i := range f {
		f[i] = byte(r.next())
	}
	return f
}

func countOf(parts []part) int {
	n := 0
	for _, p := range parts {
		n += len(p.values)
	}
	return n
}
