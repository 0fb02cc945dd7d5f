package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An aside is a database for one measurement, and a proxy on it: its size is what the measurement left, and an
// open transaction in it keeps nobody else's rows.
type aside struct {
	bench *bench
	name  string // of the database
	proxy *process
}

func (b *bench) newAside(ctx context.Context) (*aside, error) {
	b.asides++
	a := &aside{bench: b, name: fmt.Sprintf("aside%d", b.asides)}
	var err error
	a.proxy, err = b.newDatabase(ctx, a.name)
	return a, err
}

// end stops the proxy and gives the space back.
func (a *aside) end(ctx context.Context) error {
	err := a.proxy.stop()
	_, dropErr := a.bench.postgres.conn.Exec(context.WithoutCancel(ctx), "DROP DATABASE "+a.name+" WITH (FORCE)")
	return errors.Join(err, dropErr)
}

// newTopic creates a topic of 4 partitions that keeps records for so many milliseconds (-1: for ever), and
// returns its name and 64 makers of idempotent requests of one record.
func (a *aside) newTopic(ctx context.Context, keptMS int64) (topic string, makers []maker, err error) {
	topic, err = a.bench.newTopicWith(ctx, a.proxy.addr, fmt.Sprintf(`{"partition_count":4,"retention_ms":%d}`, keptMS))
	for i := 0; err == nil && i < retentionConnections; i++ {
		var producer int64
		producer, err = a.bench.producer(ctx, a.proxy.addr, i)
		makers = append(makers, sequenced(topic, producer, one, 1))
	}
	return topic, makers, err
}

// watchSize reads the size of the database again and again until ctx ends. What it returns waits for that, and
// returns the sizes.
func (a *aside) watchSize(ctx context.Context, every time.Duration) (ended func() ([]int64, error)) {
	type result struct {
		sizes []int64
		err   error
	}
	done := make(chan result, 1)
	go func() {
		sizes, err := a.sizes(ctx, every)
		done <- result{sizes, err}
	}()
	return func() ([]int64, error) {
		r := <-done
		return r.sizes, r.err
	}
}

func (a *aside) sizes(ctx context.Context, every time.Duration) (sizes []int64, err error) {
	conn, err := pgx.Connect(ctx, a.bench.postgres.database(a.name))
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return sizes, nil
		case <-ticker.C:
		}
		var size int64
		err := conn.QueryRow(ctx, `SELECT pg_database_size(current_database())`).Scan(&size)
		switch {
		case ctx.Err() != nil:
			return sizes, nil
		case err != nil:
			return nil, err
		}
		sizes = append(sizes, size)
	}
}
