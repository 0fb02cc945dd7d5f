package eos

import (
	"fmt"
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/twin"
	"pgregory.net/rapid"
)

// TestRulesAgainstTheirTwin draws schedules of requests, many of which come
// late, twice, cut into other pieces or under another name, and holds the
// answers of the rules against those of the twin, and the log against what
// must always be true of it.
func TestRulesAgainstTheirTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &schedule{fast: newLedger(), slow: twin.New("a", "b"), fates: map[string]string{}}
		t.Repeat(map[string]func(*rapid.T){
			"":         s.check,
			"register": s.register,
			"fresh":    s.fresh,
			"keyed":    s.keyed,
			"again":    s.again,
			"changed":  s.changed,
			"begin":    s.begin,
			"commit":   func(t *rapid.T) { s.end(t, StateCommitted) },
			"abort":    func(t *rapid.T) { s.end(t, StateAborted) },
			"expire":   s.expire,
		})
	})
}

// schedule sends the same requests to the rules and to their twin.
type schedule struct {
	fast  *ledger
	slow  *twin.Twin
	sent  []asked           // every append so far, also refused ones
	fates map[string]string // of the transactions that ended, as first seen
}

var (
	topicNames       = rapid.SampledFrom([]string{"a", "b"})
	transactionNames = rapid.SampledFrom([]string{"T1", "T2", "T3", "T4", "T5", "T6"})
	someValues       = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 1, 3)
)

// answered compares two answers to one request.
func answered(t *rapid.T, request any, fast, slow string) {
	if fast != slow {
		t.Fatalf("%+v\nthe rules: %s\nthe twin:  %s", request, fast, slow)
	}
}

func twinOf(r asked) twin.Request {
	return twin.Request{Topic: r.topic, Key: r.key, Txn: r.txn, Producer: r.producer, Epoch: r.epoch, Sequence: r.sequence, Values: r.values}
}

func (s *schedule) append(t *rapid.T, r asked) {
	s.sent = append(s.sent, r)
	answered(t, r, s.fast.append(r), s.slow.Append(twinOf(r)))
}

// producer draws a producer, now and then one that nobody knows.
func (s *schedule) producer(t *rapid.T) int64 {
	return rapid.Int64Range(1, int64(len(s.fast.producers))+1).Draw(t, "producer")
}

// epochOf draws an epoch: mostly the current one, and those beside it.
func (s *schedule) epochOf(t *rapid.T, producer int64) int64 {
	return max(0, s.slow.Epoch(producer)+rapid.SampledFrom([]int64{0, 0, 0, 0, -1, 1}).Draw(t, "beside the epoch"))
}

func (s *schedule) register(t *rapid.T) {
	id := rapid.SampledFrom([]string{"p", "q", ""}).Draw(t, "transactional id")
	if len(s.fast.producers) > 4 {
		id = "p"
	}
	answered(t, "register "+id, s.fast.register(id), s.slow.Register(id))
}

// fresh continues a sequence as a client does that makes no mistake.
func (s *schedule) fresh(t *rapid.T) {
	r := asked{topic: topicNames.Draw(t, "topic"), producer: s.producer(t), values: someValues.Draw(t, "values")}
	r.epoch, r.sequence, r.txn = max(0, s.slow.Epoch(r.producer)), s.slow.Next(r.producer, r.topic), s.slow.Open(r.producer)
	s.append(t, r)
}

func (s *schedule) keyed(t *rapid.T) {
	r := asked{topic: topicNames.Draw(t, "topic"), producer: NoProducer, values: someValues.Draw(t, "values")}
	r.key = rapid.SampledFrom([]string{"k", "l", ""}).Draw(t, "key")
	if rapid.Bool().Draw(t, "in a transaction") {
		r.txn = transactionNames.Draw(t, "transaction")
	}
	s.append(t, r)
}

// again sends any earlier request once more, or lets its twin on the network
// arrive only now.
func (s *schedule) again(t *rapid.T) {
	if len(s.sent) == 0 {
		t.Skip("nothing was sent")
	}
	s.append(t, rapid.SampledFrom(s.sent).Draw(t, "sent"))
}

