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
	ID       int64   `json:"producer_id"` // this and what follows: of a receipt
	Epoch    *int64  `json:"producer_epoch"`
	Base     *int64  `json:"base_sequence"`
	Count    int     `json:"record_count"`
	At       string  `json:"appended_at"`
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
	if err := checkShares(shares, p.Transaction != ""); err != nil {
		return err
	}
	for i := range shares {
		p.Places = append(p.Places, shares[i].place(p.Topic))
	}
	switch {
	case got.Next != nil:
		p.Next = *got.Next
	case p.Producer != 0:
		return errors.New("no next_sequence")
	}
	return nil
}

// checkShares returns what is wrong with where records are; staged is whether they have no offsets yet.
func checkShares(shares []share, staged bool) error {
	if len(shares) == 0 {
		return errors.New("nothing is appended")
	}
	for i := range shares {
		s := &shares[i]
		if s.RecordCount < 1 || (s.BaseOffset == nil) != staged || len(s.RecordIndexes) > s.RecordCount {
			return fmt.Errorf("partition %d: %d records, offset told: %t, %d indexes",
				s.Partition, s.RecordCount, s.BaseOffset != nil, len(s.RecordIndexes))
		}
	}
	return nil
}

func readReceipt(a *history.Attempt, body []byte) error {
	var got produced
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	p := a.Produce
	switch {
	case got.Base == nil || got.Epoch == nil || got.At == "":
		return errors.New("no base_sequence, producer_epoch or appended_at")
	case got.Topic != p.Topic || got.ID != p.Producer:
		return fmt.Errorf("topic %q, producer %d", got.Topic, got.ID)
	case p.Sequence < *got.Base || p.Sequence >= *got.Base+int64(got.Count):
		return fmt.Errorf("%d records from sequence %d on", got.Count, *got.Base)
	}
	if err := checkShares(got.Appended, false); err != nil {
		return err
	}
	p.Base, p.Count, p.Recorded = *got.Base, got.Count, *got.Epoch
	for i := range got.Appended {
		p.Places = append(p.Places, got.Appended[i].place(p.Topic))
	}
	return nil
}

// registered is the answer to a registration.
type registered struct {
	ID            int64  `json:"producer_id"`
	Epoch         *int64 `json:"producer_epoch"`
	Transactional string `json:"transactional_id"`
	Next          []struct {
		Topic     string `json:"topic"`
		Partition *int   `json:"partition"`
		Sequence  *int64 `json:"next_sequence"`
	} `json:"next_sequences"`
}

func readRegistered(a *history.Attempt, body []byte) error {
	var got registered
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	r := a.Register
	if got.ID < 1 || got.Epoch == nil || got.Next == nil || got.Transactional != r.TransactionalID {
		return fmt.Errorf("producer %d of %q, epoch told: %t, sequences told: %t",
			got.ID, got.Transactional, got.Epoch != nil, got.Next != nil)
	}
	r.Producer, r.Epoch = got.ID, *got.Epoch
	for _, n := range got.Next {
		if n.Topic == "" || n.Sequence == nil {
			return fmt.Errorf("no next sequence of topic %q", n.Topic)
		}
		next := history.Next{Topic: n.Topic, Sequence: *n.Sequence}
		if n.Partition != nil {
			next.Scope = *n.Partition + 1
		}
		r.Next = append(r.Next, next)
	}
	return nil
}

// told is the answer to a request about a transaction.
type told struct {
	ID       string  `json:"transaction_id"`
	State    string  `json:"state"`
	By       string  `json:"aborted_by"`
	Appended []share `json:"appended"`
}

// check returns what is wrong with what is told of t.
func (got *told) check(t *history.Transaction) error {
	switch {
	case got.ID != t.ID || got.State != ongoing && got.State != committed && got.State != aborted:
		return fmt.Errorf("transaction %q is %q", got.ID, got.State)
	case (got.State == aborted) != (got.By != ""):
		return fmt.Errorf("a transaction that is %s was aborted by %q", got.State, got.By)
	case len(got.Appended) > 0 || got.State == committed && len(t.Pieces) > 0:
		return checkShares(got.Appended, false)
	}
	return nil
}

// readStaged reads the answer to offsets of a transaction. The state in it is that of the first answer, if it is a
// repeat, and so is none that is known from now on.
func readStaged(a *history.Attempt, body []byte) error {
	var got told
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	return got.check(a.Transaction)
}

func readTransaction(a *history.Attempt, body []byte) error {
	var got told
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	t := a.Transaction
	if err := got.check(t); err != nil {
		return err
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

	Bytes   bytesValue `json:"value_base64"`
	Headers []header   `json:"headers"`
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
			Partition: p, Offset: r.Offset, First: tp.check(r), Count: 1,
		})
	}
	return spans
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
