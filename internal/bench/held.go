package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A held is a database of its own in which another session keeps a transaction open, and a proxy on it. Row
// versions that were updated or deleted since that began cannot be removed, and pile up before whoever reads or
// updates those rows. Other databases of the server are not touched by that.
type held struct {
	proxy *process
	open  *transaction
}

// A transaction is another session's, which does nothing and stays open.
type transaction struct{ conn *pgx.Conn }

// hold opens a transaction that has a snapshot of a database, and an id.
func (p *postgres) hold(ctx context.Context, database string) (*transaction, error) {
	conn, err := pgx.Connect(ctx, p.database(database))
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()`); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return &transaction{conn}, nil
}

// end ends the transaction, which is an error if it was not open any more: then nothing was measured beside it.
// There may be none.
func (t *transaction) end(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	_, err := t.conn.Exec(ctx, `SELECT txid_current(); COMMIT`)
	return errors.Join(err, t.conn.Close(ctx))
}

// heldTurn is how long one load runs at the most before the next one has its turn, while the transaction ages.
const heldTurn = 20 * time.Second

// A load is what a work drives, on any proxy, for a time.
type load func(ctx context.Context, b *bench, proxy *process, length time.Duration) (*sample, error)

// heldLoads are those that run while the transaction ages: what all works named held measure.
var heldLoads = []load{single{64, sequences}.on, transactionalSingles.on, oneShotOn}

// beginHeld opens the transaction and lets it age for Config.Hold under the loads, unless that has happened.
func beginHeld(ctx context.Context, b *bench) (err error) {
	if b.held != nil {
		return nil
	}
	h := &held{}
	if h.proxy, err = b.newDatabase(ctx, "held"); err != nil {
		return err
	}
	b.held = h
	if h.open, err = b.postgres.hold(ctx, "held"); err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "  another session's transaction is open, and ages for %v under load\n", b.cfg.Hold)
	length := min(b.cfg.Hold/time.Duration(len(heldLoads)), heldTurn)
	for turn, opened := 0, time.Now(); turn < len(heldLoads) || time.Since(opened) < b.cfg.Hold; turn++ {
		if _, err := heldLoads[turn%len(heldLoads)](ctx, b, h.proxy, length); err != nil {
			return err
		}
	}
	return nil
}

func endHeld(ctx context.Context, b *bench) error {
	if b.held == nil {
		return nil
	}
	h := b.held
	b.held = nil
	return errors.Join(h.open.end(ctx), h.proxy.stop())
}

// beside runs a load beside the transaction that has aged.
func beside(run load) func(ctx context.Context, b *bench) (*sample, error) {
	return func(ctx context.Context, b *bench) (*sample, error) {
		return run(ctx, b, b.held.proxy, b.cfg.length())
	}
}

func heldWorks() []work {
	const held = " while another session holds a transaction open, against fresh"
	works := []work{
		{
			name: "held-produce", what: "one record, idempotent, 64 connections," + held, unit: "requests/s",
			ceiling: single{64, sequences}.ceiling(), run: beside(heldLoads[0]),
		},
		{
			name: "held-txn", what: "txn-64," + held, unit: "records/s",
			ceiling: transactionalSingles.ceiling(), run: beside(heldLoads[1]),
		},
		{
			name: "held-oneshot", what: "oneshot-64," + held, unit: "records/s",
			ceiling: asCeiling("oneshot-64", "records/s", oneShot), run: beside(heldLoads[2]),
		},
	}
	for i := range works {
		works[i].target, works[i].database = atLeast(0.95), true
		works[i].begin, works[i].end = beginHeld, endHeld
	}
	return works
}
