package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/twin"
	"pgregory.net/rapid"
)

var (
	drawnTopics       = rapid.SampledFrom([]string{"a", "b"})
	drawnTransactions = rapid.SampledFrom([]string{"T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8"})
	drawnValues       = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 1, 3)
)

func (s *schedule) store() int { return rapid.IntRange(0, 1).Draw(s.t, "store") }

// producer draws a producer, now and then one that nobody knows.
func (s *schedule) producer() int64 {
	return rapid.Int64Range(1, int64(len(s.producers))+1).Draw(s.t, "producer")
}

// epochOf draws an epoch: mostly the current one, and those beside it.
func (s *schedule) epochOf(producer int64) int64 {
	return max(0, s.twins[0].Epoch(producer)+rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, -1, 1}).Draw(s.t, "beside the epoch"))
}

// any draws one request of any kind.
func (s *schedule) any() action {
	if len(s.producers) < 2 || len(s.producers) < 5 && rapid.IntRange(0, 3).Draw(s.t, "new producer") == 0 {
		return s.register(rapid.SampledFrom([]string{"p", "q", ""}).Draw(s.t, "transactional id"))
	}
	if rapid.IntRange(0, 3).Draw(s.t, "beside") == 0 {
		return s.beside(false)
	}
	return s.flushable()
}

// several draws requests that one flush can carry.
func (s *schedule) several(most int) []action {
	list := make([]action, rapid.IntRange(1, most).Draw(s.t, "requests"))
	for i := range list {
		list[i] = s.flushable()
	}
	return list
}

func (s *schedule) flushable() action {
	switch rapid.IntRange(0, 9).Draw(s.t, "kind") {
	case 0, 1:
		return s.put()
	case 2, 3:
		id, producer, epoch := s.caller()
		return action{
			text: fmt.Sprintf("commit %s %d/%d", id, producer, epoch),
			op:   func() any { return Commit{s.prefix + id, Caller{s.real(producer), epoch}} },
			twin: func(tw *twin.Twin) string { return withPlaces(tw, id, tw.Commit(id, producer, epoch)) },
		}
	}
	return s.append()
}

// beside draws a request that no flush carries, and that makes no producer. A
// timeout passes over a transaction that somebody holds, so it races with nobody.
func (s *schedule) beside(racing bool) action {
	switch rapid.IntRange(0, 7).Draw(s.t, "kind") {
	case 0:
		topic := drawnTopics.Draw(s.t, "topic")
		return action{
			text: "delete " + topic,
			do: func(store *Store) string {
				if err := store.DeleteTopic(context.Background(), s.prefix+topic); err != nil {
					return s.refusal(err)
				}
				return "deleted"
			},
			twin: func(tw *twin.Twin) string { return tw.Delete(topic) },
		}
	case 1, 2:
		topic := drawnTopics.Draw(s.t, "topic")
		return action{
			text: "create " + topic,
			do:   func(store *Store) string { return s.create(store, topic) },
			twin: func(tw *twin.Twin) string { return tw.Create(topic) },
		}
	case 3:
		if racing {
			s.t.Skip("a timeout does not race")
		}
		id := drawnTransactions.Draw(s.t, "transaction")
		return action{text: "expire " + id, do: func(store *Store) string { return s.expire(store, id) }, twin: func(tw *twin.Twin) string { return tw.Expire(id) }}
	case 4, 5:
		id, producer, epoch := s.caller()
		return action{
			text: fmt.Sprintf("abort %s %d/%d", id, producer, epoch),
			do: func(store *Store) string {
				state, err := store.Abort(context.Background(), s.prefix+id, Caller{s.real(producer), epoch})
				return s.answer(nil, Outcome{State: state, Err: err})
			},
			twin: func(tw *twin.Twin) string { return tw.Abort(id, producer, epoch) },
		}
	}
	id := rapid.SampledFrom([]string{"p", "q"}).Draw(s.t, "transactional id")
	if !s.twins[0].Knows(id) {
		s.t.Skip("nobody to register again")
	}
	return s.register(id)
}

func (s *schedule) create(store *Store, topic string) string {
	_, created, err := store.CreateTopic(context.Background(), s.prefix+topic, Settings{}, 1<<20)
	switch {
	case err != nil:
		return s.refusal(err)
	case !created:
		return "again: created"
	}
	return "created"
}

// expire puts a transaction past its timeout, and aborts it for that.
func (s *schedule) expire(store *Store, id string) string {
	const sql = `
		UPDATE transactions
		SET expires_at = clock_timestamp()
		WHERE transaction_id = $1 AND state = 'ongoing'`
	if _, err := s.conn.Exec(context.Background(), sql, s.prefix+id); err != nil {
		return err.Error()
	}
	n, err := store.AbortExpired(context.Background(), 10)
	switch {
	case err != nil:
		return s.refusal(err)
	case n == 0:
		return "nothing"
	}
	return "aborted by " + eos.AbortedByTimeout
}

