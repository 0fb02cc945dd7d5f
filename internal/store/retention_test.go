package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

// mustSpan wants a partition of "t" to begin and end at offsets, and to have a
// size.
func mustSpan(t testing.TB, s *Store, partition int, start, end, bytes int64) {
	t.Helper()
	state, err := s.TopicState(context.Background(), "t")
	if err != nil {
		t.Fatal(err)
	}
	want := PartitionState{Partition: partition, LogStartOffset: start, HighWatermark: end, Bytes: bytes}
	if diff := cmp.Diff(want, state.Partitions[partition]); diff != "" {
		t.Errorf("the partition (-want +got):\n%s", diff)
	}
}

// A start that a reader was told must not fall when PostgreSQL crashes: whoever
// raises one waits until it is on disk, also where nobody has asked for it.
func TestR1StartIsDurableBeforeItIsSeen(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	for _, sql := range []string{
		`CREATE TABLE raised (synchronous_commit text)`,
		`CREATE FUNCTION note_raise() RETURNS trigger LANGUAGE plpgsql AS $$
		 BEGIN
		     INSERT INTO raised VALUES (current_setting('synchronous_commit'));
		     RETURN NULL;
		 END $$`,
		`CREATE TRIGGER note_raise AFTER UPDATE OF log_start_offset ON partitions FOR EACH ROW EXECUTE FUNCTION note_raise()`,
	} {
		mustExec(t, conn, sql)
	}
	mustKeep(t, a, "t", 3_600_000, -1)
	mustProduce(t, a, plain("a").to(0))
	mustAge(t, conn, "2 hours")
	mustRetain(t, a, conn)
	mustSpan(t, a, 0, 1, 1, 0)
	const sql = `SELECT string_agg(synchronous_commit, ' ') FROM raised`
	if got := mustGet[string](t, conn, sql); got != "on" {
		t.Errorf("the start was raised with synchronous_commit = %s", got)
	}
}

// Whole batches leave from the oldest end, none younger than the topic says,
// counted from the commit; offsets go on where they were.
func TestR1RecordsLeaveFromTheOldestEnd(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	mustKeep(t, a, "t", 3_600_000, -1)
	mustProduce(t, a, plain("a", "b").to(0))
	mustProduce(t, a, plain("c", "d").to(0))
	mustAge(t, conn, "59 minutes 55 seconds")
	mustProduce(t, b, plain("e").to(0))
	mustProduce(t, b, plain("f").to(1))
	mustExec(t, conn, `UPDATE batches SET appended_at = appended_at - interval '5 seconds' WHERE base_offset = 0 AND record_count = 2`)
	mustRetain(t, b, conn)
	mustSpan(t, a, 0, 0, 5, 15) // an hour old, but it may have been committed 15 s after its time
	mustAge(t, conn, "16 seconds")
	mustRetain(t, b, conn)
	mustSpan(t, a, 0, 2, 5, 9)
	mustAge(t, conn, "5 seconds")
	mustRetain(t, a, conn)
	mustSpan(t, a, 0, 4, 5, 3)
	mustSpan(t, a, 1, 0, 1, 3)
	mustTrim(t, b, conn)
	mustSpan(t, b, 0, 4, 5, 3)
	mustAge(t, conn, "2 hours")
	mustRetain(t, b, conn)
	mustTrim(t, a, conn)
	mustSpan(t, a, 0, 5, 5, 0)
	if got := mustProduce(t, a, plain("g").to(0)); got.Shares[0].BaseOffset != 5 {
		t.Errorf("behind an empty log: %+v", got)
	}
	mustSpan(t, b, 0, 5, 6, 3)
	mustSpan(t, b, 1, 1, 1, 0)
	if n := mustGet[int](t, conn, `SELECT count(*) FROM records`); n != 1 {
		t.Errorf("the view shows %d records", n)
	}
}

func TestR1BytesAreKept(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	for i := range 10 {
		mustProduce(t, a, plain(fmt.Sprint(i))) // 3 bytes each
	}
	mustKeep(t, b, "t", -1, 10)
	mustRetain(t, b, conn)
	mustSpan(t, a, 0, 6, 10, 12) // with one less there would be 9
	if n := mustGet[int](t, conn, `SELECT count(*) FROM records`); n != 4 {
		t.Errorf("before they are deleted, the view shows %d records", n)
	}
	mustTrim(t, a, conn)
	mustKeep(t, b, "t", -1, -1)
	mustAge(t, conn, "1000 days")
	mustRetain(t, b, conn)
	mustSpan(t, a, 0, 6, 10, 12)
	mustKeep(t, b, "t", -1, 0)
	mustRetain(t, b, conn)
	mustSpan(t, a, 0, 10, 10, 0)
}

// A range of many batches leaves in several steps; several partitions and pages
// of what is to be deleted get their turns.
func TestR1ManyBatchesLeave(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	p := mustRegister(t, a, "billing")
	const fill = `
		INSERT INTO batches (log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at, scope_id, producer_id,
		                     producer_epoch, base_sequence, fingerprint, request_count, body, ends, timestamp)
		SELECT partition_id, i, 1, i + 1, i, clock_timestamp(), partition_id, $1, 0, i, '0123456789abcdef', 1, '7', '{0,1}', i
		FROM partitions, generate_series(0, 2999) AS i`
	mustExec(t, conn, fill, p.ID)
	mustDelete(t, a, 0, 2500)
	mustDelete(t, b, 1, 3000)
	mustSpan(t, b, 0, 2500, 3000, 500)
	mustSpan(t, b, 1, 3000, 3000, 0)
	mustTrim(t, b, conn)
	if n := mustGet[int](t, conn, `SELECT count(*) FROM batches`); n != 500 {
		t.Errorf("%d batches are left", n)
	}
	again := mustRegister(t, b, "billing")
	for i, scope := range again.Next {
		if *scope.Partition != i || scope.NextSequence != 3000 {
			t.Errorf("scope %d: %+v", i, scope)
		}
	}
	if len(again.Next) != 2 {
		t.Errorf("next sequences: %+v", again.Next)
	}
}

