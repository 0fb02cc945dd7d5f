package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Records leave in two steps. Their batches are read, the positions of their
// producers are saved, and the start of the log is raised behind them, in one
// short SQL transaction that holds the partition for its last statement only.
// What lies below the start is nobody's to read any more; Trim deletes it later,
// bit by bit and without a lock that an append waits for. A request that is
// looked up by its identity is found until then.

// retainInterval is how long retention rests when it has looked at all
// partitions. A start that moved more often would only leave more dead rows.
const (
	retainInterval = 5 * time.Second
	retainLease    = 30 * time.Second
	partitionsPage = 1000
)

// Batches that one step takes: first, so that little is read where little is
// old, and at the most.
const (
	firstStep = 500
	maxStep   = 10_000
)

// Retain raises the starts of logs that hold what their topics keep no longer
// (R1), of the partitions that are due, one page of them a call. It reports
// whether there are more to look at now. Proxies share the work: at any time
// one does it.
func (s *Store) Retain(ctx context.Context) (more bool, err error) {
	return s.onDuties(ctx, duty{name: "retention", interval: retainInterval, lease: retainLease, turn: s.retainPage})
}

// retainPage is a turn of Retain. A log that cannot be raised holds up none
// behind it.
func (s *Store) retainPage(ctx context.Context, place string) (next string, err error) {
	after, err := idAt(place)
	if err != nil {
		return "", err
	}
	logs, last, err := s.logsAfter(ctx, after)
	if err != nil {
		return place, err
	}
	var errs []error
	for _, l := range logs {
		_, err := s.raise(ctx, l)
		switch {
		case IsAway(err):
			return place, err
		case err != nil && !isHeld(err): // what is held waits for the next round
			errs = append(errs, fmt.Errorf("partition %d: %w", l.partition, err))
		}
	}
	if last == 0 {
		return "", errors.Join(errs...)
	}
	return place64(last), errors.Join(errs...)
}

// retained is a log, and what decides which of its batches leave.
type retained struct {
	partition int64
	start     int64 // its log start offset
	eos.Retention
	before   int64     // batches that end behind it stay
	notSince time.Time // batches that were appended at that time or later stay; zero: all may leave
}

// logsAfter returns the logs of a page of partitions, by id, whose oldest batch
// has expired, and the last id of the page; 0 when it is the last page.
func (s *Store) logsAfter(ctx context.Context, after int64) (logs []retained, last int64, err error) {
	const sql = `
		SELECT p.partition_id, p.log_start_offset, t.retention_ms, t.retention_bytes,
		       COALESCE((EXTRACT(EPOCH FROM clock_timestamp() - b.appended_at) * 1000)::bigint, -1),
		       COALESCE(e.end_bytes - b.end_bytes, -1)
		FROM (SELECT partition_id, topic_id, log_start_offset
		      FROM partitions
		      WHERE partition_id > $1
		      ORDER BY partition_id LIMIT $2) p
		CROSS JOIN LATERAL (SELECT retention_ms, retention_bytes
		                    FROM topics
		                    WHERE topic_id = p.topic_id LIMIT 1) t
		LEFT JOIN LATERAL (SELECT appended_at, end_bytes
		                   FROM batches
		                   WHERE log_id = p.partition_id AND base_offset >= p.log_start_offset
		                   ORDER BY base_offset LIMIT 1) b ON t.retention_ms >= 0 OR t.retention_bytes >= 0
		LEFT JOIN LATERAL (SELECT end_bytes
		                   FROM batches
		                   WHERE log_id = p.partition_id
		                   ORDER BY base_offset DESC LIMIT 1) e ON t.retention_bytes >= 0
		ORDER BY p.partition_id`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		logs, last = nil, 0
		rows, err := conn.Query(ctx, sql, after, partitionsPage)
		if err != nil {
			return err
		}
		l := retained{before: eos.MaxInteger}
		var oldest eos.Oldest
		n := 0
		err = each(rows, []any{&l.partition, &l.start, &l.MS, &l.Bytes, &oldest.AgeMS, &oldest.Behind}, func() {
			n++
			last = l.partition
			if l.expired(oldest) {
				logs = append(logs, l)
			}
		})
		if n < partitionsPage {
			last = 0
		}
		return err
	})
	return logs, last, err
}

// expired is that of the rule; a log without batches has no age, and one whose
// size is not asked for nothing behind.
func (l *retained) expired(b eos.Oldest) bool {
	r := l.Retention
	if b.Behind < 0 {
		r.Bytes = -1
	}
	return r.Expired(b)
}

// raise raises the start of a log behind all batches that leave. It reports
// whether it has done so, be it behind a part of them.
func (s *Store) raise(ctx context.Context, l retained) (raised bool, err error) {
	for step := firstStep; ; step = min(2*step, maxStep) {
		g, err := s.leaving(ctx, l, step)
		if err != nil || g.batches == 0 {
			return raised, err
		}
		if err := s.raiseBehind(ctx, l, g); err != nil {
			return raised, err
		}
		s.totals.removed(g)
		raised = true
		if g.batches < step {
			return raised, nil
		}
		l.start = g.to
	}
}

