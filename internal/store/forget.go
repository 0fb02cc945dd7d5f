package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// What nobody needs any more beside the records is looked for in the order of
// its keys, a page at a time and round after round, so that what has to stay
// costs little, however much it is, and holds up nothing behind it.
const (
	forgetInterval = 10 * time.Second
	forgetLease    = 30 * time.Second
	forgetPage     = 1000
	pagesATurn     = 5
	// Where a round reads all that there are, and it is kept for days.
	slowForgetInterval = 10 * time.Minute
)

// A page is the rows behind a place, a text, up to a limit; what is forgotten of
// it is deleted. The statement returns the place of its last row, how many rows
// it has, whether all behind it are too young to be forgotten, and how many were
// deleted.
const (
	// Husks of requests that need not be recognised any more, and of partitions
	// that are gone. Within a log the young ones are behind the old ones.
	sqlForgetHusks = `
		WITH page AS (SELECT b.log_id, b.base_offset,
		                     (` + sqlKeyIsYoung + `) AS young,
		                     b.request_parts IS NOT NULL AND ` + sqlPartsLeft + ` AS parts_left,
		                     (SELECT true FROM partitions p WHERE p.partition_id = -b.log_id LIMIT 1) IS NOT NULL AS there
		              FROM batches b
		              WHERE b.log_id < 0
		                AND (b.log_id, b.base_offset) > (COALESCE(NULLIF(split_part($1, ' ', 1), ''), '-9223372036854775808')::bigint,
		                                                 COALESCE(NULLIF(split_part($1, ' ', 2), ''), '-1')::bigint)
		              ORDER BY b.log_id, b.base_offset LIMIT $2),
		     gone AS (DELETE FROM batches b
		              USING page
		              WHERE b.log_id = page.log_id AND b.base_offset = page.base_offset
		                AND (NOT there OR NOT young AND NOT parts_left)
		              RETURNING 1)
		SELECT l.log_id || ' ' || CASE WHEN l.young AND l.there THEN 9223372036854775807 ELSE l.base_offset END,
		       (SELECT count(*) FROM page), false, (SELECT count(*) FROM gone)
		FROM (SELECT log_id, base_offset, young, there FROM page ORDER BY log_id DESC, base_offset DESC LIMIT 1) l`
	// Fates that are seven days old, of which no record is kept (T8). Refs are in
	// the order of time but for those that proxies have in reserve: a young one
	// says nothing of the next, a page of them does.
	sqlForgetTransactions = `
		WITH page AS (SELECT x.transaction_ref, x.began_at,
		                     x.state <> 'ongoing' AND x.ended_at < clock_timestamp() - interval '7 days'
		                     AND (SELECT true
		                          FROM json_to_recordset(x.appended::json)
		                               AS a (topic text, partition integer, base_offset bigint, record_count bigint)
		                          CROSS JOIN LATERAL (SELECT topic_id
		                                              FROM topics
		                                              WHERE topic = a.topic AND created_at <= x.ended_at LIMIT 1) t
		                          CROSS JOIN LATERAL (SELECT log_start_offset
		                                              FROM partitions
		                                              WHERE topic_id = t.topic_id AND partition = a.partition LIMIT 1) p
		                          WHERE p.log_start_offset < a.base_offset + a.record_count LIMIT 1) IS NULL AS forget
		              FROM transactions x
		              WHERE x.transaction_ref > COALESCE(NULLIF($1, ''), '0')::bigint
		              ORDER BY x.transaction_ref LIMIT $2),
		     gone AS (DELETE FROM transactions x
		              WHERE x.transaction_ref = ANY (ARRAY (SELECT transaction_ref FROM page WHERE forget))
		              RETURNING 1),
		     requests AS (DELETE FROM staged_requests r
		                  WHERE r.transaction_ref = ANY (ARRAY (SELECT transaction_ref FROM page WHERE forget)))
		SELECT l.transaction_ref::text, (SELECT count(*) FROM page),
		       (SELECT bool_and(began_at > clock_timestamp() - interval '7 days') FROM page),
		       (SELECT count(*) FROM gone)
		FROM (SELECT transaction_ref FROM page ORDER BY transaction_ref DESC LIMIT 1) l`
	// Keys of registrations that are seven days old.
	sqlForgetRegistrations = `
		WITH page AS (SELECT idempotency_key, created_at < clock_timestamp() - interval '7 days' AS forget
		              FROM registrations
		              WHERE idempotency_key > $1
		              ORDER BY idempotency_key LIMIT $2),
		     gone AS (DELETE FROM registrations r
		              WHERE r.idempotency_key = ANY (ARRAY (SELECT idempotency_key FROM page WHERE forget))
		              RETURNING 1)
		SELECT l.idempotency_key, (SELECT count(*) FROM page), false, (SELECT count(*) FROM gone)
		FROM (SELECT idempotency_key FROM page ORDER BY idempotency_key DESC LIMIT 1) l`
	// Positions in topics that were deleted; as long as they say when their
	// producer was seen.
	sqlForgetPositions = `
		WITH page AS (SELECT o.producer_id, o.scope_id,
		                     o.appended_at < clock_timestamp() - interval '7 days'
		                     AND (SELECT true FROM topics WHERE topic_id = o.scope_id LIMIT 1) IS NULL
		                     AND (SELECT true FROM partitions WHERE partition_id = o.scope_id LIMIT 1) IS NULL AS forget
		              FROM positions o
		              WHERE (o.producer_id, o.scope_id) > (COALESCE(NULLIF(split_part($1, ' ', 1), ''), '0')::bigint,
		                                                   COALESCE(NULLIF(split_part($1, ' ', 2), ''), '0')::bigint)
		              ORDER BY o.producer_id, o.scope_id LIMIT $2),
		     gone AS (DELETE FROM positions o
		              USING page
		              WHERE o.producer_id = page.producer_id AND o.scope_id = page.scope_id AND forget
		              RETURNING 1)
		SELECT l.producer_id || ' ' || l.scope_id, (SELECT count(*) FROM page), false, (SELECT count(*) FROM gone)
		FROM (SELECT producer_id, scope_id FROM page ORDER BY producer_id DESC, scope_id DESC LIMIT 1) l`
	// Offsets that groups committed for partitions that are gone: ids of
	// partitions are never used again. What a commit holds stays until the next
	// round.
	sqlForgetOffsets = `
		WITH page AS (SELECT o.group_id, o.partition_id
		              FROM committed_offsets o
		              WHERE (o.group_id, o.partition_id) > (split_part($1, ' ', 1),
		                                                    COALESCE(NULLIF(split_part($1, ' ', 2), ''), '0')::bigint)
		              ORDER BY o.group_id, o.partition_id LIMIT $2),
		     dead AS (SELECT o.group_id, o.partition_id
		              FROM page
		              JOIN committed_offsets o ON o.group_id = page.group_id AND o.partition_id = page.partition_id
		              WHERE (SELECT true FROM partitions p WHERE p.partition_id = page.partition_id LIMIT 1) IS NULL
		              FOR UPDATE OF o SKIP LOCKED),
		     gone AS (DELETE FROM committed_offsets o
		              USING dead
		              WHERE o.group_id = dead.group_id AND o.partition_id = dead.partition_id
		              RETURNING 1)
		SELECT l.group_id || ' ' || l.partition_id, (SELECT count(*) FROM page), false, (SELECT count(*) FROM gone)
		FROM (SELECT group_id, partition_id FROM page ORDER BY group_id DESC, partition_id DESC LIMIT 1) l`
)

