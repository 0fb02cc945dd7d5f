package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pollingGroups  = 10
	pollingMembers = 100 // of each group, with a partition each
	// pollingSession is the shortest that a member may have: what polls leave behind, they leave as often as can be.
	pollingSession = 6 * time.Second
	pollingWait    = time.Second // of a poll, for records that never come
	settleTime     = time.Minute // for all to get their partition
)

// polling measures what 1,000 members of groups that poll leave in the database while another session holds a
// transaction open, in MiB of the tables of groups. There is nothing to read. A unit is a poll.
func polling(ctx context.Context, b *bench) (*sample, error) {
	a, err := b.newAside(ctx)
	if err != nil {
		return nil, err
	}
	s, err := pollingOn(ctx, b, a)
	return s, errors.Join(err, a.end(ctx))
}

func pollingOn(ctx context.Context, b *bench, a *aside) (_ *sample, err error) {
	topic, err := b.newTopicWith(ctx, a.proxy.addr, fmt.Sprintf(`{"partition_count":%d}`, pollingMembers))
	if err != nil {
		return nil, err
	}
	p := &pollers{addr: a.proxy.addr, subscription: fmt.Sprintf(
		`{"topics":[%q],"session_timeout_ms":%d}`, topic, pollingSession.Milliseconds())}
	if err := p.settle(ctx); err != nil { // partitions that move are not what is measured
		return nil, err
	}
	conn, err := pgx.Connect(ctx, b.postgres.database(a.name))
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
	for _, sql := range []string{`VACUUM FULL members`, `VACUUM members, groups, group_partitions`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	open, err := b.postgres.hold(ctx, a.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, open.end(ctx)) }()
	before, err := readGroupTables(ctx, conn)
	if err != nil {
		return nil, err
	}
	s, err := b.metered(ctx, a.proxy, func() (*sample, error) {
		return p.poll(ctx, b.cfg.Members, func() bool { return false })
	})
	if err != nil {
		return nil, err
	}
	after, err := readGroupTables(ctx, conn)
	if err != nil {
		return nil, err
	}
	s.set(float64(after.Bytes-before.Bytes) / (1 << 20))
	s.notes = p.notes(s, before, after)
	return s, nil
}

// pollers are the members of all groups.
type pollers struct {
	addr         string
	subscription string
	members      [pollingGroups * pollingMembers]*member // each owned by its connection
	settled      atomic.Int64                            // how many have their partition
	rejoined     atomic.Int64                            // how often one was told that it is none any more
}

// settle lets all join, and poll until each has a partition.
func (p *pollers) settle(ctx context.Context) error {
	all := func() bool { return p.settled.Load() == int64(len(p.members)) }
	if _, err := p.poll(ctx, settleTime, all); err != nil {
		return err
	}
	if !all() {
		return fmt.Errorf("%d of %d members have their partition after %v", p.settled.Load(), len(p.members), settleTime)
	}
	return nil
}

// poll polls with all members, each on a connection of its own, until the time is over.
func (p *pollers) poll(ctx context.Context, length time.Duration, over func() bool) (*sample, error) {
	fields := fmt.Sprintf(`,"wait_ms":%d`, pollingWait.Milliseconds())
	return together(ctx, p.addr, len(p.members), 4096, length, func(c *conn, i int, until time.Time, s *sample) error {
		m := p.members[i]
		if m == nil {
			m = newMember(c, p.addr, fmt.Sprintf("g%d", i%pollingGroups), fmt.Sprintf("m%d", i))
			if err := m.join(p.subscription); err != nil {
				return err
			}
			p.members[i] = m
		}
		m.conn = c
		for had := 0; time.Now().Before(until) && !over(); s.units++ {
			start := time.Now()
			if err := p.pollOnce(m, fields); err != nil {
				return err
			}
			s.latency.add(time.Since(start))
			if has := min(len(m.partitions), 1); has != had {
				p.settled.Add(int64(has - had))
				had = has
			}
		}
		return nil
	})
}

// pollOnce polls, or joins again when the member is told that it is none any more: a machine that is busy with
// something else for a whole session does that.
func (p *pollers) pollOnce(m *member, fields string) error {
	_, err := m.poll(fields)
	var refused *statusError
	if errors.As(err, &refused) && (refused.status == 404 || refused.status == 412) {
		p.rejoined.Add(1)
		return m.join(p.subscription)
	}
	return err
}

// groupTables is what the database says of the tables of groups.
type groupTables struct{ Bytes, Updated, HOT, Dead, Written int64 }

// readGroupTables reads it. The counts come from the statistics, which lag behind by a second.
func readGroupTables(ctx context.Context, conn *pgx.Conn) (t groupTables, err error) {
	const sql = `
		SELECT sum(pg_total_relation_size(relid))::bigint, sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint,
		       sum(n_dead_tup)::bigint, sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint
		FROM pg_stat_user_tables
		WHERE relname IN ('members', 'groups', 'group_partitions')`
	err = conn.QueryRow(ctx, sql).Scan(&t.Bytes, &t.Updated, &t.HOT, &t.Dead, &t.Written)
	return t, err
}

func (p *pollers) notes(s *sample, before, after groupTables) []string {
	updated, grown := after.Updated-before.Updated, after.Bytes-before.Bytes
	const mebi = 1 << 20
	return []string{
		fmt.Sprintf("%d polls of %d members in %d groups, sessions of %v, in %v; %d joined again",
			s.units, len(p.members), pollingGroups, pollingSession, s.took.Round(time.Second), p.rejoined.Load()),
		fmt.Sprintf("%d rows updated (%d HOT), %d other writes; %d dead rows; the tables grew by %.0f bytes an update",
			updated, after.HOT-before.HOT, after.Written-before.Written-updated, after.Dead-before.Dead,
			float64(grown)/float64(max(updated, 1))),
		fmt.Sprintf("%.0f bytes of WAL a poll, %.0f an update; tables of groups: %.1f MiB before, %.1f MiB after",
			float64(s.cost.WAL)/float64(s.units), float64(s.cost.WAL)/float64(max(updated, 1)),
			float64(before.Bytes)/mebi, float64(after.Bytes)/mebi),
	}
}

func membersWorks() []work {
	return []work{{
		name: "members", what: "growth of the tables of groups while 1,000 members poll beside an open transaction",
		unit: "MiB", database: true, flag: "--members", once: true, run: polling,
	}}
}
