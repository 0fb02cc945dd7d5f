package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
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
}

type statement struct {
	operation, sql string
	args           []any
}

func (r *recorder) note(sql string, args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := slices.ContainsFunc(r.statements, func(s statement) bool { return s.sql == sql })
	if first, _, _ := strings.Cut(strings.TrimSpace(sql), " "); known || strings.Contains("BEGIN COMMIT ROLLBACK", strings.Fields(first)[0]) {
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
}

// A node is what EXPLAIN tells of a step of a plan.
type node struct {
	Type       string  `json:"Node Type"`
	Relation   string  `json:"Relation Name"`
	Index      string  `json:"Index Name"`
	Cond       string  `json:"Index Cond"`
	Rows       float64 `json:"Actual Rows"`
	Loops      float64 `json:"Actual Loops"`
	Removed    float64 `json:"Rows Removed by Filter"`
	RemovedToo float64 `json:"Rows Removed by Index Recheck"`
	Plans      []node  `json:"Plans"`
}

// reads returns the names of the indexes and tables that a plan reads, how
// many rows, and what is wrong with it.
func (n *node) reads() (names []string, rows float64, faults []string) {
	switch {
	case n.Type == "Seq Scan":
		faults = append(faults, "scans "+n.Relation)
	case n.Index != "" && n.Cond == "":
		faults = append(faults, "reads all of "+n.Index)
	}
	if n.Index != "" {
		names = append(names, n.Index)
	}
	if n.Relation != "" || n.Index != "" {
		rows = (n.Rows + n.Removed + n.RemovedToo) * max(n.Loops, 1)
	}
	for _, below := range n.Plans {
		more, moreRows, moreFaults := below.reads()
		names, rows, faults = append(names, more...), rows+moreRows, append(faults, moreFaults...)
	}
	return names, rows, faults
}

// explain returns the generic plan of a statement, as the cache of prepared
// statements keeps it, and how long it took if it was run.
func explain(t *testing.T, conn *pgx.Conn, s statement, analyze bool) (plan node, ms float64) {
	t.Helper()
	ctx := t.Context()
	if strings.Contains(s.sql, "INSERT") {
		analyze = false // the keys are there by now
	}
	sd, err := conn.Prepare(ctx, "explained", s.sql)
	if err != nil {
		t.Fatalf("prepare %s: %v", s.sql, err)
	}
	defer conn.Deallocate(ctx, "explained")
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	var marks []string
	for i := range s.args {
		marks = append(marks, fmt.Sprintf("$%d", i+1))
	}
	sql := fmt.Sprintf("EXPLAIN (ANALYZE %v, FORMAT JSON) EXECUTE explained", analyze)
	if len(marks) > 0 {
		sql += "(" + strings.Join(marks, ", ") + ")"
	}
	var text string
	// The simple protocol writes the arguments into the text: EXECUTE takes no parameters.
	if err := tx.QueryRow(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, s.args...)...).Scan(&text); err != nil {
		t.Fatalf("%s: %s %v %v: %v", s.operation, s.sql, sd.ParamOIDs, s.args, err)
	}
	var explained []struct {
		Plan node    `json:"Plan"`
		Time float64 `json:"Execution Time"`
	}
	if err := json.Unmarshal([]byte(text), &explained); err != nil {
		t.Fatal(err)
	}
	return explained[0].Plan, explained[0].Time
}

// No statement scans a table or a whole index, neither on a large database nor
// with a plan that was made while the tables were empty, and none reads more
// rows than its answer needs. EOS_PLANS names a file for the table of them.
func TestF5PlansFollowTheAnswer(t *testing.T) {
	t.Parallel()
	url := pgtest.NewFrom(t, templateName(t, "eos_large1_"), buildLarge)
	s := newStoreWith(t, url, Config{PoolSize: 2})
	r := mustRecord(t, s)
	allOperations(t, s, r)

	large, empty := newConn(t, url), newConn(t, newDatabase(t))
	for _, conn := range []*pgx.Conn{large, empty} {
		mustExec(t, conn, "SET plan_cache_mode = force_generic_plan")
	}
	var table strings.Builder
	table.WriteString("| operation | statement | reads by | rows | ms |\n|---|---|---|---|---|\n")
	for _, statement := range r.statements {
		reads := strings.Contains(statement.sql, "FROM") || strings.Contains(statement.sql, "UPDATE")
		if !reads || strings.Contains(statement.sql, "transaction_id = 'open-1'") {
			continue // reads no table; or the test's own
		}
		words := strings.Join(strings.Fields(statement.sql), " ")
		for _, conn := range []*pgx.Conn{large, empty} {
			written := !isRead(statement.operation)
			mustExec(t, conn, "SELECT set_config('enable_seqscan', $1, false)", map[bool]string{true: "off", false: "on"}[written])
			plan, ms := explain(t, conn, statement, conn == large)
			names, rows, faults := plan.reads()
			for _, fault := range faults {
				if statement.operation == "count of open transactions" || fault == "reads all of dropped_logs_pkey" {
					continue // it is their count that is asked for; the first hundred, by their order
				}
				t.Errorf("%s (large: %v) %s: %s", statement.operation, conn == large, fault, words)
			}
			if rows > 1200 {
				t.Errorf("%s reads %v rows: %s", statement.operation, rows, words)
			}
			if conn == large {
				slices.Sort(names)
				fmt.Fprintf(&table, "| %s | `%s` | %s | %.0f | %.2f |\n", statement.operation, cut(strings.ReplaceAll(words, "|", "\\|"), 90), strings.Join(slices.Compact(names), ", "), rows, ms)
			}
		}
	}
	if name := os.Getenv("EOS_PLANS"); name != "" {
		if err := os.WriteFile(name, []byte(table.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// isRead reports whether an operation runs outside of a transaction that
// forbids sequential scans.
func isRead(operation string) bool {
	for _, prefix := range []string{"read", "list", "fetch", "offset at", "poll", "receipt", "count", "topic state"} {
		if strings.HasPrefix(operation, prefix) {
			return true
		}
	}
	return false
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// The oldest of a million batches is repeated as fast as the newest.
func TestP3RetryOfTheOldest(t *testing.T) {
	t.Parallel()
	s := newStore(t, pgtest.NewFrom(t, templateName(t, "eos_large1_"), buildLarge))
	p := Producer{ID: 1001}
	for name, request := range map[string]ask{"sequenced": sequenced(p, 0, "oldest"), "keyed": keyed("key-1", "oldest")} {
		best := time.Hour
		for range 50 {
			start := time.Now()
			if !mustProduce(t, s, request).Repeated {
				t.Fatalf("%s: stored again", name)
			}
			best = min(best, time.Since(start))
		}
		t.Logf("%s: %v", name, best)
		if best > 5*time.Millisecond {
			t.Errorf("%s: the retry of the oldest took %v at best", name, best)
		}
	}
}
