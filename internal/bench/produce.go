package bench

import (
	"context"
	"fmt"
	"time"
)

// sequenced makes requests that go on in a producer's sequence, each with the same body of count records.
func sequenced(topic string, producer int64, body string, count int64) maker {
	return numbered(
		fmt.Sprintf("POST /v1/topics/%s/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\nProducer-Id: %d\r\nProducer-Epoch: 0\r\nProducer-Seq: ",
			topic, len(body), producer),
		"\r\n\r\n"+body, count)
}

// keyed makes requests that each have an Idempotency-Key of their own.
func keyed(topic string, connection int, body string) maker {
	return numbered(
		fmt.Sprintf("POST /v1/topics/%s/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\nIdempotency-Key: %d-",
			topic, len(body), connection),
		"\r\n\r\n"+body, 1)
}

// plain makes requests without an identity.
func plain(topic, body string) maker {
	request := fmt.Sprintf("POST /v1/topics/%s/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		topic, len(body), body)
	return func(b []byte, _ int64) []byte { return append(b, request...) }
}

// An identity is how the requests of a load are known to the service.
type identity int

const (
	none identity = iota
	sequences
	keys
)

// String returns the name of a load of single records with the identity.
func (i identity) String() string { return [...]string{"plain", "produce", "keys"}[i] }

// single is the load of one record a request, with key and value of 100 bytes.
type single struct {
	connections int
	identity    identity
}

// run measures the load on a new topic with 4 partitions.
func (l single) run(ctx context.Context, b *bench) (*sample, error) {
	return l.on(ctx, b, b.proxy, b.cfg.length())
}

// on is run on any proxy, for a time.
func (l single) on(ctx context.Context, b *bench, proxy *process, length time.Duration) (*sample, error) {
	topic, err := b.newTopic(ctx, proxy.addr, 4)
	if err != nil {
		return nil, err
	}
	makers := make([]maker, l.connections)
	for i := range makers {
		switch l.identity {
		case none:
			makers[i] = plain(topic, one)
		case keys:
			makers[i] = keyed(topic, i, one)
		case sequences:
			producer, err := b.producer(ctx, proxy.addr, i)
			if err != nil {
				return nil, err
			}
			makers[i] = sequenced(topic, producer, one, 1)
		}
	}
	s, err := b.metered(ctx, proxy, func() (*sample, error) { return drive(ctx, proxy.addr, makers, length) })
	if err != nil {
		return nil, err
	}
	s.user = s.units * int64(len(key)+valueSize)
	return s, verify(ctx, proxy.addr, topic, s.units)
}

// ceiling returns the load as something to compare others with.
func (l single) ceiling() *ceiling {
	return asCeiling(fmt.Sprintf("%s-%d", l.identity, l.connections), "requests/s", l.run)
}

// producer returns a producer for the i-th connection to a service: always the same one, whose sequences
// begin anew with each topic.
func (b *bench) producer(ctx context.Context, addr string, i int) (int64, error) {
	for len(b.producers[addr]) <= i {
		var p struct {
			ProducerID int64 `json:"producer_id"`
		}
		if err := call(ctx, addr, "POST", "/v1/producers", "", &p); err != nil {
			return 0, err
		}
		b.producers[addr] = append(b.producers[addr], p.ProducerID)
	}
	return b.producers[addr][i], nil
}

func singleWorks() []work {
	const what = "one record, idempotent"
	return []work{
		{name: "produce-1", what: what + ", 1 connection", unit: "requests/s", target: atLeast(0.65), ceiling: insertAt(1), run: single{1, sequences}.run},
		{name: "produce-1-echo", what: what + ", 1 connection", unit: "requests/s", ceiling: echoAt(1), run: single{1, sequences}.run},
		{name: "produce-64", what: what + ", 64 connections", unit: "requests/s", target: atLeast(0.70), ceiling: echoAt(64), run: single{64, sequences}.run},
		{name: "produce-256", what: what + ", 256 connections", unit: "requests/s", target: atLeast(0.70), ceiling: echoAt(256), run: single{256, sequences}.run},
		{name: "keys-64", what: "one record with a key, 64 connections", unit: "requests/s", target: atLeast(0.65), ceiling: echoAt(64), run: single{64, keys}.run},
		{name: "keys-256", what: "one record with a key, 256 connections", unit: "requests/s", target: atLeast(0.65), ceiling: echoAt(256), run: single{256, keys}.run},
		{name: "identity-64", what: "idempotent against plain, 64 connections", unit: "requests/s", target: atLeast(0.99), ceiling: single{64, none}.ceiling(), run: single{64, sequences}.run},
	}
}
