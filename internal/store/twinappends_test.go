package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/twin"
	"pgregory.net/rapid"
)

// append draws a produce request: one that goes on, one with a key or nothing,
// one that was sent before, or one like it.
func (s *schedule) append() action {
	r := twin.Request{Topic: drawnTopics.Draw(s.t, "topic"), Producer: twin.NoProducer, Values: drawnValues.Draw(s.t, "values")}
	kind := rapid.IntRange(0, 9).Draw(s.t, "append")
	switch {
	case kind < 4: // as a client does that makes no mistake
		tw := s.twins[0]
		r.Producer = s.producer()
		r.Epoch, r.Sequence, r.Txn = max(0, tw.Epoch(r.Producer)), tw.Next(r.Producer, r.Topic), tw.Open(r.Producer)
	case kind < 6 || len(s.sent) == 0:
		r.Key = rapid.SampledFrom([]string{"k", "l", ""}).Draw(s.t, "key")
		if rapid.Bool().Draw(s.t, "in a transaction") {
			r.Txn = drawnTransactions.Draw(s.t, "transaction")
		}
	default:
		r = rapid.SampledFrom(s.sent).Draw(s.t, "sent")
		if kind > 7 {
			r = s.changed(r)
		}
	}
	s.sent = append(s.sent, r)
	return action{text: fmt.Sprintf("append %+v", r), op: func() any { return s.ask(r) }, twin: func(tw *twin.Twin) string { return tw.Append(r) }}
}

func (s *schedule) ask(r twin.Request) ask {
	a := plain(r.Values...)
	if r.Producer != twin.NoProducer {
		a = sequenced(Producer{ID: s.real(r.Producer), Epoch: r.Epoch}, r.Sequence, r.Values...)
	}
	a.Key, a.topic = r.Key, s.prefix+r.Topic
	if r.Txn != "" {
		a.TransactionID = s.prefix + r.Txn
	}
	return a
}

// changed returns an earlier request with something else in it.
func (s *schedule) changed(r twin.Request) twin.Request {
	switch rapid.SampledFrom([]string{"values", "cut", "longer", "sequence", "epoch", "transaction", "no transaction"}).Draw(s.t, "change") {
	case "values":
		r.Values = drawnValues.Draw(s.t, "values")
	case "cut": // re-batched: the end of it alone, or its start
		at := rapid.IntRange(0, len(r.Values)-1).Draw(s.t, "at")
		if rapid.Bool().Draw(s.t, "the end") {
			r.Values, r.Sequence = r.Values[at:], r.Sequence+int64(at)
		} else {
			r.Values = r.Values[:at+1]
		}
	case "longer":
		r.Values = slices.Concat(r.Values, drawnValues.Draw(s.t, "more"))
	case "sequence":
		r.Sequence = max(0, r.Sequence+rapid.Int64Range(-2, 2).Draw(s.t, "shift"))
	case "epoch":
		r.Epoch = s.epochOf(r.Producer)
	case "transaction":
		r.Txn = drawnTransactions.Draw(s.t, "transaction")
	case "no transaction":
		r.Txn = ""
	}
	if r.Producer == twin.NoProducer {
		r.Sequence, r.Epoch = 0, 0
	}
	return r
}

// permutations returns every order of 0 to n-1.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, shorter := range permutations(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(shorter), at, n-1))
		}
	}
	return all
}

// check reads the log, and keeps the twins that have the same.
func (s *schedule) check() {
	store := s.stores[s.store()]
	for _, name := range []string{"a", "b"} {
		got, err := readLog(store, s.prefix+name)
		if err != nil {
			got = []string{s.refusal(err)}
		}
		var twins []*twin.Twin
		var want []string
		for _, tw := range s.twins {
			exists := false
			if want, exists = tw.Log(name); !exists {
				want = []string{eos.UnknownTopic.Code}
			}
			if slices.Equal(got, want) {
				twins = append(twins, tw)
			}
		}
		if len(twins) == 0 {
			s.t.Fatalf("%s\ntopic %s\nthe log:  %v\nthe twin: %v", strings.Join(s.story, "\n"), name, got, want)
		}
		s.twins = twins
	}
}

// readLog returns the values of a topic of one partition, in their order.
func readLog(s *Store, topic string) (values []string, err error) {
	s.Forget(topic)
	read, err := s.Topic(context.Background(), topic)
	if err != nil {
		return nil, err
	}
	page, err := fetch(context.Background(), s, read, Position{0, 0}, 10_000, 10<<20)
	if err != nil {
		return nil, err
	}
	for i, r := range page.Records {
		if r.Offset != int64(i) {
			return nil, errors.New("a gap")
		}
		values = append(values, strings.Trim(string(r.Value), `"`))
	}
	return values, nil
}