// Forgotten counts what a call of ForgetOld has deleted, also where it failed.
type Forgotten struct{ Producers, Transactions, Registrations, Positions, Offsets, Husks int }

// ForgetOld deletes, some pages of each a call, what nobody needs any more:
// identities of requests whose records are gone (P10), finished transactions
// (T8), keys of registrations, producers that are idle (P8), and offsets that
// groups committed in topics that are deleted. One that fails holds up none of
// the others. It reports whether there are more to look at now.
func (s *Store) ForgetOld(ctx context.Context) (gone Forgotten, more bool, err error) {
	more, err = s.onDuties(ctx,
		s.forgetting("husks", forgetInterval, s.forgetBy(sqlForgetHusks), &gone.Husks),
		s.forgetting("transactions", forgetInterval, s.forgetBy(sqlForgetTransactions), &gone.Transactions),
		s.forgetting("registrations", slowForgetInterval, s.forgetBy(sqlForgetRegistrations), &gone.Registrations),
		s.forgetting("positions", slowForgetInterval, s.forgetBy(sqlForgetPositions), &gone.Positions),
		s.forgetting("producers", slowForgetInterval, s.forgetProducers, &gone.Producers),
		s.forgetting("offsets", slowForgetInterval, s.forgetBy(sqlForgetOffsets), &gone.Offsets),
	)
	return gone, more, err
}