// leaving is what leaves a log in one step.
type leaving struct {
	batches   int
	from, to  int64 // offsets
	fromBytes int64 // log_start_bytes
	bytes     int64 // end_bytes of the last batch
	next      map[scopeKey]position
}

// position is where a producer stands in a scope.
type position struct {
	nextSequence int64
	appendedAt   time.Time
}

// leaving reads up to limit of the oldest batches of a log, and stops at the
// first that stays.
func (s *Store) leaving(ctx context.Context, l retained, limit int) (g leaving, err error) {
	const sql = `
		SELECT b.base_offset + b.record_count, b.end_bytes, b.appended_at,
		       (EXTRACT(EPOCH FROM clock_timestamp() - b.appended_at) * 1000)::bigint,
		       e.end_bytes - b.end_bytes,
		       COALESCE(b.producer_id, -1), COALESCE(b.scope_id, 0), COALESCE(b.base_sequence + b.request_count, 0),
		       (SELECT log_start_bytes FROM partitions WHERE partition_id = $1)
		FROM (SELECT end_bytes
		      FROM batches
		      WHERE log_id = $1
		      ORDER BY base_offset DESC LIMIT 1) e
		CROSS JOIN LATERAL (SELECT base_offset, record_count, end_bytes, appended_at,
		                           producer_id, scope_id, base_sequence, request_count
		                    FROM batches
		                    WHERE log_id = $1 AND base_offset >= $2
		                    ORDER BY base_offset LIMIT $3) b
		ORDER BY b.base_offset`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		g = leaving{from: l.start, next: map[scopeKey]position{}}
		rows, err := conn.Query(ctx, sql, l.partition, l.start, limit)
		if err != nil {
			return err
		}
		var to, bytes, fromBytes int64
		var at position
		var oldest eos.Oldest
		var key scopeKey
		stays := false
		columns := []any{
			&to, &bytes, &at.appendedAt, &oldest.AgeMS, &oldest.Behind, &key.producer, &key.scope, &at.nextSequence, &fromBytes,
		}
		return each(rows, columns, func() {
			if stays = stays || !l.leaves(to, at.appendedAt, oldest); stays {
				return
			}
			g.batches++
			g.to, g.bytes, g.fromBytes = to, bytes, fromBytes
			if key.producer != eos.NoProducer {
				g.next[key] = position{max(at.nextSequence, g.next[key].nextSequence), latest(at.appendedAt, g.next[key].appendedAt)}
			}
		})
	})
	return g, err
}

func (l *retained) leaves(end int64, appendedAt time.Time, b eos.Oldest) bool {
	return end <= l.before && (l.notSince.IsZero() || appendedAt.Before(l.notSince)) && l.Expired(b)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

const (
	// For what nobody is told of, or what looks the same when it is done again
	// after a crash: so nobody waits for the disk. It is not for the start of a log,
	// which each reader is told: that must not fall again.
	sqlNeedNotLast = `SET LOCAL synchronous_commit = off`
	// In the order of their key, as all do that write several.
	sqlSavePositions = `
		INSERT INTO positions (producer_id, scope_id, next_sequence, appended_at)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[])
		ON CONFLICT (producer_id, scope_id) DO UPDATE
		SET next_sequence = excluded.next_sequence, appended_at = GREATEST(positions.appended_at, excluded.appended_at)
		WHERE positions.next_sequence < excluded.next_sequence`
	sqlTrimLater = `
		INSERT INTO trims (log_id, from_offset, to_offset)
		VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`
	// Appends wait for this row, so it is the last one before COMMIT.
	sqlRaise = `
		UPDATE partitions
		SET log_start_offset = $2, log_start_bytes = $3
		WHERE partition_id = $1 AND log_start_offset < $2`
)

// raiseBehind raises the start of a log behind what leaves, on disk before a
// reader sees it. It may run twice, and beside another proxy's: a start and a
// position only rise.
func (s *Store) raiseBehind(ctx context.Context, l retained, g leaving) error {
	keys := slices.SortedFunc(maps.Keys(g.next), func(a, b scopeKey) int {
		return cmp.Or(cmp.Compare(a.producer, b.producer), cmp.Compare(a.scope, b.scope))
	})
	n := len(keys)
	producers, scopes, sequences, times := make([]int64, n), make([]int64, n), make([]int64, n), make([]time.Time, n)
	for i, k := range keys {
		producers[i], scopes[i] = k.producer, k.scope
		sequences[i], times[i] = g.next[k].nextSequence, g.next[k].appendedAt
	}
	return s.write(ctx, func(ctx context.Context, tx *tx) error {
		batch := &pgx.Batch{}
		if n > 0 {
			batch.Queue(sqlSavePositions, producers, scopes, sequences, times)
		}
		batch.Queue(sqlTrimLater, l.partition, g.from, g.to)
		batch.Queue(sqlRaise, l.partition, g.to, g.bytes)
		err := tx.SendBatch(ctx, batch).Close()
		crash.At(crash.Retention)
		return err
	})
}