func (s *schedule) register(id string) action {
	return action{
		text: "register " + id,
		do: func(store *Store) string {
			r := Registration{TransactionalID: id, TimeoutMS: eos.MaxTransactionTimeoutMS}
			if id != "" {
				r.TransactionalID = s.prefix + id
			}
			var p Producer
			answer, _, err := store.Register(context.Background(), r, func(p *Producer) ([]byte, error) { return json.Marshal(p) })
			if err == nil {
				err = json.Unmarshal(answer, &p)
			}
			if err != nil {
				return s.refusal(err)
			}
			if !slices.Contains(s.producers, p.ID) {
				s.producers = append(s.producers, p.ID)
			}
			text := fmt.Sprintf("producer %d epoch %d", slices.Index(s.producers, p.ID)+1, p.Epoch)
			for _, scope := range p.Next {
				text += fmt.Sprintf(" next %s=%d", strings.TrimPrefix(scope.Topic, s.prefix), scope.NextSequence)
			}
			return text
		},
		twin: func(tw *twin.Twin) string { return tw.Register(id) },
	}
}

// real returns the id of a producer in the database.
func (s *schedule) real(producer int64) int64 {
	switch {
	case producer == twin.NoProducer:
		return eos.NoProducer
	case int(producer) > len(s.producers):
		return 1 << 40
	}
	return s.producers[producer-1]
}

// caller draws a transaction and who wants to end it.
func (s *schedule) caller() (id string, producer, epoch int64) {
	id, producer = drawnTransactions.Draw(s.t, "transaction"), twin.NoProducer
	switch rapid.IntRange(0, 5).Draw(s.t, "caller") {
	case 0:
		producer = s.producer()
	case 1:
		producer = s.twins[0].Owner(id)
	}
	if producer != twin.NoProducer {
		epoch = s.epochOf(producer)
	}
	return id, producer, epoch
}

// put draws a begin or a one-shot, with records.
func (s *schedule) put() action {
	id, producer, epoch := drawnTransactions.Draw(s.t, "transaction"), int64(twin.NoProducer), int64(0)
	if rapid.IntRange(0, 3).Draw(s.t, "bound") > 0 {
		producer = s.producer()
		epoch = s.epochOf(producer)
	}
	commit := rapid.IntRange(0, 2).Draw(s.t, "one-shot") == 0
	put := Put{Begin: eos.Begin{ID: s.prefix + id, Epoch: epoch}, TimeoutMS: eos.MaxTransactionTimeoutMS, Commit: commit}
	var appends []twin.Request
	for _, topic := range [][]string{{}, {"a"}, {"b"}, {"a", "b"}}[rapid.IntRange(0, 3).Draw(s.t, "topics")] {
		values := drawnValues.Draw(s.t, "values")
		appends = append(appends, twin.Request{Topic: topic, Values: values})
		put.Produce = append(put.Produce, TopicRecords{s.prefix + topic, records(values...)})
	}
	content := fmt.Sprint(producer, commit, appends) // the epoch is none (T8)
	f := eos.NewFingerprinter()
	f.Text(content)
	put.Fingerprint = f.Sum()
	return action{
		text: fmt.Sprintf("put %s %d/%d %s", id, producer, epoch, content),
		op: func() any {
			put.ProducerID = s.real(producer)
			return put
		},
		twin: func(tw *twin.Twin) string {
			return withPlaces(tw, id, tw.Whole(id, producer, epoch, content, commit, appends...))
		},
	}
}

// withPlaces adds to the answer of a commit where the records are.
func withPlaces(tw *twin.Twin, id, answer string) string {
	if strings.HasSuffix(answer, string(eos.StateCommitted)) {
		return fmt.Sprint(answer, " ", tw.Places(id))
	}
	return answer
}

// answer is an outcome in the twin's words.
func (s *schedule) answer(op *Op, o Outcome) string {
	text := ""
	switch {
	case o.Err != nil:
		return s.refusal(o.Err)
	case o.State != nil:
		if o.State.Repeated {
			text = "again: "
		}
		text += string(o.State.State)
		switch o.State.State {
		case eos.StateAborted:
			text += " by " + o.State.AbortedBy
		case eos.StateCommitted:
			places := []string{}
			for _, a := range o.State.Appended {
				places = append(places, fmt.Sprintf("%s:%d+%d", strings.TrimPrefix(a.Topic, s.prefix), a.BaseOffset, a.RecordCount))
			}
			text += fmt.Sprint(" ", places)
		}
		return text
	}
	if o.Result.Repeated {
		text = "again: "
	}
	if op.Append.HasProducer() && o.Result.NextSequence != op.Append.Sequence+int64(op.Append.RecordCount) {
		return fmt.Sprintf("next sequence %d", o.Result.NextSequence)
	}
	if o.Result.Staged {
		return text + "staged"
	}
	return fmt.Sprint(text, "stored at ", o.Result.Shares[0].BaseOffset)
}

// refusal is the code of a refusal and its facts.
func (s *schedule) refusal(err error) string {
	var refusal *eos.Error
	if !errors.As(err, &refusal) {
		return err.Error()
	}
	if refusal.Effect == eos.EffectUnknown {
		return lostAnswer
	}
	text := refusal.Kind.Code
	if refusal.ExpectedSequence != nil {
		text += fmt.Sprint(" expected_sequence=", *refusal.ExpectedSequence)
	}
	if refusal.ProducerEpoch != nil {
		text += fmt.Sprint(" producer_epoch=", *refusal.ProducerEpoch)
	}
	if refusal.TransactionID != "" {
		text += " transaction_id=" + strings.TrimPrefix(refusal.TransactionID, s.prefix)
	}
	if refusal.AbortedBy != "" {
		text += " aborted_by=" + refusal.AbortedBy
	}
	return text
}
