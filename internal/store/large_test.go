package store

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// buildLarge fills a database with a thousand topics, ten thousand producers
// and transactions, and a million batches of one topic, half of them sequenced
// and half keyed. The oldest two come through the store itself.
func buildLarge(ctx context.Context, url string) error {
	if err := Migrate(ctx, url); err != nil {
		return err
	}
	s, err := Open(ctx, url, Config{PoolSize: 1})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, _, err := s.CreateTopic(ctx, "t", Settings{}, 1<<20); err != nil {
		return err
	}
	p, _, err := register(s, "producer-0", "")
	if err != nil {
		return err
	}
	for _, oldest := range []ask{sequenced(p, 0, "oldest"), keyed("key-1", "oldest")} {
		if _, err := produce(s, oldest); err != nil {
			return err
		}
	}
	const fill = `
		INSERT INTO topics (topic, partition_count, retention_ms, retention_bytes, max_record_bytes)
		SELECT 'topic-' || i, 1, -1, -1, 1000000 FROM generate_series(1, 999) AS i;
		INSERT INTO partitions (topic_id, partition)
		SELECT topic_id, 0 FROM topics WHERE topic <> 't';
		INSERT INTO producers (transactional_id, transaction_timeout_ms)
		SELECT 'producer-' || i, 60000 FROM generate_series(1, 9999) AS i;
		INSERT INTO transactions (transaction_id, state, appended, ended_at)
		SELECT 'kept-' || i, 'committed', '[]', clock_timestamp() FROM generate_series(1, 10000) AS i;
		INSERT INTO transactions (transaction_id, state, expires_at)
		SELECT 'open-' || i, 'ongoing', clock_timestamp() + interval '1 day' FROM generate_series(1, 500) AS i;
		INSERT INTO committed_offsets (group_id, partition_id, committed_offset)
		SELECT 'group-' || i, partition_id, 0 FROM partitions, generate_series(1, 10) AS i;
		INSERT INTO groups (group_id, idle_since)
		SELECT 'group-' || i, clock_timestamp() FROM generate_series(1, 10) AS i;
		INSERT INTO groups (group_id, epoch, sweep_at)
		SELECT 'full-' || i, 10, clock_timestamp() + interval '1 day' FROM generate_series(1, 1000) AS i;
		INSERT INTO members (group_id, member_id, topics, auto_offset_reset, session_timeout_ms, rebalance_timeout_ms,
		                     member_epoch, previous_epoch, expires_at)
		SELECT 'full-' || i, 'm' || j, ARRAY['topic-' || i % 999 + 1], 'earliest', 45000, 60000, 10, 0, clock_timestamp() + interval '1 day'
		FROM generate_series(1, 1000) AS i, generate_series(1, 10) AS j;
		INSERT INTO group_partitions (group_id, topic_id, partition, owner_id, since_epoch, revoking, target_id)
		SELECT 'full-' || i, topic_id, j, 'm' || j, 10, false, 'm' || j
		FROM generate_series(1, 1000) AS i
		JOIN topics ON topic = 'topic-' || i % 999 + 1
		CROSS JOIN generate_series(1, 10) AS j;
		INSERT INTO replaced_members (group_id, member_id)
		SELECT 'full-' || i, 'old' FROM generate_series(1, 1000) AS i;
		INSERT INTO positions (producer_id, scope_id, next_sequence, appended_at)
		SELECT 1001 + i % 10000, 1000000 + i, 1, clock_timestamp() FROM generate_series(1, 20000) AS i;
		INSERT INTO registrations (idempotency_key, fingerprint, answer)
		SELECT 'key-' || i, '\x00112233445566778899aabbccddeeff', '{}' FROM generate_series(1, 20000) AS i;
		INSERT INTO batches (log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at,
		                     scope_id, idempotency_key, fingerprint, request_count, body, ends, timestamp)
		SELECT -p.partition_id, i, 1, 8 * (i + 1), 1700000000000 + i, clock_timestamp(),
		       p.topic_id, 'husk-' || i, '\x00112233445566778899aabbccddeeff', 1, '', '{0,0}', 1700000000000 + i
		FROM topics t
		JOIN partitions p USING (topic_id)
		CROSS JOIN generate_series(0, 19) AS i
		WHERE t.topic <> 't';
		INSERT INTO batches (log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at,
		                     scope_id, producer_id, producer_epoch, base_sequence, idempotency_key,
		                     fingerprint, request_count, body, ends, timestamp)
		SELECT p.partition_id, i, 1, 8 * (i + 1), 1700000000000 + i, clock_timestamp(),
		       p.topic_id, CASE WHEN i % 2 = 0 THEN 1001 + i / 2 % 10000 END, CASE WHEN i % 2 = 0 THEN 0 END,
		       CASE WHEN i % 2 = 0 THEN i / 20000 END, CASE WHEN i % 2 = 1 THEN 'key-' || i END,
		       '\x00112233445566778899aabbccddeeff', 1, '12345678', '{0,8}', 1700000000000 + i
		FROM topics t
		JOIN partitions p USING (topic_id)
		CROSS JOIN generate_series(2, 999999) AS i
		WHERE t.topic = 't';`
	if _, err := s.pool.Exec(ctx, fill); err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, "VACUUM (ANALYZE, FREEZE)")
	return err
}

