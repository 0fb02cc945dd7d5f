package store

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// mustAge makes everything that bears a time older by an interval, and every
// duty due. What a store has in memory stays as young as it is.
func mustAge(t testing.TB, conn *pgx.Conn, by string) {
	t.Helper()
	for _, sql := range []string{
		`UPDATE batches SET appended_at = appended_at - $1::text::interval`,
		`UPDATE positions SET appended_at = appended_at - $1::text::interval`,
		`UPDATE trims SET raised_at = raised_at - $1::text::interval`,
		`UPDATE topics SET created_at = created_at - $1::text::interval`,
		`UPDATE producers SET registered_at = registered_at - $1::text::interval`,
		`UPDATE registrations SET created_at = created_at - $1::text::interval`,
		`UPDATE transactions SET began_at = began_at - $1::text::interval, ended_at = ended_at - $1::text::interval`,
		`UPDATE duties SET due_at = due_at - $1::text::interval`,
	} {
		mustExec(t, conn, sql, by)
	}
}

// forgetAges makes what a store has in memory as old as mustAge makes the rest.
func (s *Store) forgetAges() {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	for key, next := range s.writer.facts.next {
		next.at = 0
		s.writer.facts.next[key] = next
	}
	for _, p := range s.writer.facts.producers {
		p.appended = 0
	}
}

// mustRetain raises the starts of all logs that are due.
func mustRetain(t testing.TB, s *Store, conn *pgx.Conn) {
	t.Helper()
	mustExec(t, conn, `UPDATE duties SET due_at = '-infinity'`)
	for more := true; more; {
		var err error
		if more, err = s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// mustTrim deletes all that lies below the starts of logs, as if they had been
// raised long ago.
func mustTrim(t testing.TB, s *Store, conn *pgx.Conn) {
	t.Helper()
	mustTrimBy(t, s, conn, 3)
	if left := mustGet[int](t, conn, `SELECT count(*) FROM trims`); left > 0 {
		t.Fatalf("%d ranges are not trimmed", left)
	}
	left := mustGet[int](t, conn, `SELECT count(*) FROM batches b JOIN partitions p ON p.partition_id = b.log_id WHERE b.base_offset < p.log_start_offset`)
	if left > 0 {
		t.Fatalf("%d batches are left below the starts of their logs", left)
	}
}

// mustTrimBy does the same in steps of so many batches, and looks at nothing.
func mustTrimBy(t testing.TB, s *Store, conn *pgx.Conn, limit int) {
	t.Helper()
	mustExec(t, conn, `UPDATE trims SET raised_at = raised_at - interval '1 hour'`)
	for n := 1; n > 0; {
		var err error
		if n, err = s.Trim(context.Background(), limit); err != nil {
			t.Fatal(err)
		}
	}
}

// mustForget forgets all that may be.
func mustForget(t testing.TB, s *Store, conn *pgx.Conn) (all Forgotten) {
	t.Helper()
	mustExec(t, conn, `UPDATE duties SET due_at = '-infinity'`)
	for more := true; more; {
		gone, on, err := s.ForgetOld(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		more = on
		all.Producers += gone.Producers
		all.Transactions += gone.Transactions
		all.Registrations += gone.Registrations
		all.Positions += gone.Positions
		all.Offsets += gone.Offsets
		all.Husks += gone.Husks
	}
	return all
}

// mustKeep sets the retention of a topic.
func mustKeep(t testing.TB, s *Store, topic string, ms, bytes int64) {
	t.Helper()
	if _, err := s.UpdateTopic(context.Background(), topic, Settings{RetentionMS: &ms, RetentionBytes: &bytes}); err != nil {
		t.Fatal(err)
	}
}

// mustDelete deletes the records of a partition of "t" below an offset.
func mustDelete(t testing.TB, s *Store, partition int, before int64) {
	t.Helper()
	if err := s.DeleteRecords(context.Background(), mustKnow(t, s), partition, before); err != nil {
		t.Fatal(err)
	}
}

// newDue returns a store with three logs, each with a record that is to leave.
func newDue(t *testing.T) (*Store, *pgx.Conn) {
	t.Helper()
	a, _ := newPair(t, 3)
	conn := newConn(t, a.pool.Config().ConnString())
	for p := range 3 {
		mustProduce(t, a, plain("x").to(p))
	}
	mustKeep(t, a, "t", 0, -1)
	mustAge(t, conn, "1 minute")
	return a, conn
}
