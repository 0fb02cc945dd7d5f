package traffic

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// share is where a request's records of one partition are.
type share struct {
	Topic         string `json:"topic"` // of a transaction
	Partition     int    `json:"partition"`
	BaseOffset    *int64 `json:"base_offset"`
	RecordCount   int    `json:"record_count"`
	RecordIndexes []int  `json:"record_indexes"`
}

// place returns it as a history has it.
func (s *share) place(topic string) history.Place {
	if s.Topic != "" {
		topic = s.Topic
	}
	p := history.Place{Topic: topic, Partition: s.Partition, Offset: -1, Count: s.RecordCount, Indexes: s.RecordIndexes}
	if s.BaseOffset != nil {
		p.Offset = *s.BaseOffset
	}
	return p
}

// produced is the answer to a request for records, and its receipt.
type produced struct {
	Topic    string  `json:"topic"`
	Appended []share `json:"appended"`
	Staged   []share `json:"staged"`
	Next     *int64  `json:"next_sequence"`
	Epoch    int64   `json:"producer_epoch"`
	Base     *int64  `json:"base_sequence"`
	Count    int     `json:"record_count"`
}

func readProduced(a *history.Attempt, body []byte) error {
	var got produced
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	p := a.Produce
	if got.Topic != p.Topic {
		return fmt.Errorf("topic %q", got.Topic)
	}
	shares := got.Appended
	if p.Transaction != "" {
		shares = got.Staged
	}
	if len(shares) == 0 {
		return errors.New("nothing is appended")
	}
	for i := range shares {
		p.Places = append(p.Places, shares[i].place(p.Topic))
	}
	if got.Next != nil {
		p.Next = *got.Next
	}
	return nil
}

func readReceipt(a *history.Attempt, body []byte) error {
	var got produced
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	if got.Base == nil {
		return errors.New("no base_sequence")
	}
	p := a.Produce
	p.Sequence, p.Count, p.Recorded = *got.Base, got.Count, got.Epoch
	for i := range got.Appended {
		p.Places = append(p.Places, got.Appended[i].place(p.Topic))
	}
	return nil
}

// registered is the answer to a registration.
type registered struct {
	ID    int64 `json:"producer_id"`
	Epoch int64 `json:"producer_epoch"`
	Next  []struct {
		Topic     string `json:"topic"`
		Partition *int   `json:"partition"`
		Sequence  int64  `json:"next_sequence"`
	} `json:"next_sequences"`
}

func readRegistered(a *history.Attempt, body []byte) error {
	var got registered
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	r := a.Register
	r.Producer, r.Epoch = got.ID, got.Epoch
	for _, n := range got.Next {
		next := history.Next{Topic: n.Topic, Sequence: n.Sequence}
		if n.Partition != nil {
			next.Scope = *n.Partition + 1
		}
		r.Next = append(r.Next, next)
	}
	return nil
}

func readTransaction(a *history.Attempt, body []byte) error {
	var got struct {
		ID       string  `json:"transaction_id"`
		State    string  `json:"state"`
		By       string  `json:"aborted_by"`
		Appended []share `json:"appended"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	t := a.Transaction
	if got.ID != t.ID || got.State == "" {
		return fmt.Errorf("transaction %q is %q", got.ID, got.State)
	}
	t.State, t.By = got.State, got.By
	for i := range got.Appended {
		t.Places = append(t.Places, got.Appended[i].place(""))
	}
	return nil
}

// record is a record as fetches, polls and event streams have it.
type record struct {
	Partition int     `json:"partition"` // of a fetch of all partitions
	Offset    int64   `json:"offset"`
	Key       *string `json:"key"`
	Value     value   `json:"value"` // 0 if it came in another form
}

// value is checked while it is read.
type value history.Value

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(text []byte) error {
	*v = value(history.ParseValue(text))
	return nil
}

// spans returns records as a history has them. A record whose value or key is not what was sent has value 0.
func (tp *topic) spans(records []record, partition int) []history.Span {
	var spans []history.Span
	for i := range records {
		r := &records[i]
		p := partition
		if p < 0 {
			p = r.Partition
		}
		spans = appendSpan(spans, history.Span{
			Partition: p, Offset: r.Offset, First: tp.check(history.Value(r.Value), r.Key), Count: 1,
		})
	}
	return spans
}

// check returns a value, or 0 if its record has not the key that was sent with it.
func (tp *topic) check(v history.Value, key *string) history.Value {
	switch {
	case v == 0:
		return 0
	case tp.Keys == 0 && key != nil, tp.Keys > 0 && (key == nil || *key != v.RecordKey(tp.Keys)):
		return 0
	}
	return v
}

// appendSpan appends a record, to the last span if it continues that.
func appendSpan(spans []history.Span, s history.Span) []history.Span {
	if n := len(spans); n > 0 && s.First != 0 {
		last := &spans[n-1]
		if last.First != 0 && last.Partition == s.Partition && last.Offset+int64(last.Count) == s.Offset &&
			last.First+history.Value(last.Count) == s.First {
			last.Count += s.Count
			return spans
		}
	}
	return append(spans, s)
}
