package bench

import (
	"context"
	"time"
)

const (
	fetchReaders = 4
	fetchRecords = 250_000 // in each reader's partition
)

// fetch measures readers of old records: each reads a partition of its own from its first record to its last,
// and then again, in pages of 10,000 records, and checks that each page has every record once. A unit is a
// record.
func fetch(ctx context.Context, b *bench) (*sample, error) {
	if err := b.needOld(ctx); err != nil {
		return nil, err
	}
	return b.metered(ctx, b.proxy, func() (*sample, error) {
		return together(ctx, b.proxy.addr, fetchReaders, readerBuffer, b.cfg.length(),
			func(c *conn, i int, until time.Time, s *sample) error { return fetch1(c, b.old, i, until, s) })
	})
}

func fetch1(c *conn, topic string, partition int, until time.Time, s *sample) error {
	from := int64(0)
	for now := time.Now(); now.Before(until); {
		next, err := readPage(c, topic, partition, from)
		if err != nil {
			return err
		}
		s.units += next - from
		if from = next; from >= fetchRecords {
			from = 0
		}
		answered := time.Now()
		s.latency.add(answered.Sub(now))
		now = answered
	}
	return nil
}

// needOld fills the topic that fetch reads, unless it is there, and makes its records old: whatever the proxy
// remembers of the last records is gone with a restart or, in a service that is not ours, taken up by others.
func (b *bench) needOld(ctx context.Context) (err error) {
	if b.old != "" {
		return nil
	}
	if b.old, err = b.fill(ctx, fetchReaders, fetchRecords); err != nil {
		return err
	}
	if b.postgres != nil {
		return b.restart(ctx)
	}
	_, err = b.fill(ctx, fetchReaders, fetchRecords)
	return err
}

func fetchWorks() []work {
	return []work{{
		name: "fetch-4", what: "fetch of old records with values of 100 bytes, 4 readers", unit: "records/s",
		target: atLeast(1e6).aiming(3e6), run: fetch,
	}}
}
