package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What other sessions do to PostgreSQL.
var sessionFaults = []*fault{
	{
		// Whoever has no connection gets none, and some lose theirs.
		name: "no-slots", weight: 2, least: time.Second, most: 4 * time.Second,
		do: takeSlots,
	},
	{
		// Rows that every write needs are locked, until connections of the pools wait for them.
		name: "lock-rows", weight: 4, least: time.Second, most: 5 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			table := []string{"partitions", "producers", "groups", "transactions"}[s.pick%4]
			order := []string{"partition_id", "producer_id", "group_id", "transaction_ref"}[s.pick%4]
			const sql = "SELECT FROM %s ORDER BY md5(%s::text || '%d') LIMIT 20 FOR UPDATE"
			return table, n.hold(ctx, fmt.Sprintf(sql, table, order, s.pick))
		},
	},
	{
		name: "lock-table", weight: 2, least: time.Second, most: 3 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			tables := []string{
				"batches", "partitions", "producers", "transactions", "groups", "members", "committed_offsets", "staged_requests",
			}
			table := tables[s.pick%8]
			mode := []string{"ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE"}[s.pick/8%2]
			return table, n.hold(ctx, "LOCK TABLE "+table+" IN "+mode+" MODE")
		},
	},
	{
		// One that has a number and a snapshot: nothing that is younger can be cleaned up.
		name: "open-transaction",
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			count := 0
			for ctx.Err() == nil {
				count += n.hold(ctx, "SELECT pg_current_xact_id(), count(*) FROM topics")
				sleep(ctx, 200*time.Millisecond) // the server has died
			}
			return "session", count
		},
	},
}

// hold runs a statement in a transaction and stays in it until ctx ends, or its session does. It returns 1 if it got
// there, else 0.
func (n *Nemesis) hold(ctx context.Context, sql string) int {
	held := 0
	_ = n.session(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
		held = 1
		// Whoever waits for a notification notices when the session ends.
		_, err := conn.WaitForNotification(ctx)
		return err
	})
	return held
}

// takeSlots takes all connections that PostgreSQL may have, and ends some of those of the proxies.
func takeSlots(ctx context.Context, n *Nemesis, s step) (string, int) {
	const end = `
		SELECT pg_terminate_backend(pid)
		FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND state <> 'idle in transaction'
		  AND pid <> pg_backend_pid() AND NOT pid = ANY ($1)
		ORDER BY md5(pid::text || $2)
		LIMIT 6`
	var taken []*pgx.Conn
	var ours []uint32
	defer func() {
		for _, conn := range taken {
			hangUp(conn)
		}
	}()
	full := 0
	for ctx.Err() == nil {
		conn, err := n.cfg.Cluster.Postgres.Connect(ctx)
		if err == nil {
			taken, ours = append(taken, conn), append(ours, conn.PgConn().PID())
			continue
		}
		if full == 0 && len(taken) > 0 && ctx.Err() == nil {
			full = 1
			_, _ = taken[0].Exec(ctx, end, ours, fmt.Sprint(s.pick)) // without effect if the server has just died
		}
		sleep(ctx, pollTime)
	}
	return fmt.Sprintf("%d connections", len(taken)), full
}