// changed sends an earlier request with something else in it.
func (s *schedule) changed(t *rapid.T) {
	if len(s.sent) == 0 {
		t.Skip("nothing was sent")
	}
	r := rapid.SampledFrom(s.sent).Draw(t, "sent")
	switch rapid.SampledFrom([]string{"values", "cut", "longer", "sequence", "epoch", "transaction", "no transaction"}).Draw(t, "change") {
	case "values":
		r.values = someValues.Draw(t, "values")
	case "cut": // re-batched: the end of it alone, or its start
		at := rapid.IntRange(0, len(r.values)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "the end") {
			r.values, r.sequence = r.values[at:], r.sequence+int64(at)
		} else {
			r.values = r.values[:at+1]
		}
	case "longer":
		r.values = slices.Concat(r.values, someValues.Draw(t, "more"))
	case "sequence":
		r.sequence = max(0, r.sequence+rapid.Int64Range(-2, 2).Draw(t, "shift"))
	case "epoch":
		r.epoch = s.epochOf(t, r.producer)
	case "transaction":
		r.txn = transactionNames.Draw(t, "transaction")
	case "no transaction":
		r.txn = ""
	}
	if r.producer == NoProducer {
		r.sequence, r.epoch = 0, 0
	}
	s.append(t, r)
}

func (s *schedule) begin(t *rapid.T) {
	id, producer, epoch := transactionNames.Draw(t, "transaction"), int64(NoProducer), int64(0)
	if rapid.IntRange(0, 3).Draw(t, "bound") > 0 {
		producer = s.producer(t)
		epoch = s.epochOf(t, producer)
	}
	// The producer is content, the epoch is not (T8).
	content := fmt.Sprintf("%d %s", producer, rapid.SampledFrom([]string{"c", "c", "d"}).Draw(t, "content"))
	answered(t, fmt.Sprintf("begin %s %d/%d", id, producer, epoch), s.fast.begin(id, producer, epoch, content), s.slow.Begin(id, producer, epoch, content))
}

func (s *schedule) end(t *rapid.T, want State) {
	id, producer, epoch := transactionNames.Draw(t, "transaction"), int64(NoProducer), int64(0)
	switch rapid.IntRange(0, 3).Draw(t, "caller") {
	case 0:
		producer = s.producer(t)
		epoch = s.epochOf(t, producer)
	case 1:
		if producer = s.slow.Owner(id); producer != NoProducer {
			epoch = s.epochOf(t, producer)
		}
	}
	slow := s.slow.Commit
	if want == StateAborted {
		slow = s.slow.Abort
	}
	answered(t, fmt.Sprintf("%s %s %d/%d", want, id, producer, epoch), s.fast.end(id, want, producer, epoch), slow(id, producer, epoch))
}

func (s *schedule) expire(t *rapid.T) {
	id := transactionNames.Draw(t, "transaction")
	answered(t, "expire "+id, s.fast.expire(id), s.slow.Expire(id))
}

// check holds the ledger against what is true after any request.
func (s *schedule) check(t *rapid.T) {
	for _, topic := range []string{"a", "b"} {
		// P2: dense, and the same as the twin's.
		values, log := s.fast.log(topic), []string(nil)
		for offset := range int64(len(values)) {
			v, ok := values[offset]
			if !ok || len(v) != 1 {
				t.Fatalf("topic %s has %q at offset %d: %v", topic, v, offset, values)
			}
			log = append(log, v)
		}
		if want, _ := s.slow.Log(topic); !slices.Equal(log, want) {
			t.Fatalf("topic %s\nthe rules: %v\nthe twin:  %v", topic, log, want)
		}
		for producer := range s.fast.producers {
			s.checkSequences(t, producer, topic)
		}
	}
	open := map[int64]string{}
	for id, txn := range s.fast.transactions {
		if txn.State != StateOngoing { // T3: one fate
			if before, ok := s.fates[id]; ok && before != fate(txn) {
				t.Fatalf("%s was %s and is %s", id, before, fate(txn))
			}
			s.fates[id] = fate(txn)
			continue
		}
		if other := open[txn.ProducerID]; other != "" && txn.ProducerID != NoProducer { // T9
			t.Fatalf("producer %d has %s and %s open", txn.ProducerID, other, id)
		}
		open[txn.ProducerID] = id
		if txn.ProducerID != NoProducer && txn.Epoch != s.fast.producers[txn.ProducerID].Epoch { // T6
			t.Fatalf("%s is open in epoch %d of producer %d", id, txn.Epoch, txn.ProducerID)
		}
	}
}

// checkSequences: every number up to the next one is stored once (P3, P5, P6),
// and the next one is free, also after an abort (T7).
func (s *schedule) checkSequences(t *rapid.T, producer int64, topic string) {
	times := map[int64]int{}
	for _, r := range s.fast.rows {
		for i := range r.values {
			if r.producer == producer && r.topic == topic {
				times[r.sequence+int64(i)]++
			}
		}
	}
	next := s.fast.next(producer, topic)
	for n := range next {
		if times[n] != 1 {
			t.Fatalf("producer %d, topic %s: sequence %d is stored %d times", producer, topic, n, times[n])
		}
	}
	if int64(len(times)) != next {
		t.Fatalf("producer %d, topic %s: %d sequences are stored, the next one is %d", producer, topic, len(times), next)
	}
}
