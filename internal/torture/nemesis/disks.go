package nemesis

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// What is done to PostgreSQL's disks.
var diskFaults = []*fault{
	{
		name: "slow-disk", database: true, weight: 3, least: time.Second, most: 6 * time.Second,
		can: func(n *Nemesis) string {
			if !n.cfg.Cluster.Postgres.WAL.CanBeSlow() {
				return "no disk that can be slow (see what is missing)"
			}
			return ""
		},
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return "write-ahead log", oneIf(n.cfg.Cluster.Postgres.WAL.Slow(ctx) == nil)
		},
	},
	{
		name: "full-data-disk", database: true, weight: 1, least: time.Second, most: 6 * time.Second,
		can: func(n *Nemesis) string { return noDisk(n.cfg.Cluster.Postgres.Data == nil) },
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			return "data", oneIf(n.cfg.Cluster.Postgres.Data.Fill(ctx) == nil)
		},
	},
	{
		// PostgreSQL panics when it needs a segment, and does not recover before there is room.
		name: "full-wal-disk", database: true, weight: 1, least: time.Second, most: 5 * time.Second,
		can: func(n *Nemesis) string { return noDisk(n.cfg.Cluster.Postgres.WAL == nil) },
		do: func(ctx context.Context, n *Nemesis, _ step) (string, int) {
			filled := make(chan error, 1)
			go func() { filled <- n.cfg.Cluster.Postgres.WAL.Fill(ctx) }()
			// What segments it has ready it uses up.
			_ = n.session(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
				for err == nil && wait.For(ctx, pollTime) {
					_, err = conn.Exec(ctx, "SELECT pg_switch_wal()")
				}
				return err
			})
			return "write-ahead log", oneIf(<-filled == nil)
		},
	},
}

func noDisk(missing bool) string {
	if missing {
		return "no small disk (see what is missing)"
	}
	return ""
}
