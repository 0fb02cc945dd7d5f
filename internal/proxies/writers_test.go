package proxies_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// writing is the load of those who write. It goes on until ctx ends, and each
// writer then finishes what it has begun.
type writing struct {
	*fleet
	ledger *ledger
	life   context.Context // of the test; nothing of a request ends with ctx
}

// pace is how often a writer begins something.
const pace = 4 * time.Millisecond

// registration is the answer to one.
type registration struct {
	ProducerID    int `json:"producer_id"`
	ProducerEpoch int `json:"producer_epoch"`
}

func (w *writing) register(name, transactionalID string) (r registration, ok bool) {
	body := map[string]any{}
	if transactionalID != "" {
		body["transactional_id"] = transactionalID
	}
	ok = w.must(w.life, request{
		method: http.MethodPost, path: "/v1/producers", body: body,
		header: map[string]string{"Idempotency-Key": "register-" + name},
	}, &r, http.StatusCreated)
	return r, ok
}

func (r registration) headers(sequence int) map[string]string {
	return map[string]string{
		"Producer-Id": strconv.Itoa(r.ProducerID), "Producer-Epoch": strconv.Itoa(r.ProducerEpoch),
		"Producer-Seq": strconv.Itoa(sequence),
	}
}

// some returns the records from number n on, and their values.
func some(name string, n, count, keys int) (records []any, values []string) {
	for i := n; i < n+count; i++ {
		r := newRecord(name, i, keys)
		records = append(records, r)
		values = append(values, r["value"].(string)) //nolint:errcheck // as newRecord says
	}
	return records, values
}

// sequenced appends by producer, epoch and sequence.
func (w *writing) sequenced(ctx context.Context, name string) {
	producer, ok := w.register(name, "")
	for n := 0; ok && ctx.Err() == nil; wait(ctx, pace) {
		count := 1 + n%3
		records, values := some(name, n, count, 4)
		ok = w.produce("sequenced", producer.headers(n), records, values)
		n += count
	}
}

// keyed appends by idempotency keys.
func (w *writing) keyed(ctx context.Context, name string) {
	ok := true
	for n := 0; ok && ctx.Err() == nil; wait(ctx, pace) {
		count := 1 + n%2
		records, values := some(name, n, count, 4)
		ok = w.produce("keyed", map[string]string{"Idempotency-Key": fmt.Sprintf("%s-%d", name, n)}, records, values)
		n += count
	}
}

func (w *writing) produce(topic string, header map[string]string, records []any, values []string) bool {
	var answer struct {
		Appended appended `json:"appended"`
	}
	r := request{
		method: http.MethodPost, path: "/v1/topics/" + topic + "/records", header: header,
		body: map[string]any{"records": records},
	}
	if !w.must(w.life, r, &answer, http.StatusOK) {
		return false
	}
	w.ledger.note(w.fleet, topic, answer.Appended, values)
	return true
}

// outcome is the answer of a transaction.
type outcome struct {
	State    string   `json:"state"`
	Appended appended `json:"appended"`
}

// oneShot writes one record to each of two topics by transactions of one request.
func (w *writing) oneShot(ctx context.Context, name string) {
	producer, ok := w.register(name, name)
	for n := 0; ok && ctx.Err() == nil; wait(ctx, pace) {
		records, values := some(name, n, 1, 2)
		var o outcome
		ok = w.must(w.life, request{
			method: http.MethodPut, path: fmt.Sprintf("/v1/transactions/%s-%d", name, n),
			body: map[string]any{
				"producer_id": producer.ProducerID, "producer_epoch": producer.ProducerEpoch, "commit": true,
				"produce": []any{map[string]any{"topic": "left", "records": records}, map[string]any{"topic": "right", "records": records}},
			},
		}, &o, http.StatusOK, http.StatusCreated)
		if ok {
			w.noteBoth(o, values)
		}
		n++
	}
}

// staged does the same by many requests, and aborts each fifth transaction:
// of these nothing may be seen, and their sequences are used again.
func (w *writing) staged(ctx context.Context, name string) {
	producer, ok := w.register(name, name)
	sequence := 0
	for n := 0; ok && ctx.Err() == nil; n++ {
		records, values := some(name, n, 1, 2)
		path := fmt.Sprintf("/v1/transactions/%s-%d", name, n)
		var o outcome
		ok = w.must(w.life, request{method: http.MethodPut, path: path, body: map[string]any{
			"producer_id": producer.ProducerID, "producer_epoch": producer.ProducerEpoch,
		}}, &o, http.StatusOK, http.StatusCreated)
		for _, topic := range []string{"left", "right"} {
			header := producer.headers(sequence)
			header["Transaction-Id"] = fmt.Sprintf("%s-%d", name, n)
			ok = ok && w.must(w.life, request{
				method: http.MethodPost, path: "/v1/topics/" + topic + "/records", header: header,
				body: map[string]any{"records": records},
			}, &struct{}{}, http.StatusOK)
		}
		end := "/commit"
		if n%5 == 4 {
			end = "/abort"
		}
		ok = ok && w.must(w.life, request{method: http.MethodPost, path: path + end}, &o, http.StatusOK)
		if ok && end == "/commit" {
			w.noteBoth(o, values)
			sequence++
		}
		wait(ctx, pace)
	}
}

// noteBoth writes down a transaction's records, and sees to it that it has a fate.
func (w *writing) noteBoth(o outcome, values []string) {
	if o.State != "committed" {
		w.blame("transaction of %v: state %q", values, o.State)
		return
	}
	w.ledger.note(w.fleet, "left", o.Appended, values)
	w.ledger.note(w.fleet, "right", o.Appended, values)
}
