package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// worker is a member of a group that makes outputs of inputs, each once: by one
// PUT, by a staged transaction, or with nothing but the offsets of its polls.
type worker struct {
	*client
	group    string
	manner   manner
	withFrom bool
	join     eos.Join
	epoch    int64
	has      []eos.Partition
	work     map[eos.Partition]span
	txn      *txnWork
}

type manner int

const (
	byPut manner = iota
	byStaged
	byPoll
)

// span is polled records of a partition.
type span struct{ from, to int64 }

// txnWork is a staged transaction on its way: its next step.
type txnWork struct {
	id    string
	spans map[eos.Partition]span
	step  int
	abort bool
}

func (w *world) newWorker(group string, m manner, withFrom bool) *worker {
	c := w.newClient(fmt.Sprint(group, "-", len(w.clients)))
	k := &worker{client: c, group: group, manner: m, withFrom: withFrom}
	c.role = k
	k.reborn(false)
	return k
}

// reborn is the start of the worker as another member.
func (k *worker) reborn(sameInstance bool) {
	k.forget()
	k.ops++
	instance := k.join.InstanceID
	if !sameInstance {
		instance = ""
		if k.one(2) {
			instance = fmt.Sprint("i", k.ops)
		}
	}
	k.join = eos.Join{
		MemberID: fmt.Sprint("m", k.ops), InstanceID: instance, Topics: []string{"input"}, TopicIDs: []int64{inputTopic},
		SessionTimeout:   time.Duration(6+k.world.n(4)) * time.Second,
		RebalanceTimeout: time.Duration(2+k.world.n(10)) * time.Second,
	}
	k.drop()
}

func (k *worker) drop() {
	k.epoch, k.has, k.work, k.txn = 0, nil, map[eos.Partition]span{}, nil
}

func (k *worker) most() int { return 1 }

func (k *worker) finished() bool {
	for n := range k.db.counts[inputTopic] {
		p := eos.Partition{Topic: inputTopic, Number: n}
		if k.truth.group(k.group).done[p] < int64(len(k.truth.logs[logOf(p)])) {
			return false
		}
	}
	return k.txn == nil && len(k.pending) == 0
}

func (k *worker) act() {
	switch {
	case len(k.pending) > 0:
	case k.fault(80):
		k.tracef("%s crashes", k.name)
		k.reborn(!k.one(4))
	case k.txn != nil:
		k.goOn()
	case k.epoch == 0:
		o := k.member(kindJoin)
		o.join = k.join
		k.begin(o)
	case !k.calm && k.one(80):
		k.begin(k.member(kindLeave))
	case len(k.work) > 0 && k.one(2):
		k.process()
	default:
		k.begin(k.member(kindPoll))
	}
}

func (k *worker) member(kind kind) *op {
	o := k.newOp(kind)
	o.group, o.member, o.epoch = k.group, k.join.MemberID, k.epoch
	return o
}

// process commits what was polled, or a part of it.
func (k *worker) process() {
	spans := maps.Clone(k.work)
	if len(spans) > 1 && k.one(2) {
		delete(spans, slices.SortedFunc(maps.Keys(spans), eos.Partition.Compare)[k.world.n(len(spans))])
	}
	switch k.manner {
	case byPoll:
		o := k.member(kindPoll)
		o.offsets = k.offsets(spans)
		k.begin(o)
	case byPut:
		o := k.newOp(kindPut)
		o.begin.ID, o.whole, o.timeout = k.client.id("w"), true, 5_000
		o.parts, o.offsets = k.outputs(spans), k.offsets(spans)
		k.begin(o.fill())
	case byStaged:
		k.txn = &txnWork{id: k.client.id("s"), spans: spans, abort: k.one(8)}
		k.goOn()
	}
}

// goOn takes the next step of a staged transaction.
func (k *worker) goOn() {
	o := k.newOp(kindCommit)
	o.TransactionID = k.txn.id
	switch {
	case k.txn.step == 0:
		o.kind, o.TransactionID = kindPut, ""
		o.begin.ID, o.timeout = k.txn.id, int64(2_000+k.world.n(6_000))
		o.parts = k.outputs(k.txn.spans)[:1]
		o.fill()
	case k.txn.step == 1:
		o.kind = kindProduce
		o.Key, o.parts = k.client.id("k"), k.outputs(k.txn.spans)
		o.fill()
	case k.txn.step == 2:
		o.kind = kindStage
		o.offsets = k.offsets(k.txn.spans)
		o.fill()
		o.Fingerprint = fingerprintOf(nil, int64(o.n))
	case k.txn.abort:
		o.kind = kindAbort
	}
	k.begin(o)
}

