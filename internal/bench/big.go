package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// bigTopics is how many topics a large log is spread over, and how many producers wrote it.
const bigTopics = 10_000

// bigConnections is how many connections the works on a large log have.
const bigConnections = 64

// A big is a database with a large log, and a proxy on it. Topic i, of one partition, was written by the i-th
// producer, one record a request.
type big struct {
	proxy     *process
	topics    []string
	producers []int64
	next      []int64 // sequence of each topic's producer; between measurements owned by the run, during one by the topic's connection
}

// beginBig fills the database, unless it is there, and starts its proxy.
func beginBig(ctx context.Context, b *bench) (err error) {
	if b.big != nil {
		return nil
	}
	fmt.Fprintf(b.progress, "filling a database with %d batches in %d topics\n", b.cfg.Behind, bigTopics)
	large := &big{}
	if large.proxy, err = b.newDatabase(ctx, "big"); err != nil {
		return err
	}
	b.big = large
	conn, err := pgx.Connect(ctx, b.postgres.database("big"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
	if err := b.fillBig(ctx, conn); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if err := large.load(ctx, conn, b.cfg.Behind/bigTopics); err != nil {
		return err
	}
	return b.restartBig(ctx)
}

// What the proxy would have stored, made by the database itself, in the order in which it would have come: one
// batch for each topic, then the next. A change of the tables is a change here.
const (
	sqlBigTopics = `
		WITH t AS (
			INSERT INTO topics (topic, partition_count, retention_ms, retention_bytes, max_record_bytes)
			SELECT 'big-' || i, 1, -1, -1, 1048576
			FROM generate_series(1, $1::integer) AS i
			RETURNING topic_id
		)
		INSERT INTO partitions (topic_id, partition)
		SELECT topic_id, 0
		FROM t`
	sqlBigProducers = `
		INSERT INTO producers (transaction_timeout_ms)
		SELECT 60000
		FROM generate_series(1, $1::integer)`
	sqlBigWriters = `
		CREATE TEMPORARY TABLE writers AS
		SELECT t.topic_id, t.topic, t.partition_id, w.producer_id
		FROM (SELECT topic_id, topic, partition_id, row_number() OVER (ORDER BY topic_id) AS i
		      FROM topics JOIN partitions USING (topic_id)) t
		JOIN (SELECT producer_id, row_number() OVER (ORDER BY producer_id) AS i FROM producers) w USING (i)`
	sqlBigBatches = `
		INSERT INTO batches (
			log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at,
			scope_id, producer_id, producer_epoch, base_sequence, fingerprint, request_count,
			body, ends, timestamp)
		SELECT w.partition_id, n, 1, (n + 1) * octet_length($3::bytea), $4::bigint, clock_timestamp(),
		       w.topic_id, w.producer_id, 0, n, decode(md5(w.producer_id || '-' || n), 'hex'), 1,
		       $3::bytea, ARRAY[$5::integer, octet_length($3::bytea)], $4::bigint
		FROM generate_series($1::bigint, $2::bigint - 1) AS n
		CROSS JOIN writers w`
)

func (b *bench) fillBig(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, sqlBigTopics, bigTopics); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, sqlBigProducers, bigTopics); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, sqlBigWriters); err != nil {
		return err
	}
	const step = 50 // batches of each topic in one transaction
	for from, end := int64(0), b.cfg.Behind/bigTopics; from < end; from += step {
		to := min(from+step, end)
		if _, err := conn.Exec(ctx, sqlBigBatches, from, to, []byte(key+value), time.Now().UnixMilli(), len(key)); err != nil {
			return err
		}
		if from/step%4 == 3 {
			fmt.Fprintf(b.progress, "  %d batches\n", to*bigTopics)
		}
	}
	if _, err := conn.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, `CHECKPOINT`)
	return err
}