// forgetting is the duty to forget, some pages a turn; all is added to what is
// gone.
func (s *Store) forgetting(name string, interval time.Duration, forget forgetter, all *int) duty {
	return duty{name, interval, forgetLease, func(ctx context.Context, place string) (string, error) {
		for range pagesATurn {
			next, gone, err := forget(ctx, place)
			if err != nil {
				return place, err
			}
			*all += gone
			if place = next; next == "" {
				break
			}
		}
		return place, nil
	}}
}

// forgetter forgets what it may of the page behind a place, and returns the
// place of the next one, and how many rows are gone.
type forgetter func(ctx context.Context, place string) (next string, gone int, err error)

// forgetBy returns what forgets by one of the statements above.
func (s *Store) forgetBy(sql string) forgetter {
	return func(ctx context.Context, place string) (string, int, error) { return s.forgetPage(ctx, sql, place) }
}

func (s *Store) forgetPage(ctx context.Context, sql, place string) (next string, gone int, err error) {
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		next = ""
		rows, err := tx.Query(ctx, sql, place, forgetPage)
		if err != nil {
			return err
		}
		var last string
		var n int
		var young bool
		return each(rows, []any{&last, &n, &young, &gone}, func() {
			if n == forgetPage && !young {
				next = last
			}
		})
	})
	return next, gone, err
}

// forgetProducers forgets producers of the page behind a place that cannot be
// fenced, were registered an hour ago, have no request that is kept, and have
// appended nothing for seven days. Whoever loads a producer to append holds its
// row: so what is read after the locks is all that there is of it.
func (s *Store) forgetProducers(ctx context.Context, place string) (next string, gone int, err error) {
	const idle = `
		SELECT k.producer_id
		FROM unnest($1::bigint[]) AS k (producer_id)
		WHERE (SELECT true FROM batches b WHERE b.producer_id = k.producer_id LIMIT 1) IS NULL
		  AND (SELECT true FROM positions o
		       WHERE o.producer_id = k.producer_id AND o.appended_at > clock_timestamp() - interval '7 days' LIMIT 1) IS NULL`
	const dropPositions = `DELETE FROM positions WHERE producer_id = ANY ($1)`
	const drop = `DELETE FROM producers WHERE producer_id = ANY ($1)`
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		var candidates []int64
		candidates, next, err = lockForgettable(ctx, tx, place)
		if err != nil || len(candidates) == 0 {
			gone = 0
			return err
		}
		rows, err := tx.Query(ctx, idle, candidates)
		if err != nil {
			return err
		}
		candidates, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		gone = len(candidates)
		if err != nil || gone == 0 {
			return err
		}
		if _, err := tx.Exec(ctx, dropPositions, candidates); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, drop, candidates)
		return err
	})
	return next, gone, err
}

// lockForgettable locks the producers of the page behind a place that cannot be
// fenced, were registered an hour ago, and that nobody holds, and returns the
// place of the next page.
func lockForgettable(ctx context.Context, tx *tx, place string) (ids []int64, next string, err error) {
	const page = `
		SELECT producer_id,
		       transactional_id IS NULL AND registered_at < clock_timestamp() - interval '1 hour'
		FROM producers
		WHERE producer_id > COALESCE(NULLIF($1, ''), '0')::bigint
		ORDER BY producer_id LIMIT $2`
	const lock = `
		SELECT producer_id
		FROM producers
		WHERE producer_id = ANY ($1)
		ORDER BY producer_id
		FOR UPDATE SKIP LOCKED`
	rows, err := tx.Query(ctx, page, place, forgetPage)
	if err != nil {
		return nil, "", err
	}
	var id int64
	var old bool
	n := 0
	err = each(rows, []any{&id, &old}, func() {
		n++
		if old {
			ids = append(ids, id)
		}
	})
	if n == forgetPage {
		next = place64(id)
	}
	if err != nil || len(ids) == 0 {
		return nil, next, err
	}
	rows, err = tx.Query(ctx, lock, ids)
	if err != nil {
		return nil, "", err
	}
	ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	return ids, next, err
}
