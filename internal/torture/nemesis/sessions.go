package nemesis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// What other sessions do to PostgreSQL.
var sessionFaults = []*fault{
	{
		// Whoever has no connection gets none, and some lose theirs.
		name: "no-slots", database: true, weight: 2, least: time.Second, most: 4 * time.Second,
		do: takeSlots,
	},
	{
		// Rows that every write needs are locked, until connections of the pools wait for them.
		name: "lock-rows", database: true, weight: 4, least: time.Second, most: 5 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			rows := lockable[s.pick%uint64(len(lockable))]
			table, _, _ := strings.Cut(rows, " ")
			return table, n.hold(ctx, readCommitted, "SELECT FROM "+rows+" LIMIT 20 FOR UPDATE")
		},
	},
	{
		name: "lock-table", database: true, weight: 2, least: time.Second, most: 3 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			tables := []string{
				"batches", "partitions", "producers", "transactions", "groups", "members", "committed_offsets", "staged_requests",
			}
			table := tables[s.pick%8]
			mode := []string{"ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE"}[s.pick/8%2]
			return table, n.hold(ctx, readCommitted, "LOCK TABLE "+table+" IN "+mode+" MODE")
		},
	},
	{
		// One that has a number and a snapshot: nothing that is younger can be cleaned up.
		name: "open-transaction", database: true,
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			count := 0
			for ctx.Err() == nil {
				count += n.hold(ctx, repeatableRead, "SELECT pg_current_xact_id(), count(*) FROM topics")
				wait.For(ctx, 200*time.Millisecond) // the server has died
			}
			return "session", count
		},
	},
}

// lockable are the rows that somebody is likely to write to soon: thousands of transactions and producers have ended.
var lockable = []string{
	"partitions ORDER BY random()",
	"producers ORDER BY producer_id DESC",
	"transactions WHERE state = 'ongoing' ORDER BY transaction_ref DESC",
	"groups ORDER BY sweep_at DESC NULLS LAST",
}

// How a transaction begins: a row that another one has just changed can be locked, or there is a snapshot.
const (
	readCommitted  = "BEGIN ISOLATION LEVEL READ COMMITTED"
	repeatableRead = "BEGIN ISOLATION LEVEL REPEATABLE READ"
)

// hold runs a statement in a transaction and stays in it until ctx ends, or its session does. It returns 1 if it got
// there, else 0: also if it found no rows to lock.
func (n *Nemesis) hold(ctx context.Context, begin, sql string) int {
	held := 0
	_ = n.session(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, begin); err != nil {
			return err
		}
		tag, err := conn.Exec(ctx, sql)
		if err != nil || tag.Select() && tag.RowsAffected() == 0 {
			return err
		}
		held = 1
		// Whoever waits for a notification notices when the session ends.
		_, err = conn.WaitForNotification(ctx)
		return err
	})
	return held
}

// takeSlots takes all connections that PostgreSQL may have, and ends some of those of the proxies.
func takeSlots(ctx context.Context, n *Nemesis, s step) (string, int) {
	const end = `
		SELECT pg_terminate_backend(pid)
		FROM pg_stat_activity
		WHERE application_name = 'eos-proxy' AND state <> 'idle in transaction'
		ORDER BY md5(pid::text || $1)
		LIMIT 6`
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			hangUp(conn)
		}
	}()
	full := 0
	for ctx.Err() == nil {
		conn, err := n.cfg.Cluster.Postgres.Connect(ctx)
		if err == nil {
			taken = append(taken, conn)
			continue
		}
		if full == 0 && len(taken) > 0 && ctx.Err() == nil {
			full = 1
			_, _ = taken[0].Exec(ctx, end, fmt.Sprint(s.pick)) // without effect if the server has just died
		}
		wait.For(ctx, pollTime)
	}
	return fmt.Sprintf("%d connections", len(taken)), full
}
