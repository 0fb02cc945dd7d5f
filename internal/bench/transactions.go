package bench

import (
	"context"
	"fmt"
	"time"
)

// commitEvery is how long the transactions of transactional last.
const commitEvery = 100 * time.Millisecond

// transactional is a load of sequenced requests in transactions that are bound to their producers, one after
// another on each connection.
type transactional struct {
	connections int
	body        string
	records     int64 // in the body
	user        int   // bytes of a record
}

// run measures the load on a new topic with 4 partitions. A unit is a record; a latency that of a request,
// begins and commits included.
func (l transactional) run(ctx context.Context, b *bench) (*sample, error) {
	return l.on(ctx, b, b.proxy, b.cfg.length())
}

// on is run on any proxy, for a time.
func (l transactional) on(ctx context.Context, b *bench, proxy *process, length time.Duration) (*sample, error) {
	topic, err := b.newTopic(ctx, proxy.addr, 4)
	if err != nil {
		return nil, err
	}
	producers := make([]int64, l.connections)
	for i := range producers {
		var p struct {
			ProducerID int64 `json:"producer_id"`
		}
		// A transactional id of its own for each measurement: its epoch is 0.
		body := fmt.Sprintf(`{"transactional_id":"%s-%d"}`, topic, i)
		if err := call(ctx, proxy.addr, "POST", "/v1/producers", body, &p); err != nil {
			return nil, err
		}
		producers[i] = p.ProducerID
	}
	transact := func(c *conn, i int, until time.Time, s *sample) error {
		for n := 0; time.Now().Before(until); n++ {
			if err := l.transaction(c, topic, fmt.Sprintf("%s-%d-%d", topic, i, n), producers[i], until, s); err != nil {
				return err
			}
		}
		return nil
	}
	s, err := b.metered(ctx, proxy, func() (*sample, error) {
		return together(ctx, proxy.addr, l.connections, 4096, length, transact)
	})
	if err != nil {
		return nil, err
	}
	s.user = s.units * int64(l.user)
	return s, verify(ctx, proxy.addr, topic, s.units)
}

// ceiling returns the load as something to compare others with.
func (l transactional) ceiling() *ceiling {
	return asCeiling(fmt.Sprintf("txn-%d", l.connections), "records/s", l.run)
}

// transaction begins, produces for a while, and commits.
func (l transactional) transaction(c *conn, topic, id string, producer int64, until time.Time, s *sample) error {
	now := time.Now()
	end := now.Add(commitEvery)
	if until.Before(end) {
		end = until
	}
	do := func(request []byte) error {
		_, err := c.do(request)
		answered := time.Now()
		s.latency.add(answered.Sub(now))
		now = answered
		return err
	}
	if err := do(appendRequest(nil, "PUT", "/v1/transactions/"+id, fmt.Sprintf(`{"producer_id":%d,"producer_epoch":0}`, producer))); err != nil {
		return err
	}
	next := numbered(
		fmt.Sprintf("POST /v1/topics/%s/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\nTransaction-Id: %s\r\nProducer-Id: %d\r\nProducer-Epoch: 0\r\nProducer-Seq: ",
			topic, len(l.body), id, producer),
		"\r\n\r\n"+l.body, 1)
	for ; now.Before(end); s.units += l.records {
		c.out = next(c.out[:0], s.units)
		if err := do(c.out); err != nil {
			return err
		}
	}
	return do(appendRequest(nil, "POST", "/v1/transactions/"+id+"/commit", ""))
}

// oneShotTopics is how many topics a one-request transaction writes to.
const oneShotTopics = 3

// oneShot measures one-request transactions with one record for each of 3 topics. A unit is a record: what
// would be a plain request.
func oneShot(ctx context.Context, b *bench) (*sample, error) {
	return oneShotOn(ctx, b, b.proxy, b.cfg.length())
}

// oneShotOn is oneShot on any proxy, for a time.
func oneShotOn(ctx context.Context, b *bench, proxy *process, length time.Duration) (*sample, error) {
	topics, produce := make([]string, oneShotTopics), ""
	for i := range topics {
		var err error
		if topics[i], err = b.newTopic(ctx, proxy.addr, 4); err != nil {
			return nil, err
		}
		produce += fmt.Sprintf(`,{"topic":%q,%s`, topics[i], one[1:])
	}
	body := `{"produce":[` + produce[1:] + `],"commit":true}`
	makers := make([]maker, 64)
	for i := range makers {
		makers[i] = numbered(
			fmt.Sprintf("PUT /v1/transactions/%s-%d-", topics[0], i),
			fmt.Sprintf(" HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 1)
	}
	s, err := b.metered(ctx, proxy, func() (*sample, error) { return drive(ctx, proxy.addr, makers, length) })
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if err := verify(ctx, proxy.addr, topic, s.units); err != nil {
			return nil, err
		}
	}
	s.units *= oneShotTopics
	s.user = s.units * int64(len(key)+valueSize)
	return s, nil
}

var (
	transactionalSingles = transactional{64, one, 1, len(key) + len(value)}
	transactionalBatches = transactional{4, batch, batchRecords, valueSize}
)

func transactionWorks() []work {
	return []work{
		{
			name: "txn-64", what: "one record a request in transactions of 100 ms, 64 connections", unit: "records/s",
			target: atLeast(1), ceiling: single{64, none}.ceiling(), run: transactionalSingles.run,
		},
		{
			name: "txn-batches", what: "1000 records a request in transactions of 100 ms, 4 connections", unit: "records/s",
			target: atLeast(1), ceiling: batches{4, none}.ceiling(), run: transactionalBatches.run,
		},
		{
			name: "oneshot-64", what: "one-request transactions over 3 topics, counted as 3 requests each, 64 connections", unit: "records/s",
			target: atLeast(1), ceiling: single{64, none}.ceiling(), run: oneShot,
		},
	}
}