// Below the log start is 410 at once, on a proxy that has it in memory as well;
// an answer that has begun ends before what is gone, without an error.
func TestF3BelowTheLogStart(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	topic := mustKnow(t, a)
	mustFetch(t, a, topic, Position{0, 0}, 1, 1) // somebody follows: what comes is kept in memory
	for i := range 6 {
		mustProduce(t, a, plain(fmt.Sprint(i)))
	}
	for _, s := range []*Store{a, b} {
		mustFetch(t, s, topic, Position{0, 0}, 1, 1)
	}
	reader, err := b.NewReader(topic, Position{0, 0}, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if more, err := reader.Next(t.Context(), func(*Batch, int, int) error { return nil }); more || err != nil {
		t.Fatalf("six records: more %v, %v", more, err)
	}
	late := *reader
	late.NextOffset, late.records, late.HighWatermark = 2, 2, 6 // as if a part had ended there
	mustDelete(t, b, 0, 4)
	for name, s := range map[string]*Store{"in memory": a, "stored": b} {
		for offset := range int64(4) {
			_, err := fetch(t.Context(), s, topic, Position{0, offset}, 10, 1<<20)
			if got := mustRefuse(t, err, eos.OffsetBelowStart); *got.LogStartOffset != 4 {
				t.Errorf("%s: at %d: told log start %d", name, offset, *got.LogStartOffset)
			}
		}
		if page := mustFetch(t, s, topic, Position{0, 4}, 10, 1<<20); len(page.Records) != 2 || page.LogStartOffset != 4 {
			t.Errorf("%s: from the log start: %+v", name, page)
		}
	}
	more, err := late.Next(t.Context(), func(_ *Batch, from, to int) error {
		t.Errorf("%d records from below the log start", to-from)
		return nil
	})
	if more || err != nil || late.NextOffset != 2 {
		t.Errorf("an answer that has begun: more %v, %v, next offset %d", more, err, late.NextOffset)
	}
}

func TestDeleteRecords(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	ctx := t.Context()
	topic := mustKnow(t, b)
	mustProduce(t, a, plain("a", "b").to(0))
	mustProduce(t, a, plain("c", "d").to(0))
	mustProduce(t, a, plain("e").to(1))
	for before, start := range map[int64]int64{0: 0, 1: 0} {
		mustDelete(t, b, 0, before)
		mustSpan(t, a, 0, start, 4, 12)
	}
	mustDelete(t, b, 0, 3)
	mustSpan(t, a, 0, 2, 4, 6)
	mustDelete(t, b, 0, 1) // below the start: nothing
	mustSpan(t, a, 0, 2, 4, 6)
	mustRefuse(t, b.DeleteRecords(ctx, topic, 0, 5), eos.OffsetBeyondEnd)
	mustRefuse(t, b.DeleteRecords(ctx, topic, 7, 0), eos.UnknownTopic)
	mustRefuse(t, b.DeleteRecordsBefore(ctx, topic, -1, time.Now().Add(time.Hour)), eos.InvalidParameter)

	moment := mustGet[time.Time](t, conn, `SELECT clock_timestamp()`)
	mustAge(t, conn, "0 seconds")
	mustExec(t, conn, `UPDATE batches SET appended_at = $1::timestamptz - interval '1 second'`, moment)
	mustProduce(t, a, plain("f").to(0))
	mustExec(t, conn, `UPDATE batches SET appended_at = $1 WHERE base_offset = 4`, moment)
	for range 2 {
		if err := b.DeleteRecordsBefore(ctx, topic, -1, moment); err != nil {
			t.Fatal(err)
		}
		mustSpan(t, a, 0, 4, 5, 3)
		mustSpan(t, a, 1, 1, 1, 0)
	}
	if err := a.DeleteTopic(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, b.DeleteRecords(ctx, topic, 0, 5), eos.UnknownTopic)
}

// Two stores look at the same logs at the same moment, and a third writes.
func TestR1TwoProxiesRetainAtOnce(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	p := mustRegister(t, a, "billing")
	mustKeep(t, a, "t", -1, 9)
	c := newStore(t, a.pool.Config().ConnString())
	rounds := races(200)
	for i := range rounds {
		mustProduce(t, c, sequenced(p, int64(i), fmt.Sprint(i)))
		errs := make([]error, 2)
		retain := func(i int, s *Store) {
			if _, errs[i] = s.Retain(context.Background()); errs[i] == nil {
				errs[i] = s.DeleteRecords(context.Background(), mustKnow(t, s), 0, 0)
			}
			_, err := s.Trim(context.Background(), 100)
			errs[i] = errors.Join(errs[i], err)
		}
		mustExec(t, conn, `UPDATE duties SET due_at = '-infinity'`)
		mustExec(t, conn, `UPDATE trims SET raised_at = raised_at - interval '1 hour'`)
		both(func() { retain(0, a) }, func() { retain(1, b) })
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	if end := mustEnd(t, b); end != int64(rounds) {
		t.Errorf("%d records were stored, want %d", end, rounds)
	}
	if got := mustRegister(t, b, "billing").Next; len(got) != 1 || got[0].NextSequence != int64(rounds) {
		t.Errorf("next sequences: %+v", got)
	}
}
