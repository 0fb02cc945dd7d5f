package nemesis

import (
	"context"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// What is done to PostgreSQL's processes.
var serverFaults = []*fault{
	{
		// How long it lasts is until it is back, at most; so in what follows.
		name: "kill-postgres", database: true, weight: 2, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return n.untilItIsBack(ctx, "postmaster", n.cfg.Cluster.Postgres.Kill())
		},
	},
	{
		name: "restart-postgres-immediate", database: true, weight: 1, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return n.untilItIsBack(ctx, "postmaster", n.cfg.Cluster.Postgres.Stop(syscall.SIGQUIT))
		},
	},
	{
		name: "restart-postgres-fast", database: true, weight: 1, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return n.untilItIsBack(ctx, "postmaster", n.cfg.Cluster.Postgres.Stop(syscall.SIGINT))
		},
	},
	{
		// The postmaster then ends all others, and recovers.
		name: "kill-backend", database: true, weight: 2, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			pid := n.backend(ctx, s.pick)
			return n.untilItIsBack(ctx, strconv.Itoa(pid), pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil)
		},
	},
	{
		name: "stop-backend", database: true, weight: 4, least: 500 * time.Millisecond, most: 6 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			pid := n.backend(ctx, s.pick)
			if pid == 0 || syscall.Kill(pid, syscall.SIGSTOP) != nil {
				return "", 0
			}
			<-ctx.Done()
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been killed
			return strconv.Itoa(pid), 1
		},
	},
	{
		name: "terminate-backends", database: true, weight: 8, least: 5 * time.Second, most: 5 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			const sql = `
				SELECT count(*)
				FROM (SELECT pg_terminate_backend(pid) AS done
				      FROM pg_stat_activity
				      WHERE application_name = 'eos-proxy' -- as the store calls itself
				      ORDER BY state = 'idle', md5(pid::text || $1)
				      LIMIT $2) t
				WHERE done`
			count := 0
			_ = n.session(ctx, func(ctx context.Context, conn *pgx.Conn) error {
				return conn.QueryRow(ctx, sql, strconv.FormatUint(s.pick, 10), 1+s.pick%4).Scan(&count)
			})
			return "backends", count
		},
	},
}

// untilItIsBack waits, if the server was hit, until it takes connections again, or ctx ends. It returns what was hit,
// and how often; if the server was not there again, the name says so.
func (n *Nemesis) untilItIsBack(ctx context.Context, target string, hit bool) (string, int) {
	if hit && !n.awaitServer(ctx) {
		target += ", not back at the end"
	}
	return target, oneIf(hit)
}

// awaitServer waits until the server takes connections again. It returns false if ctx ends first.
func (n *Nemesis) awaitServer(ctx context.Context) bool {
	for wait.For(ctx, pollTime) {
		if conn, err := n.cfg.Cluster.Postgres.Connect(ctx); err == nil {
			hangUp(conn)
			return true
		}
	}
	return false
}

// session runs fn on a connection of its own to the server.
func (n *Nemesis) session(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	conn, err := n.cfg.Cluster.Postgres.Connect(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return fn(ctx, conn)
}

// hangUp closes a connection, also when the time is over.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the server may be gone
}

// backends returns the processes of the proxies' connections: those that do something or are in a transaction, if there
// are any, else all.
func (n *Nemesis) backends(ctx context.Context) (pids []int, err error) {
	const sql = `
		SELECT pid
		FROM (SELECT pid, state <> 'idle' AS busy, bool_or(state <> 'idle') OVER () AS some_are
		      FROM pg_stat_activity
		      WHERE application_name = 'eos-proxy') t
		WHERE busy OR NOT some_are
		ORDER BY pid`
	err = n.session(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			return err
		}
		pids, err = pgx.CollectRows(rows, pgx.RowTo[int])
		return err
	})
	return pids, err
}

// backend returns one of them; 0 if there is none.
func (n *Nemesis) backend(ctx context.Context, pick uint64) int {
	pids, err := n.backends(ctx)
	if err != nil || len(pids) == 0 {
		return 0
	}
	pid := pids[pick%uint64(len(pids))]
	if !n.cfg.Cluster.Postgres.Backend(pid) { // the number may be somebody else's by now
		return 0
	}
	return pid
}
