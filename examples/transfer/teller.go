package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// books are the names of the two topics.
type books struct{ debits, credits string }

// teller carries orders out. It is killed now and then, wherever it is, and forgets everything; the next one
// with its name takes over.
type teller struct {
	client *client.Client
	books  books
	name   string // its transactional id

	producerID, producerEpoch int64
}

// mortality is how many orders a teller outlives, on the average; a killed one dies within dyingTime.
const (
	mortality = 6
	dyingTime = 8 * time.Millisecond
)

var errKilled = errors.New("killed")

// work is the lives of all tellers with one name, until no order is left. It counts the deaths. An order of
// which nobody knows how far it came is given out again, to the successor: who has fenced the dead one, so that
// nothing that is still on its way can be done beside it.
func work(ctx context.Context, c *client.Client, b books, name string, q *queue) (deaths int, err error) {
	for o := q.next(); ; deaths++ {
		t := &teller{client: c, books: b, name: name}
		if o, err = t.live(ctx, o, q); !errors.Is(err, errKilled) {
			return deaths, err
		}
	}
}

// live registers and works, from order o on, until it has nothing to do; or until it is killed, over the order
// that it returns.
func (t *teller) live(ctx context.Context, o *order, q *queue) (*order, error) {
	if err := t.register(ctx); err != nil {
		return nil, err
	}
	for ; o != nil; o = q.next() {
		life, end := ctx, context.CancelFunc(func() {})
		if mathrand.IntN(mortality) == 0 {
			life, end = context.WithTimeout(ctx, mathrand.N(dyingTime))
		}
		err := t.carryOut(life, *o)
		killed := life.Err() != nil || errors.Is(err, errKilled)
		end()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && killed:
			return o, errKilled
		case err != nil:
			return nil, fmt.Errorf("order %s: %w", o.id, err)
		}
	}
	return nil, nil
}

// register fences whoever had the name before: an open transaction of his is aborted, and nothing that he has
// sent and that is still on its way is done any more.
func (t *teller) register(ctx context.Context) error {
	var answer struct {
		ProducerID    int64 `json:"producer_id"`
		ProducerEpoch int64 `json:"producer_epoch"`
	}
	err := t.client.SendJSON(ctx, client.Request{
		Method: http.MethodPost, Path: "/v1/producers",
		// A new key for each life: a repeat of this request must not fence the life after it.
		Header: map[string]string{"Idempotency-Key": rand.Text()},
	}, map[string]any{"transactional_id": t.name}, &answer)
	t.producerID, t.producerEpoch = answer.ProducerID, answer.ProducerEpoch
	return err
}

// carryOut does what an order wants, once, whatever became of it before.
func (t *teller) carryOut(ctx context.Context, o order) error {
	switch o.way {
	case oneRequest:
		return t.inOneRequest(ctx, o)
	case twoRequests:
		return t.torn(ctx, o)
	default:
		return t.inManyRequests(ctx, o)
	}
}

// inOneRequest is the whole transaction. The order's id is its identity: the same PUT again does nothing, and
// gets the first answer.
func (t *teller) inOneRequest(ctx context.Context, o order) error {
	r := client.Request{Method: http.MethodPut, Path: "/v1/transactions/" + o.id}
	return t.client.SendJSON(ctx, r, map[string]any{
		"produce": []any{
			map[string]any{"topic": t.books.debits, "records": []any{o.debit().record()}},
			map[string]any{"topic": t.books.credits, "records": []any{o.credit().record()}},
		},
		"commit": true,
	}, nil)
}

// fate is what became of a transaction.
type fate struct {
	State     string `json:"state"`
	AbortedBy string `json:"aborted_by"`
}

// inManyRequests begins a transaction, adds to it and commits it. One that was aborted because its teller died
// stays aborted, so each attempt has an id of its own; what became of the attempts before, the service knows.
func (t *teller) inManyRequests(ctx context.Context, o order) error {
	for attempt := 0; ; attempt++ {
		id := fmt.Sprintf("%s.%d", o.id, attempt)
		var f fate
		err := t.client.SendJSON(ctx, client.Request{Method: http.MethodGet, Path: "/v1/transactions/" + id}, nil, &f)
		if client.RefusalCode(err) == "TRANSACTIONAL_ID_NOT_FOUND" {
			f, err = t.attempt(ctx, id, o)
		}
		switch {
		case client.RefusalCode(err) == "INVALID_TXN_STATE": // it took longer than its timeout
		case err != nil:
			return err
		case f.State == "committed", o.way == withdrawn && f.AbortedBy == "client":
			return nil
		}
	}
}

// attempt is one transaction, bound to this life of the teller.
func (t *teller) attempt(ctx context.Context, id string, o order) (f fate, err error) {
	path := "/v1/transactions/" + id
	err = t.client.SendJSON(ctx, client.Request{Method: http.MethodPut, Path: path}, map[string]any{
		"producer_id": t.producerID, "producer_epoch": t.producerEpoch, "timeout_ms": 20_000,
	}, &f)
	if err == nil {
		err = t.append(ctx, t.books.debits, o.debit(), map[string]string{"Transaction-Id": id, "Idempotency-Key": "debit"})
	}
	if err == nil && o.way == withdrawn {
		err = t.client.SendJSON(ctx, client.Request{Method: http.MethodPost, Path: path + "/abort"}, nil, &f)
		return f, err
	}
	if err == nil {
		err = t.append(ctx, t.books.credits, o.credit(), map[string]string{"Transaction-Id": id, "Idempotency-Key": "credit"})
	}
	if err == nil {
		err = t.client.SendJSON(ctx, client.Request{Method: http.MethodPost, Path: path + "/commit"}, nil, &f)
	}
	return f, err
}

// torn is how not to do it. Each half is stored exactly once, and all will be well when the order has come
// again; but until then there is a debit without its credit, and any reader may see that.
func (t *teller) torn(ctx context.Context, o order) error {
	header := map[string]string{"Idempotency-Key": o.id}
	if err := t.append(ctx, t.books.debits, o.debit(), header); err != nil {
		return err
	}
	if mathrand.IntN(mortality) == 0 {
		return errKilled
	}
	return t.append(ctx, t.books.credits, o.credit(), header)
}

func (t *teller) append(ctx context.Context, topic string, e entry, header map[string]string) error {
	r := client.Request{Method: http.MethodPost, Path: "/v1/topics/" + topic + "/records", Header: header}
	return t.client.SendJSON(ctx, r, map[string]any{"records": []any{e.record()}}, nil)
}
