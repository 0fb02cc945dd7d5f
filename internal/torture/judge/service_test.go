package judge_test

import (
	"slices"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// service does what the rules say, in memory, one request at a time.
type service struct {
	now       func() int64
	topicList []*topicLog
	topics    map[string]*topicLog
	producers map[string]*registered // by transactional id
	byID      map[int64]*registered
	regs      map[string]history.Register // by Idempotency-Key
	nextID    int64
	next      map[scopeKey]int64
	stored    map[string]*storedRequest // by identity
	txns      map[string]*storedTxn
	ongoing   []*storedTxn
	groups    map[string]*storedGroup
}

type topicLog struct {
	history.Topic
	logs    [][]history.Value
	starts  []int64
	batches [][]batch // that are not removed
}

// batch is what a request has in one partition.
type batch struct{ begin, at int64 }

type registered struct {
	id, epoch int64
	name      string
	open      *storedTxn
}

type scopeKey struct {
	producer int64
	topic    string
	scope    int
}

// storedRequest is a request by its identity, and its first answer.
type storedRequest struct {
	first  history.Value
	places []history.Place
	next   int64
	epoch  int64
}

type storedTxn struct {
	id       string
	producer *registered // nil: not bound
	state    string
	by       string
	content  []history.Piece // of the PUT
	commits  []history.Commit
	parts    []stagedPart
	undo     []func() // what an abort takes back
	places   []history.Place
	until    int64
}

// stagedPart is records that wait for their transaction's end.
type stagedPart struct {
	topic     string
	partition int
	values    []history.Value
}

func newService() *service {
	s := &service{
		topics: map[string]*topicLog{}, producers: map[string]*registered{}, byID: map[int64]*registered{},
		regs: map[string]history.Register{}, nextID: 1000, next: map[scopeKey]int64{},
		stored: map[string]*storedRequest{}, txns: map[string]*storedTxn{}, groups: map[string]*storedGroup{},
	}
	for _, t := range []history.Topic{
		{Topic: "plain", Partitions: 2},
		{Topic: "keyed", Partitions: 3, Keys: 7},
		{Topic: "input", Partitions: 2, Keys: 5},
		{Topic: "output", Partitions: 2, Source: "input", Group: "processing"},
	} {
		l := &topicLog{
			Topic: t, logs: make([][]history.Value, t.Partitions),
			starts: make([]int64, t.Partitions), batches: make([][]batch, t.Partitions),
		}
		s.topicList = append(s.topicList, l)
		s.topics[t.Topic] = l
	}
	return s
}

// route returns the records of a piece by partition.
func (s *service) route(p history.Piece) []stagedPart {
	t := s.topics[p.Topic]
	parts := make([]stagedPart, t.Partitions)
	for i := range p.Count {
		v := p.First + history.Value(i)
		at := p.Partition
		switch {
		case at < 0 && t.Keys > 0:
			at = int(int64(v)%t.Keys*31+7) % t.Partitions
		case at < 0:
			at = int(p.First) % t.Partitions
		}
		parts[at].topic, parts[at].partition = p.Topic, at
		parts[at].values = append(parts[at].values, v)
	}
	return slices.DeleteFunc(parts, func(p stagedPart) bool { return len(p.values) == 0 })
}

// appendParts puts records into the log; first is the first value of their request.
func (s *service) appendParts(parts []stagedPart, first history.Value) (places []history.Place) {
	for _, p := range parts {
		t := s.topics[p.topic]
		log := &t.logs[p.partition]
		at := placeOf(p, first, len(parts))
		at.Offset = int64(len(*log))
		t.batches[p.partition] = append(t.batches[p.partition], batch{at.Offset, s.now()})
		places = append(places, at)
		*log = append(*log, p.values...)
	}
	return places
}

func placeOf(p stagedPart, first history.Value, parts int) history.Place {
	at := history.Place{Topic: p.topic, Partition: p.partition, Offset: -1, Count: len(p.values)}
	if parts > 1 {
		for _, v := range p.values {
			at.Indexes = append(at.Indexes, int(v-first))
		}
	}
	return at
}

func ok(a *history.Attempt, status int) { a.Outcome, a.Status = history.OK, status }

func fail(a *history.Attempt, status int, code string) {
	a.Outcome, a.Status, a.Code, a.Effect = history.Fail, status, code, "none"
}

// register gives out the next epoch of a transactional id, and ends its open transaction.
func (s *service) register(a *history.Attempt) {
	s.expire()
	q := *a.Register
	if first, repeated := s.regs[q.Key]; repeated {
		a.Register, a.Replayed = &first, true
		ok(a, 201)
		return
	}
	p := s.producers[q.TransactionalID]
	if p == nil {
		p = &registered{id: s.nextID, epoch: -1, name: q.TransactionalID}
		s.nextID++
		s.byID[p.id] = p
		if p.name != "" {
			s.producers[p.name] = p
		}
	}
	p.epoch++
	if p.open != nil {
		s.abort(p.open, "fencing")
	}
	q.Producer, q.Epoch = p.id, p.epoch
	for at, n := range s.next {
		if at.producer == p.id && n > 0 {
			q.Next = append(q.Next, history.Next{Topic: at.topic, Scope: at.scope, Sequence: n})
		}
	}
	slices.SortFunc(q.Next, func(a, b history.Next) int {
		return slices.Compare([]string{a.Topic, strconv.Itoa(a.Scope)}, []string{b.Topic, strconv.Itoa(b.Scope)})
	})
	if q.Key != "" {
		s.regs[q.Key] = q
	}
	a.Register = &q
	ok(a, 201)
}

// produce appends or stages a request's records, once for each identity.
func (s *service) produce(a *history.Attempt) {
	s.expire()
	q := *a.Produce
	a.Produce = &q
	at := scopeKey{q.Producer, q.Topic, q.Scope}
	identity := ""
	switch {
	case q.Key != "":
		identity = "key " + q.Topic + " " + q.Transaction + " " + q.Key
	case q.Producer != 0:
		identity = "sequence " + strconv.FormatInt(
			q.Producer,
			10,
		) + " " + q.Topic + " " + strconv.Itoa(
			q.Scope,
		) + " " + strconv.FormatInt(
			q.Sequence,
			10,
		)
	}
	t := s.txns[q.Transaction]
	if known := s.stored[identity]; identity != "" && known != nil {
		switch {
		case known.first == q.First:
			q.Places, q.Next, a.Replayed = known.places, known.next, true
			ok(a, 200)
		case q.Key != "":
			fail(a, 422, "IDEMPOTENCY_KEY_REUSED")
		default:
			fail(a, 422, "SEQUENCE_REUSED")
		}
		return
	}
	p := s.byID[q.Producer]
	switch {
	case p != nil && q.Epoch < p.epoch:
		fail(a, 412, "PRODUCER_FENCED")
	case q.Transaction != "" && t == nil:
		fail(a, 404, "TRANSACTIONAL_ID_NOT_FOUND")
	case t != nil && t.state != "ongoing":
		fail(a, 409, "INVALID_TXN_STATE")
	case t == nil && p != nil && p.open != nil:
		fail(a, 409, "INVALID_TXN_STATE")
	case identity != "" && q.Key == "" && q.Sequence > s.next[at]:
		fail(a, 409, "OUT_OF_ORDER_SEQUENCE_NUMBER")
		q.Expected = s.next[at]
	case identity != "" && q.Key == "" && q.Sequence < s.next[at]:
		fail(a, 409, "DUPLICATE_SEQUENCE_NUMBER")
		q.Expected = s.next[at]
	default:
		s.accept(&q, t, identity, at)
		ok(a, 200)
	}
}

func (s *service) accept(q *history.Produce, t *storedTxn, identity string, at scopeKey) {
	parts := s.route(q.Piece)
	if t == nil {
		q.Places = s.appendParts(parts, q.First)
	} else {
		for _, p := range parts {
			q.Places = append(q.Places, placeOf(p, q.First, len(parts)))
		}
		t.parts = append(t.parts, parts...)
	}
	if q.Producer != 0 && q.Key == "" {
		before := s.next[at]
		s.next[at] = before + int64(q.Count)
		q.Next = s.next[at]
		if t != nil {
			t.undo = append(t.undo, func() { s.next[at] = before })
		}
	}
	if identity == "" {
		return
	}
	s.stored[identity] = &storedRequest{q.First, q.Places, q.Next, q.Epoch}
	if t != nil {
		t.undo = append(t.undo, func() { delete(s.stored, identity) })
	}
}

// fetch reads a partition.
func (s *service) fetch(a *history.Attempt, most int) {
	q := *a.Read
	a.Read = &q
	t := s.topics[q.Topic]
	log := t.logs[q.Partition]
	q.Start = t.starts[q.Partition]
	if q.At == "latest" {
		q.Offset = int64(len(log))
	}
	if q.Offset > int64(len(log)) {
		q.Start = 0
		fail(a, 416, "OFFSET_OUT_OF_RANGE")
		return
	}
	if q.Offset < q.Start {
		fail(a, 410, "OFFSET_OUT_OF_RANGE")
		return
	}
	q.End = int64(len(log))
	q.Next = min(q.End, q.Offset+int64(most))
	q.Spans = spans(q.Partition, log, q.Offset, q.Next)
	ok(a, 200)
}

// spans are the records of a log from one offset up to another.
func spans(partition int, log []history.Value, from, to int64) (list []history.Span) {
	for o := from; o < to; o++ {
		if n := len(list); n > 0 && list[n-1].First+history.Value(list[n-1].Count) == log[o] {
			list[n-1].Count++
			continue
		}
		list = append(list, history.Span{Partition: partition, Offset: o, First: log[o], Count: 1})
	}
	return list
}