// A recorder notes every statement that a store runs, with the arguments that
// it came with first, by the operation that ran it first.
type recorder struct {
	mu         sync.Mutex
	operation  string
	statements []statement
	ran        int
}

type statement struct {
	operation, sql string
	args           []any
}

func (r *recorder) note(sql string, args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ran++
	known := slices.ContainsFunc(r.statements, func(s statement) bool { return s.sql == sql })
	if known || slices.Contains([]string{"BEGIN", "COMMIT", "ROLLBACK"}, strings.Fields(sql)[0]) {
		return
	}
	r.statements = append(r.statements, statement{r.operation, sql, args})
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.note(data.SQL, data.Args)
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (r *recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (r *recorder) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	r.note(data.SQL, data.Args)
}

func (r *recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// mustRecord has a store tell a recorder what it runs.
func mustRecord(t *testing.T, s *Store) *recorder {
	t.Helper()
	r := &recorder{}
	cfg := s.pool.Config()
	cfg.ConnConfig.Tracer = r
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.pool.Close()
	s.pool = pool
	return r
}

// allOperations runs every operation of a store that a request or the
// housekeeping runs, on a database of buildLarge.
func allOperations(t *testing.T, s *Store, r *recorder) {
	ctx := t.Context()
	does := func(operation string) {
		r.mu.Lock()
		r.operation = operation
		r.mu.Unlock()
	}
	does("read topic")
	topic := mustKnow(t, s)
	does("register")
	p := mustRegister(t, s, "producer-7")
	if _, _, err := register(s, "producer-8", "key"); err != nil {
		t.Fatal(err)
	}
	does("append")
	mustProduce(t, s, sequenced(p, p.Next[0].NextSequence, "a"))
	mustProduce(t, s, keyed("new", "a"))
	mustProduce(t, s, plain("a"))
	does("fetch")
	mustFetch(t, s, topic, Position{0, 500_000}, 500, 1<<20)
	does("offset at a time")
	if _, err := s.PositionAt(ctx, topic, 0, At(1_700_000_123_456)); err != nil {
		t.Fatal(err)
	}
	does("poll of ends")
	s.Ends(ctx, topic.PartitionIDs)
	s.Sizes(ctx, append(topic.PartitionIDs, topic.ID))
	does("receipt")
	if _, err := s.Receipt(ctx, 1001, topic, -1, 0); err != nil {
		t.Fatal(err)
	}
	does("read producer")
	s.Producer(ctx, p.ID)
	does("begin")
	begin := put("tx", p, "a")
	begin.Offsets = []GroupOffset{offset("group-1", 0, 1)}
	mustPut(t, s, begin)
	does("staged append")
	mustProduce(t, s, keyed("k", "a").in("tx"))
	does("add offsets")
	if _, err := s.AddOffsets(ctx, "tx", anyone, []GroupOffset{offset("group-2", 0, 1)}); err != nil {
		t.Fatal(err)
	}
	does("commit")
	mustCommit(t, s, "tx")
	does("abort")
	mustPut(t, s, put("tx2", nobody, "a"))
	mustAbort(t, s, "tx2")
	mustAbort(t, s, "unknown")
	does("one-shot")
	whole := oneShot("tx3", p, "a")
	whole.Offsets = []GroupOffset{from(offset("group-3", 0, 1), 0), from(offset("new", 0, 0), 0)}
	mustPut(t, s, whole)
	does("read transaction")
	s.Transaction(ctx, "tx3")
	does("list transactions")
	s.Transactions(ctx, "", "kept-5", 100)
	s.Transactions(ctx, "committed", "kept-5", 100)
	does("timeouts")
	if _, err := s.pool.Exec(ctx, `UPDATE transactions SET expires_at = clock_timestamp() WHERE transaction_id = 'open-1'`); err != nil {
		t.Fatal(err)
	}
	if n, err := s.AbortExpired(ctx, 1000); n != 1 || err != nil {
		t.Fatalf("%d expired, %v", n, err)
	}
	does("count of open transactions")
	s.CountOpen(ctx)
	does("topic state")
	s.TopicState(ctx, "t")
	does("list topics")
	s.Topics(ctx, "topic-5", 100)
	does("create topic")
	mustTopic(t, s, "new", 2)
	does("update topic")
	mustGrow(t, s, "new", 3)
	does("delete topic")
	if err := s.DeleteTopic(ctx, "topic-9"); err != nil {
		t.Fatal(err)
	}
	does("sweep")
	s.Sweep(ctx, 1000)
	groupOperations(t, s, does)
	does("retention: raise")
	if err := s.DeleteRecords(ctx, topic, 0, 300); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retain(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(ctx, `UPDATE trims SET raised_at = raised_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	does("retention: trim")
	if n, err := s.Trim(ctx, 200); n < 200 || n > 201 || err != nil {
		t.Fatal(n, err)
	}
	does("retention: forget")
	for more := true; more; {
		var err error
		if _, more, err = s.ForgetOld(ctx); err != nil {
			t.Fatal(err)
		}
	}
	does("delete records by time")
	if err := s.DeleteRecordsBefore(ctx, topic, -1, time.UnixMilli(0)); err != nil {
		t.Fatal(err)
	}
}
