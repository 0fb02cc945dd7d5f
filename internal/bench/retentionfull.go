package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// full is the load of produce-64 on a database of its own, after it has run for a while: then as much leaves as
// comes, unless all is kept. The proxy deletes nothing before it is some seconds older than its topic says, and
// below the start of the log for two minutes. The bench makes it forget the latter, so that the whole way from
// an append to its deletion is shorter than fullWarm.
type full struct{ keep bool }

const (
	fullWarm   = 24 * time.Second
	fullLength = 10 * time.Second // two turns of the proxy's retention
)

func (l full) run(ctx context.Context, b *bench) (*sample, error) {
	a, err := b.newAside(ctx)
	if err != nil {
		return nil, err
	}
	s, err := l.on(ctx, b, a)
	return s, errors.Join(err, a.end(ctx))
}

func (l full) on(ctx context.Context, b *bench, a *aside) (*sample, error) {
	kept := int64(-1)
	if !l.keep {
		kept = time.Second.Milliseconds()
	}
	topic, makers, err := a.newTopic(ctx, kept)
	if err != nil {
		return nil, err
	}
	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	hurried := make(chan error, 1)
	go func() { hurried <- a.hurry(beside) }()
	for i, next := range makers { // sequences go on from the first load to the second
		sent := int64(0)
		makers[i] = func(out []byte, _ int64) []byte {
			out = next(out, sent)
			sent++
			return out
		}
	}
	warm, err := drive(ctx, a.proxy.addr, makers, min(fullWarm, b.cfg.Retention))
	if err != nil {
		return nil, err
	}
	before, err := a.deleted(ctx)
	if err != nil {
		return nil, err
	}
	s, err := b.metered(ctx, a.proxy, func() (*sample, error) {
		return drive(ctx, a.proxy.addr, makers, min(fullLength, b.cfg.Retention))
	})
	after, countErr := a.deleted(ctx)
	cancel()
	if err := errors.Join(err, countErr, <-hurried); err != nil {
		return nil, err
	}
	s.notes = []string{fmt.Sprintf("%d batches came, %d were deleted meanwhile", s.units, after-before)}
	s.user = s.units * int64(len(key)+valueSize)
	return s, verifyKept(ctx, a.proxy.addr, topic, warm.units+s.units)
}

// deleted returns how many batches were ever deleted, as the statistics have it, which lag behind by a second.
func (a *aside) deleted(ctx context.Context) (n int64, err error) {
	conn, err := pgx.Connect(ctx, a.bench.postgres.database(a.name))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
	err = conn.QueryRow(ctx, `SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'batches'`).Scan(&n)
	return n, err
}

// hurry makes what lies below the start of a log due for deletion at once, until ctx ends.
func (a *aside) hurry(ctx context.Context) error {
	const sql = `
		UPDATE trims
		SET raised_at = raised_at - interval '1 hour'
		WHERE raised_at > clock_timestamp() - interval '30 minutes'`
	conn, err := pgx.Connect(ctx, a.bench.postgres.database(a.name))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(ctx, `SET synchronous_commit = off`); err != nil {
		return err
	}
	for ticker := time.NewTicker(200 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return nil
		case <-ticker.C:
		}
		if _, err := conn.Exec(ctx, sql); err != nil && ctx.Err() == nil {
			return err
		}
	}
}
