package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The server answers while it is still being sent to: neither side waits for
// the other. If they did, each try would end with its deadline, and the flush
// with an outcome that is not known.
func TestALargeAnswerIsReadWhileSending(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	mustFlush(t, a, plain("a"))
	ops := make([]any, 2000)
	value := strings.Repeat("v", 4000)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("%0250d", i), nobody, value)
	}
	mustFlush(t, a, ops...)
}

// A connection that is found broken by who reads while who sends has not begun:
// closing it, which pgx does aside, and sending have nothing in common. The race
// detector looks on.
func TestAConnectionBreaksBeforeALargePipelineIsSent(t *testing.T) {
	t.Parallel()
	proxy, s, _, _ := newFaulty(t)
	value := strings.Repeat("v", 64<<10)
	for range 100 {
		err := s.read(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
			for _, sql := range []string{sqlLarge, sqlCommit} {
				if _, err := conn.Prepare(ctx, sql, sql); err != nil {
					return err
				}
			}
			proxy.CutAll()
			var p pipeline
			p.reset(conn)
			p.queue(ctx, sqlLarge, value)
			p.queue(ctx, sqlCommit)
			if err := p.run(ctx); !errors.As(err, new(*lostError)) {
				t.Errorf("run: %v, want a lost connection", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

const sqlLarge = `SELECT length($1::text)`

// A statement that cannot be encoded: it is the error of the whole, also when
// others come behind it, nothing is sent, and the connection goes on.
func TestPipelineKeepsItsFirstError(t *testing.T) {
	t.Parallel()
	s := newStore(t, newDatabase(t))
	err := s.read(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		var p pipeline
		p.reset(conn)
		p.queue(ctx, `BEGIN`)
		p.queue(ctx, `INSERT INTO dropped_logs (log_id) VALUES ($1)`, int64(1))
		p.queue(ctx, `INSERT INTO dropped_logs (log_id) VALUES ($1)`, "no number")
		first := p.err
		p.queue(ctx, `INSERT INTO nowhere (log_id) VALUES ($1)`, int64(2))
		p.queueCopy(ctx, sqlCopyBatches, func([]byte) []byte {
			t.Error("data are asked for behind an error")
			return nil
		})
		p.queue(ctx, sqlCommit)
		if err := p.run(ctx); first == nil || !errors.Is(err, first) || errors.As(err, new(*lostError)) {
			t.Errorf("run: %v, want the first error, %v, and not as a lost one", err, first)
		}
		var dropped int
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM dropped_logs`).Scan(&dropped); err != nil {
			return err
		}
		if dropped != 0 || conn.PgConn().TxStatus() != 'I' {
			t.Errorf("%d rows are written, transaction status %q", dropped, conn.PgConn().TxStatus())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
