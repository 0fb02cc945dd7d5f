package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/migrations"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// newDatabase returns the URL of a database with the schema and nothing in it.
func newDatabase(t testing.TB) string {
	t.Helper()
	return pgtest.NewFrom(t, pgtest.TemplateName(t, "eos_store_", migrations.Files), Migrate)
}

// newStore returns a Store on a database; a second one on the same URL is
// another proxy.
func newStore(t testing.TB, url string) *Store {
	t.Helper()
	return newStoreWith(t, url, Config{PoolSize: 6, TailBytes: 64 << 20})
}

func newStoreWith(t testing.TB, url string, cfg Config) *Store {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Open(t.Context(), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// newPair returns two stores on one new database, with a topic "t".
func newPair(t testing.TB, partitions int) (a, b *Store) {
	t.Helper()
	url := newDatabase(t)
	a, b = newStore(t, url), newStore(t, url)
	mustTopic(t, a, "t", partitions)
	return a, b
}

func mustTopic(t testing.TB, s *Store, name string, partitions int) *Topic {
	t.Helper()
	state, _, err := s.CreateTopic(context.Background(), name, Settings{PartitionCount: &partitions}, 1<<20)
	if err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	return state.Topic
}

func mustGrow(t testing.TB, s *Store, name string, partitions int) {
	t.Helper()
	if _, err := s.UpdateTopic(context.Background(), name, Settings{PartitionCount: &partitions}); err != nil {
		t.Fatalf("grow topic %s: %v", name, err)
	}
}

// register registers a producer; id is its transactional id, or empty.
func register(s *Store, id, key string) (p Producer, replayed bool, err error) {
	r := Registration{TransactionalID: id, TimeoutMS: 60_000, IdempotencyKey: key}
	answer, replayed, err := s.Register(context.Background(), r, func(p *Producer) ([]byte, error) { return json.Marshal(p) })
	if err != nil {
		return p, false, err
	}
	err = json.Unmarshal(answer, &p)
	return p, replayed, err
}

func mustRegister(t testing.TB, s *Store, id string) Producer {
	t.Helper()
	p, _, err := register(s, id, "")
	if err != nil {
		t.Fatalf("register %q: %v", id, err)
	}
	return p
}

// mustRefuse wants an error of a kind that had no effect, and returns it.
func mustRefuse(t testing.TB, err error, kind *eos.Kind) *eos.Error {
	t.Helper()
	var refusal *eos.Error
	if !errors.As(err, &refusal) || refusal.Kind != kind || refusal.Effect != eos.EffectNone {
		t.Fatalf("got error %v, want %s without effect", err, kind.Code)
	}
	return refusal
}

// mustBeUnknown wants the error for an outcome that nobody can find out.
func mustBeUnknown(t testing.TB, err error) {
	t.Helper()
	var refusal *eos.Error
	if !errors.As(err, &refusal) || refusal.Effect != eos.EffectUnknown {
		t.Fatalf("got error %v, want one of unknown effect", err)
	}
}

// expects returns the expected sequence of a refusal, or -1.
func expects(e *eos.Error) int64 {
	if e.ExpectedSequence == nil {
		return -1
	}
	return *e.ExpectedSequence
}

// mustLog reads all records of a topic as "partition:offset value", partition
// by partition, and checks that offsets are dense.
func mustLog(t testing.TB, s *Store, topic string) []string {
	t.Helper()
	ctx := context.Background()
	s.Forget(topic)
	read, err := s.Topic(ctx, topic)
	if err != nil {
		t.Fatalf("topic %s: %v", topic, err)
	}
	log := []string{}
	for p := range read.PartitionIDs {
		next := int64(0)
		for {
			page, err := fetch(ctx, s, read, Position{p, next}, 10_000, 10<<20)
			if err != nil {
				t.Fatalf("fetch %s %d from %d: %v", topic, p, next, err)
			}
			for _, r := range page.Records {
				if r.Offset != next {
					t.Fatalf("%s %d: offset %d where %d belongs", topic, p, r.Offset, next)
				}
				next++
				log = append(log, fmt.Sprintf("%d:%d %s", p, r.Offset, bytes.Trim(r.Value, `"`)))
			}
			if page.NextOffset != next {
				t.Fatalf("%s %d: next offset %d after %d", topic, p, page.NextOffset, next-1)
			}
			if next == page.HighWatermark {
				break
			}
		}
	}
	return log
}

// mustHold wants the log of topic "t" to be exactly this.
func mustHold(t testing.TB, s *Store, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, mustLog(t, s, "t")); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

// newConn returns a connection beside the stores.
func newConn(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// mustExec runs SQL beside the stores.
func mustExec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// mustGet returns one value of one row.
func mustGet[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// mustWait asks until the answer is true, for ten seconds.
func mustWait(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		var yes bool
		// The pause is the server's, so that the asking does not crowd out what is asked about.
		if err := conn.QueryRow(ctx, "SELECT ("+sql+") FROM pg_sleep(0.002)", args...).Scan(&yes); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if yes {
			return
		}
	}
}

// both runs two functions at the same moment and returns when both have.
func both(first, second func()) {
	start, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		<-start
		first()
	}()
	close(start)
	second()
	<-done
}
