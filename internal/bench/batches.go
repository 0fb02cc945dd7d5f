package bench

import (
	"context"
	"fmt"
)

// batches is the load of 1000 records a request.
type batches struct {
	connections int
	identity    identity
}

// run measures the load on a new topic with 4 partitions. A unit is a record.
func (l batches) run(ctx context.Context, b *bench) (*sample, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, 4)
	if err != nil {
		return nil, err
	}
	makers := make([]maker, l.connections)
	for i := range makers {
		if l.identity == none {
			makers[i] = plain(topic, batch)
			continue
		}
		producer, err := b.producer(ctx, b.proxy.addr, i)
		if err != nil {
			return nil, err
		}
		makers[i] = sequenced(topic, producer, batch, batchRecords)
	}
	s, err := b.metered(ctx, b.proxy, func() (*sample, error) { return drive(ctx, b.proxy.addr, makers, b.cfg.length()) })
	if err != nil {
		return nil, err
	}
	s.units *= batchRecords
	s.user = s.units * valueSize
	return s, verify(ctx, b.proxy.addr, topic, s.units)
}

// ceiling returns the load as something to compare others with.
func (l batches) ceiling() *ceiling {
	return asCeiling(fmt.Sprintf("%s-batches-%d", l.identity, l.connections), "records/s", l.run)
}

// runWAL measures the load for what it writes to the WAL, in bytes for each byte of the user's.
func (l batches) runWAL(ctx context.Context, b *bench) (*sample, error) {
	s, err := l.run(ctx, b)
	if err != nil {
		return nil, err
	}
	s.set(float64(s.cost.WAL) / float64(s.user))
	return s, nil
}

// fill puts n records into each partition of a new topic, through the service, and returns its name.
func (b *bench) fill(ctx context.Context, partitions int, n int64) (string, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, partitions)
	if err != nil {
		return "", err
	}
	c, err := dial(ctx, b.proxy.addr, readerBuffer)
	if err != nil {
		return "", err
	}
	defer c.close()
	for partition := range partitions {
		path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records", topic, partition)
		request := appendRequest(nil, "POST", path, batch)
		for range n / batchRecords {
			if _, err := c.do(request); err != nil {
				return "", err
			}
		}
	}
	return topic, verify(ctx, b.proxy.addr, topic, int64(partitions)*(n-n%batchRecords))
}

func batchWorks() []work {
	return []work{
		{
			name: "batches-4", what: "1000 records of 100 bytes a request, idempotent, 4 connections", unit: "records/s",
			target: atLeast(0.8).aiming(1.2), ceiling: copyBest, run: batches{4, sequences}.run,
		},
		{
			name: "batches-wal", what: "WAL of 1000 records of 100 bytes a request", unit: "WAL bytes/byte",
			target: atMost(1.3), database: true, run: batches{4, sequences}.runWAL,
		},
	}
}
