package store

import (
	"context"
	"runtime"
	"sync"

	"github.com/jackc/pgx/v5"
)

// sqlHighWatermark is the high watermark of partition p in a statement.
const sqlHighWatermark = `GREATEST(p.log_start_offset, COALESCE((
	SELECT b.base_offset + b.record_count
	FROM batches b
	WHERE b.log_id = p.partition_id
	ORDER BY b.base_offset DESC LIMIT 1), 0))`

// sqlSpan tells where a partition's log begins and ends; no row when it is gone.
const sqlSpan = `
	SELECT p.log_start_offset,
	       ` + sqlHighWatermark + `
	FROM partitions p
	WHERE p.partition_id = $1`

// prober asks where partitions begin and end. Who asks about a partition while
// a query about it is running shares the next query, which begins after that:
// an answer is never older than the question (F1), and a hundred followers of
// a partition ask about once.
type prober struct {
	mu   sync.Mutex
	logs map[int64]*queue // by partition id; guarded by mu

	running sync.WaitGroup // of goroutines that query, also for who has given up meanwhile
}

// queue is who asks about one partition, from the first query to the last.
type queue struct {
	next *probe // the query that has not begun, to be joined; nil when nobody wants one; guarded by the prober's mu
}

// probe is one query and its answer.
type probe struct {
	done                    chan struct{} // closed when the answer is here
	logStart, highWatermark int64         // written before done is closed
	err                     error         // written before done is closed
}

// yields is how often a query lets others run before it begins, so that those
// who are about to ask join.
const yields = 3

// span returns where a partition's log begins and ends at a moment after the
// call, or pgx.ErrNoRows when the partition is gone.
func (s *Store) span(ctx context.Context, log int64) (logStart, highWatermark int64, err error) {
	p := &s.prober
	p.mu.Lock()
	q := p.logs[log]
	first := q == nil
	if first {
		q = &queue{}
		p.logs[log] = q
	}
	if q.next == nil {
		q.next = &probe{done: make(chan struct{})}
	}
	mine := q.next
	p.mu.Unlock()
	if first {
		// Not on the stack of the one who asks: it would grow to four times its
		// size and stay so, for as long as a fetch waits (F4). It ends with the
		// queries of those who have asked.
		p.running.Go(func() { s.probe(context.WithoutCancel(ctx), log, q) })
	}
	select {
	case <-mine.done:
		return mine.logStart, mine.highWatermark, mine.err
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

// probe runs queries for those who ask, until nobody does.
func (s *Store) probe(ctx context.Context, log int64, q *queue) {
	for {
		for range yields {
			runtime.Gosched()
		}
		s.prober.mu.Lock()
		now := q.next
		if q.next = nil; now == nil {
			delete(s.prober.logs, log)
		}
		s.prober.mu.Unlock()
		if now == nil {
			return
		}
		now.err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, sqlSpan, log).Scan(&now.logStart, &now.highWatermark)
		})
		close(now.done)
	}
}
