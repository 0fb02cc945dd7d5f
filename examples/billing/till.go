package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// A till sends the purchases of its book to a topic, from the first to the last. The record at a place of
// the book is always the same one, so the place serves as the record's sequence: that is all that exactly
// once asks of a client.
type till struct {
	client *client.Client
	name   string // its transactional id: the same for whoever does this till's work, after any restart
	topic  string
	book   []purchase
	batch  int // records a request

	// reached is told how far the book has been worked through, and whether the last request was
	// acknowledged.
	reached func(place int, acknowledged bool)
}

// errReplaced means that another process registered under the same transactional id and does the work now.
// Whoever gets it stops, and does not register again: two that keep replacing each other get nothing done.
var errReplaced = errors.New("replaced by another process with the same transactional id")

// exactlyOnce sends the book such that each record is stored once, whatever breaks on the way: proxy,
// database, network, or the till itself, which may be started anew at any time and needs nothing for that
// but its name and its book.
func (t *till) exactlyOnce(ctx context.Context) error {
	who, err := t.register(ctx)
	if err != nil {
		return err
	}
	for next := who.next(t.topic); next < int64(len(t.book)); {
		end := min(next+int64(t.batch), int64(len(t.book)))
		r := t.produce(t.book[next:end])
		r.Header = map[string]string{
			"Producer-Id":    strconv.FormatInt(who.ProducerID, 10),
			"Producer-Epoch": strconv.FormatInt(who.ProducerEpoch, 10),
			"Producer-Seq":   strconv.FormatInt(next, 10), // of the first record
		}
		var done produced
		var p *client.Problem
		err := t.client.SendUntilAnswered(ctx, r, &done)
		switch {
		case err == nil:
			// Stored now, or before, by an attempt whose answer was lost; the answer is the same.
			next = done.NextSequence
		case !errors.As(err, &p):
			return err
		case p.Status == http.StatusPreconditionFailed: // PRODUCER_FENCED
			return errReplaced
		case p.Status == http.StatusConflict && p.ExpectedSequence != nil && *p.ExpectedSequence > next:
			// The records are stored, but in other requests, for example of a till that cut its batches
			// elsewhere. What is stored is ours: go on behind it.
			next = *p.ExpectedSequence
		default:
			// Anything else is a mistake, ours or the proxy's, that no repeating mends. An expected sequence
			// below next, for one, would mean that acknowledged records are gone.
			return fmt.Errorf("%s at sequence %d: %w", t.name, next, err)
		}
		t.reached(int(next), true)
	}
	return nil
}

// atLeastOnce repeats what was not answered, but says nothing by which the proxy could know it again. A
// request whose answer was lost is stored twice.
func (t *till) atLeastOnce(ctx context.Context) error {
	for next := 0; next < len(t.book); next = min(next+t.batch, len(t.book)) {
		end := min(next+t.batch, len(t.book))
		if err := t.client.SendUntilAnswered(ctx, t.produce(t.book[next:end]), &produced{}); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		t.reached(end, true)
	}
	return nil
}

// atMostOnce repeats nothing. A request that was lost is lost.
func (t *till) atMostOnce(ctx context.Context) error {
	wait := client.FirstWait
	for next := 0; next < len(t.book); next = min(next+t.batch, len(t.book)) {
		end := min(next+t.batch, len(t.book))
		err := t.client.Send(ctx, t.produce(t.book[next:end]), &produced{})
		if err == nil {
			wait = client.FirstWait
		} else {
			if err := client.Sleep(ctx, wait); err != nil {
				return err
			}
			wait = min(2*wait, client.LongestWait)
		}
		t.reached(end, err == nil)
	}
	return nil
}

// registration is the answer to a registration.
type registration struct {
	ProducerID    int64 `json:"producer_id"`
	ProducerEpoch int64 `json:"producer_epoch"`
	NextSequences []struct {
		Topic        string `json:"topic"`
		Partition    *int   `json:"partition"` // nil: the sequence of requests that name the topic only, as ours do
		NextSequence int64  `json:"next_sequence"`
	} `json:"next_sequences"`
}

// next returns the sequence to go on with: 0 where nothing is stored.
func (r *registration) next(topic string) int64 {
	for _, s := range r.NextSequences {
		if s.Topic == topic && s.Partition == nil {
			return s.NextSequence
		}
	}
	return 0
}

// register makes this process the one that does the till's work. From the answer on, nothing that an earlier
// one has sent can still be stored, so that the sequences in it stay right. The key makes the repeats of
// this registration one registration.
func (t *till) register(ctx context.Context) (*registration, error) {
	body, err := json.Marshal(map[string]string{"transactional_id": t.name})
	if err != nil {
		return nil, err
	}
	r := &client.Request{
		Method: http.MethodPost,
		Path:   "/v1/producers",
		Header: map[string]string{"Idempotency-Key": rand.Text()},
		Body:   body,
	}
	who := &registration{}
	if err := t.client.SendUntilAnswered(ctx, r, who); err != nil {
		return nil, fmt.Errorf("register %s: %w", t.name, err)
	}
	return who, nil
}

// produced is the part of the answer to a produce request that a till needs.
type produced struct {
	NextSequence int64 `json:"next_sequence"`
}

// produce returns the request that appends purchases to the topic, all of them or none. The key of a record
// is the customer, so all purchases of one go to the same partition, in the order of the book.
func (t *till) produce(purchases []purchase) *client.Request {
	type record struct {
		Key   string   `json:"key"`
		Value purchase `json:"value"`
	}
	records := make([]record, len(purchases))
	for i, p := range purchases {
		records[i] = record{Key: p.customer, Value: p}
	}
	body, err := json.Marshal(map[string][]record{"records": records})
	if err != nil {
		panic(err) // strings and an integer
	}
	return &client.Request{Method: http.MethodPost, Path: "/v1/topics/" + t.topic + "/records", Body: body}
}
