package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// While a row is locked, operations on it are set aside at once: the others do
// not wait for it again and again.
func TestALockedRowCostsTheOthersOneWait(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 2)
	topic := mustKnow(t, a)
	mustFlush(t, a, plain("a").to(0), plain("b").to(1))
	conn := newConn(t, a.pool.Config().ConnString())
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, "SELECT FROM partitions WHERE partition_id = $1 FOR UPDATE", topic.PartitionIDs[0])
	start := time.Now()
	for i := range 10 {
		got := flushAll(t, a, plain("held").to(0), plain(fmt.Sprint(i)).to(1))
		if !IsBusy(got[0].Err) || got[1].Err != nil {
			t.Fatalf("flush %d: %v, %v", i, got[0].Err, got[1].Err)
		}
	}
	if took := time.Since(start); took > 9*briefWait { // if each waited, it would be ten at the least
		t.Errorf("ten flushes beside a locked row took %s", took)
	}
	mustExec(t, conn, "ROLLBACK")
}

// Somebody else has inserted the same key and not committed: what would meet it
// is set aside, and the rest goes on.
func TestAKeyThatIsBeingInsertedHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 2)
	mustFlush(t, a, plain("a").to(0), plain("b").to(1))
	conn := newConn(t, a.pool.Config().ConnString())
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, `INSERT INTO transactions (transaction_id, state, expires_at) VALUES ('tx', 'ongoing', clock_timestamp() + interval '1 minute')`)
	mustExec(t, conn, `
		INSERT INTO batches (log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at, scope_id,
		                     idempotency_key, fingerprint, request_count, body, ends, timestamp)
		SELECT nextval('object_ids'), 0, 1, 0, 0, clock_timestamp(), topic_id, 'k', '0123456789abcdef', 1, '', '{0,0}', 0
		FROM topics`)
	for name, held := range map[string]any{"begin": put("tx", nobody, "a"), "one-shot": oneShot("tx", nobody, "a"), "key": keyed("k", "a").to(0)} {
		a.writer.skipUntil = time.Time{}
		start := time.Now()
		got := flushAll(t, a, held, plain(name).to(1))
		if !IsBusy(got[0].Err) || got[1].Err != nil {
			t.Errorf("%s: %v, %v", name, got[0].Err, got[1].Err)
		}
		if took := time.Since(start); took > 5*briefWait {
			t.Errorf("%s: a flush beside a key that is being inserted took %s", name, took)
		}
		mustRefuse(t, a.FlushPatiently(context.Background(), []*Op{mustOp(t, a, held)})[0].Err, eos.Unavailable)
	}
	mustExec(t, conn, "ROLLBACK")
}

// What is read of a producer whose lock was passed over may be torn: it begins
// a transaction and sends in it while it is being read, and aborts it later.
// No sequence of that transaction may be taken for used (T7, P5).
func TestT7ReadingAroundALockRemembersNoSequence(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	p := mustRegister(t, b, "billing")
	mustFlush(t, a, sequenced(p, 0, "a"))
	other, watch := newConn(t, a.pool.Config().ConnString()), newConn(t, a.pool.Config().ConnString())
	mustExec(t, other, "BEGIN")
	mustExec(t, other, "SELECT FROM producers FOR UPDATE")
	mustExec(t, other, "LOCK TABLE batches")
	a.writer.skipUntil = time.Now().Add(skipFor)
	done := make(chan Outcome)
	go func() { done <- a.Flush(context.Background(), []*Op{mustOp(t, a, sequenced(p, 1, "held"))}, nil)[0] }()
	mustWait(t, watch, `SELECT count(*) > 0 FROM pg_locks WHERE relation = 'batches'::regclass AND NOT granted`)
	mustExec(t, other, `
		WITH t AS (INSERT INTO transactions (transaction_id, producer_id, producer_epoch, state, expires_at)
		           VALUES ('tx', $1, 0, 'ongoing', clock_timestamp() + interval '1 minute')
		           RETURNING transaction_ref),
		     s AS (INSERT INTO stagings (transaction_ref, partition_id)
		           SELECT transaction_ref, partition_id FROM t, partitions
		           RETURNING staging_id, transaction_ref)
		INSERT INTO batches (log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at, scope_id, producer_id,
		                     producer_epoch, base_sequence, fingerprint, request_count, transaction_ref, body, ends, timestamp)
		SELECT staging_id, 0, 4, 0, 0, clock_timestamp(), (SELECT topic_id FROM topics), $1, 0, 1, '0123456789abcdef', 4,
		       transaction_ref, '', '{0,0,0,0,0,0,0,0}', 0
		FROM s`, p.ID)
	mustExec(t, other, "COMMIT")
	if o := <-done; !IsBusy(o.Err) {
		t.Logf("the flush came too late: %v", o.Err)
	}
	mustAbort(t, b, "tx")
	a.writer.skipUntil, a.writer.careful, a.writer.shared = time.Time{}, false, 0
	_, err := produce(a, sequenced(p, 5, "gap"))
	if got := mustRefuse(t, err, eos.OutOfOrder); expects(got) != 1 {
		t.Errorf("expects sequence %d, want 1", expects(got))
	}
	mustHold(t, b, "0:0 a")
}