func (k *worker) outputs(spans map[eos.Partition]span) (parts []part) {
	for _, p := range slices.SortedFunc(maps.Keys(spans), eos.Partition.Compare) {
		log := logOf(eos.Partition{Topic: outputTopic, Number: p.Number % 3})
		values := k.values(int(spans[p].to - spans[p].from))
		if i := slices.IndexFunc(parts, func(q part) bool { return q.log == log }); i >= 0 {
			parts[i].values = append(parts[i].values, values...)
			continue
		}
		parts = append(parts, part{log, values})
	}
	return parts
}

func (k *worker) offsets(spans map[eos.Partition]span) (list []offset) {
	for _, p := range slices.SortedFunc(maps.Keys(spans), eos.Partition.Compare) {
		o := offset{
			group: k.group, member: k.join.MemberID, epoch: k.epoch, partition: p,
			began: spans[p].from, offset: spans[p].to,
		}
		if k.withFrom && k.manner != byPoll {
			o.from = new(o.began)
		}
		list = append(list, o)
	}
	return list
}

func (k *worker) heard(o *op, a *answer) {
	switch {
	case a.err != nil && a.err.Kind == eos.FencedInstanceID:
		k.resting = k.db.now + int64(k.world.n(5_000))
		k.reborn(false)
	case a.err != nil && a.err.Kind == eos.InvalidTxnState: // it timed out: what it did is to be done again
		k.txn = nil
	case a.err != nil:
		k.drop()
	case o.kind == kindLeave:
		k.resting = k.db.now + int64(k.world.n(5_000))
		k.reborn(true)
	case o.kind == kindJoin:
		k.drop()
		k.epoch = a.assignment.MemberEpoch
	case o.kind == kindPoll:
		k.committed(o.offsets)
		k.polled(a)
	case k.txn == nil:
		k.committed(o.offsets)
	default:
		k.stepped(o)
	}
}

// stepped is told that a step of the staged transaction is done.
func (k *worker) stepped(o *op) {
	k.txn.step++
	if o.kind == kindCommit {
		k.committed(k.offsets(k.txn.spans))
	}
	if o.kind == kindCommit || o.kind == kindAbort {
		k.txn = nil
	}
}

func (k *worker) committed(offsets []offset) {
	for _, o := range offsets {
		delete(k.work, o.partition)
	}
}

// polled takes an answer to a poll: what it has no more, it drops; what it has
// now, it works on.
func (k *worker) polled(a *answer) {
	k.tryBefore(a)
	k.epoch, k.has = a.assignment.MemberEpoch, a.assignment.Partitions
	maps.DeleteFunc(k.work, func(p eos.Partition, _ span) bool { return !slices.Contains(k.has, p) })
	for _, r := range a.readable {
		if _, there := k.work[r.partition]; !there && r.end > r.committed {
			k.work[r.partition] = span{r.committed, min(r.end, r.committed+1+int64(k.world.n(4)))}
		}
	}
}

// tryBefore sends what is to be refused: a commit in the epoch before, of what the
// member has got since.
func (k *worker) tryBefore(a *answer) {
	for _, r := range a.readable {
		if k.epoch == a.assignment.MemberEpoch || k.calm || slices.Contains(k.has, r.partition) || !k.one(3) {
			continue
		}
		o := k.member(kindPoll)
		o.spoiled = true
		o.offsets = []offset{{
			group: k.group, member: k.join.MemberID, epoch: k.epoch, partition: r.partition,
			began: r.committed, offset: r.committed,
		}}
		k.begin(o)
		return
	}
}

// lone makes outputs of inputs without being a member: who else does the same
// is found out by from.
type lone struct {
	*client
	group string
	seen  []readable
}

func (l *lone) most() int { return 1 }

func (l *lone) finished() bool {
	k := worker{client: l.client, group: l.group}
	return k.finished()
}

func (l *lone) act() {
	var r *readable
	for i := range l.seen {
		if l.seen[i].end > l.seen[i].committed && (r == nil || l.one(2)) {
			r = &l.seen[i]
		}
	}
	if r == nil {
		o := l.newOp(kindOffsets)
		o.group = l.group
		l.begin(o)
		return
	}
	from, to := r.committed, min(r.end, r.committed+1+int64(l.world.n(4)))
	l.seen = nil
	o := l.newOp(kindPut)
	o.begin.ID, o.whole, o.timeout = l.client.id("l"), true, 5_000
	o.parts = []part{{logOf(eos.Partition{Topic: outputTopic, Number: 0}), l.values(int(to - from))}}
	o.offsets = []offset{{group: l.group, partition: r.partition, from: &from, began: from, offset: to}}
	l.begin(o.fill())
}

func (l *lone) heard(o *op, a *answer) {
	if o.kind == kindOffsets {
		l.seen = a.readable
	}
}
