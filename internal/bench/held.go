package bench

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// held runs a work after another session has kept a transaction open for the time of Config.Hold, under the
// same load, and while it still does. Row versions that were updated or deleted since cannot be removed then,
// and pile up before whoever reads or updates those rows.
func held(run func(ctx context.Context, b *bench) (*sample, error)) func(ctx context.Context, b *bench) (*sample, error) {
	return func(ctx context.Context, b *bench) (*sample, error) {
		conn, err := pgx.Connect(ctx, b.postgres.database("eos"))
		if err != nil {
			return nil, err
		}
		defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // ends the transaction in any case
		if _, err := conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()`); err != nil {
			return nil, err
		}
		seconds := b.cfg.Seconds
		b.cfg.Seconds = b.cfg.Hold.Seconds()
		_, err = run(ctx, b)
		b.cfg.Seconds = seconds
		if err != nil {
			return nil, err
		}
		return run(ctx, b)
	}
}

func heldWorks() []work {
	return []work{
		{
			name: "held-produce", what: "one record, idempotent, 64 connections, while another session holds a transaction open, against fresh", unit: "requests/s",
			target: atLeast(0.95), ceiling: single{64, sequences}.ceiling(), database: true, run: held(single{64, sequences}.run),
		},
		{
			name: "held-txn", what: "txn-64, while another session holds a transaction open, against fresh", unit: "records/s",
			target: atLeast(0.95), ceiling: transactionalSingles.ceiling(), database: true, run: held(transactionalSingles.run),
		},
		{
			name: "held-oneshot", what: "oneshot-64, while another session holds a transaction open, against fresh", unit: "records/s",
			target: atLeast(0.95), ceiling: asCeiling("oneshot-64", "records/s", oneShot), database: true, run: held(oneShot),
		},
	}
}
