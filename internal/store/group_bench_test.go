package store

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// BenchmarkHeartbeats polls for a thousand members with the shortest sessions,
// in ten groups that commit nothing, while a transaction is held open that keeps
// dead rows from being removed. It tells what polls leave behind.
func BenchmarkHeartbeats(b *testing.B) {
	const groups, members = 10, 100
	url := newDatabase(b)
	s := newStoreWith(b, url, Config{PoolSize: 8})
	mustTopic(b, s, "t", members)
	conn, held := newConn(b, url), newConn(b, url)
	epochs := make([]atomic.Int64, groups*members)
	name := func(i int) (string, string) { return fmt.Sprint("g", i%groups), fmt.Sprint("m", i/groups) }
	poll := func(i int) error {
		group, id := name(i)
		p, err := s.Poll(b.Context(), &Poll{Group: group, Member: id, Epoch: epochs[i].Load()})
		if err == nil {
			epochs[i].Store(p.Epoch)
		}
		return err
	}
	start := time.Now()
	for i := range epochs {
		group, id := name(i)
		state, err := s.Join(b.Context(), group, eos.Join{MemberID: id, Topics: []string{"t"}, SessionTimeout: eos.MinSessionTimeout})
		if err != nil {
			b.Fatal(err)
		}
		epochs[i].Store(state.Epoch)
	}
	joined := time.Since(start)
	for mustGet[int](b, conn, `SELECT count(*) FROM group_partitions WHERE owner_id IS DISTINCT FROM target_id OR revoking`) > 0 {
		for i := range epochs {
			if err := poll(i); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Logf("%d joins took %v, and with the polls until all had settled %v", len(epochs), joined, time.Since(start))
	mustExec(b, conn, "VACUUM FULL members")
	mustExec(b, held, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	mustGet[int](b, held, "SELECT count(*) FROM members")
	wal := mustGet[string](b, conn, "SELECT pg_current_wal_insert_lsn()::text")
	size := mustGet[int64](b, conn, "SELECT pg_relation_size('members')")

	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := poll(int(next.Add(1)) % len(epochs)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(mustGet[float64](b, conn, "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8", wal)/n, "WAL-B/op")
	b.ReportMetric(float64(mustGet[int64](b, conn, "SELECT pg_relation_size('members')")-size), "members-growth-B")
	b.ReportMetric(n/b.Elapsed().Seconds(), "polls/s")
	mustExec(b, held, "ROLLBACK")
	mustWait(b, conn, `SELECT n_tup_upd > 0 OR $1 < 5 FROM pg_stat_user_tables WHERE relname = 'members'`, b.Elapsed().Seconds())
	b.Logf("%d polls in %v; updates of members: %s", b.N, b.Elapsed(),
		mustGet[string](b, conn, `SELECT format('%s, %s of them HOT', n_tup_upd, n_tup_hot_upd) FROM pg_stat_user_tables WHERE relname = 'members'`))
}

// BenchmarkRebalance lets a hundred members join a group over a thousand
// partitions, each polling until nothing moves any more.
func BenchmarkRebalance(b *testing.B) {
	const members, partitions = 100, 1000
	url := newDatabase(b)
	stores := []*Store{newStore(b, url), newStore(b, url)}
	mustTopic(b, stores[0], "t", partitions)
	conn := newConn(b, url)
	round := 0
	for b.Loop() {
		round++
		group := fmt.Sprint("g", round)
		var wg sync.WaitGroup
		stable := make(chan struct{})
		for i := range members {
			wg.Go(func() {
				s, id := stores[i%2], fmt.Sprint("m", i)
				state, err := s.Join(b.Context(), group, eos.Join{MemberID: id, Topics: []string{"t"}})
				if err != nil {
					b.Error(err)
					return
				}
				epoch := state.Epoch
				for {
					p, err := s.Poll(b.Context(), &Poll{Group: group, Member: id, Epoch: epoch, Heartbeat: true})
					if err != nil {
						b.Error(err)
						return
					}
					epoch = p.Epoch
					select {
					case <-stable:
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			})
		}
		const settled = `
			SELECT count(*) = $2
			FROM group_partitions
			WHERE group_id = $1 AND owner_id = target_id AND NOT revoking AND (SELECT count(*) FROM members WHERE group_id = $1) = $3`
		for !mustGet[bool](b, conn, settled, group, partitions, members) {
			<-time.After(10 * time.Millisecond)
		}
		close(stable)
		wg.Wait()
	}
}