// load reads who writes which topic.
func (l *big) load(ctx context.Context, conn *pgx.Conn, next int64) error {
	rows, err := conn.Query(ctx, `SELECT topic, producer_id FROM writers ORDER BY topic_id`)
	if err != nil {
		return err
	}
	var topic string
	var producer int64
	_, err = pgx.ForEachRow(rows, []any{&topic, &producer}, func() error {
		l.topics, l.producers, l.next = append(l.topics, topic), append(l.producers, producer), append(l.next, next)
		return nil
	})
	return err
}

// restartBig starts the proxy on the large log again, with nothing remembered.
func (b *bench) restartBig(ctx context.Context) (err error) {
	if err := b.big.proxy.stop(); err != nil {
		return err
	}
	b.big.proxy, err = b.startProxy(ctx, "big")
	return err
}

// onBig is a load on a new topic of the database with the large log.
func onBig(ctx context.Context, b *bench) (*sample, error) {
	return single{bigConnections, sequences}.on(ctx, b, b.big.proxy, b.cfg.length())
}

// afterRestart is onBig with a proxy that has just been started.
func afterRestart(ctx context.Context, b *bench) (*sample, error) {
	if err := b.restartBig(ctx); err != nil {
		return nil, err
	}
	return onBig(ctx, b)
}

// ready measures how long a proxy on the large log takes from its start to its first answer, in seconds.
func ready(ctx context.Context, b *bench) (*sample, error) {
	if err := b.restartBig(ctx); err != nil {
		return nil, err
	}
	s := &sample{units: 1, took: b.big.proxy.ready}
	s.set(b.big.proxy.ready.Seconds())
	return s, nil
}

// spread is a load whose requests go to one after another of the 10,000 topics, each under the producer that
// wrote it, whose sequence goes on.
func spread(ctx context.Context, b *bench) (*sample, error) {
	l := b.big
	before := append([]int64(nil), l.next...)
	requests := make([]maker, bigTopics)
	for t := range requests {
		requests[t] = sequenced(l.topics[t], l.producers[t], one, 1)
	}
	makers := make([]maker, bigConnections)
	for i := range makers {
		t := i
		makers[i] = func(out []byte, _ int64) []byte {
			out = requests[t](out, l.next[t])
			l.next[t]++
			if t += bigConnections; t >= bigTopics {
				t = i
			}
			return out
		}
	}
	s, err := b.metered(ctx, l.proxy, func() (*sample, error) { return drive(ctx, l.proxy.addr, makers, b.cfg.length()) })
	if err != nil {
		return nil, err
	}
	s.user = s.units * int64(len(key)+valueSize)
	return s, l.verify(ctx, before)
}

// verify checks that each topic grew by the records that were acknowledged since before, and reads them.
func (l *big) verify(ctx context.Context, before []int64) error {
	c, err := dial(ctx, l.proxy.addr, readerBuffer)
	if err != nil {
		return err
	}
	defer c.close()
	for t, topic := range l.topics {
		if l.next[t] == before[t] {
			continue
		}
		next, err := readPage(c, topic, 0, before[t])
		if err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
		if next != l.next[t] {
			return fmt.Errorf("topic %s ends at offset %d, %d were acknowledged", topic, next, l.next[t])
		}
	}
	return nil
}

func bigWorks() []work {
	const behind = " with a large log behind"
	what := func(text string) string { return text + behind }
	fresh := single{bigConnections, sequences}.ceiling()
	works := []work{
		{name: "big-ready", what: what("from the start of a proxy to its first answer"), unit: "s", target: atMost(2), run: ready},
		{name: "big-restart", what: what("one record, idempotent, 64 connections, after a restart,"), unit: "requests/s", target: atLeast(0.95), ceiling: fresh, run: afterRestart},
		{name: "big-one", what: what("one record, idempotent, 64 connections,"), unit: "requests/s", target: atLeast(0.95), ceiling: fresh, run: onBig},
		{name: "big-spread", what: what("one record, idempotent, 64 connections, over all topics and producers,"), unit: "requests/s", target: atLeast(0.95), ceiling: fresh, run: spread},
	}
	for i := range works {
		works[i].database, works[i].flag, works[i].begin = true, "--big", beginBig
	}
	return works
}
