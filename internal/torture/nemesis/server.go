package nemesis

import (
	"context"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// What is done to PostgreSQL's processes.
var serverFaults = []*fault{
	{
		name: "kill-postgres", weight: 2, least: 30 * time.Second, most: 30 * time.Second, // until it is back, at most
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return "postmaster", one(n.cfg.Cluster.Postgres.Kill() && n.awaitServer(ctx))
		},
	},
	{
		name: "restart-postgres-immediate", weight: 1, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return "postmaster", one(n.cfg.Cluster.Postgres.Stop(syscall.SIGQUIT) && n.awaitServer(ctx))
		},
	},
	{
		name: "restart-postgres-fast", weight: 1, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return "postmaster", one(n.cfg.Cluster.Postgres.Stop(syscall.SIGINT) && n.awaitServer(ctx))
		},
	},
	{
		// The postmaster then ends all others, and recovers.
		name: "kill-backend", weight: 2, least: 30 * time.Second, most: 30 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			pid := n.backend(ctx, s.pick)
			return strconv.Itoa(pid), one(pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil && n.awaitServer(ctx))
		},
	},
	{
		name: "stop-backend", weight: 4, least: 500 * time.Millisecond, most: 6 * time.Second,
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
		name: "terminate-backends", weight: 8, least: 5 * time.Second, most: 5 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			const sql = `
				SELECT count(*)
				FROM (SELECT pg_terminate_backend(pid) AS done
				      FROM pg_stat_activity
				      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
				      ORDER BY md5(pid::text || $1)
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

// awaitServer waits until the server takes connections again, or ctx ends. It returns true: the fault was done.
func (n *Nemesis) awaitServer(ctx context.Context) bool {
	for sleep(ctx, pollTime) {
		if conn, err := n.cfg.Cluster.Postgres.Connect(ctx); err == nil {
			hangUp(conn)
			break
		}
	}
	return true
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

// backends returns the processes of the proxies' connections.
func (n *Nemesis) backends(ctx context.Context) (pids []int, err error) {
	const sql = `
		SELECT pid
		FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
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
