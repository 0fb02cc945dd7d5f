package store

import (
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// A transaction's fate is known for seven days, and until the last of its
// records is gone.
func TestT8FatesAreForgottenWithTheirRecords(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	whole := oneShot("whole", nobody, "a")
	mustPut(t, a, whole)
	mustBegin(t, a, "aborted", nobody)
	mustBegin(t, a, "open", nobody)
	for _, id := range []string{"aborted", "open"} {
		if _, err := a.AddOffsets(t.Context(), id, anyone, []GroupOffset{offset("g", 0, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	mustAbort(t, a, "aborted")
	mustAge(t, conn, "6 days 23 hours")
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten", gone)
	}
	mustAge(t, conn, "2 hours")
	if gone := mustForget(t, b, conn); gone != (Forgotten{Transactions: 1}) {
		t.Errorf("%+v is forgotten, want the aborted transaction", gone)
	}
	if n := mustGet[int](t, conn, `SELECT count(*) FROM staged_requests`); n != 1 {
		t.Errorf("%d requests are known that staged offsets, want that of the open transaction", n)
	}
	mustDelete(t, a, 0, 1)
	if gone := mustForget(t, b, conn); gone != (Forgotten{Transactions: 1}) {
		t.Errorf("%+v is forgotten, want the one without records", gone)
	}
	if state := mustPut(t, a, whole); state.Repeated {
		t.Errorf("the fate is known: %+v", state)
	}
	mustCommit(t, b, "open")
	mustSpan(t, a, 0, 1, 2, 3)
}

// The topic was deleted: nothing is left of its records, also where another
// topic of that name has some.
func TestT8FatesOfADeletedTopic(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	mustPut(t, a, oneShot("old", nobody, "a"))
	mustAge(t, conn, "8 days")
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	mustTopic(t, b, "t", 1)
	b.Forget("t")
	mustPut(t, b, oneShot("new", nobody, "a"))
	if gone := mustForget(t, b, conn); gone != (Forgotten{Transactions: 1}) {
		t.Errorf("%+v is forgotten, want the old one", gone)
	}
}

// A producer that cannot be fenced is forgotten when it was idle for seven days
// and nothing of it is kept, or after an hour when it never appended; one with a
// transactional id never. Then it is unknown, on every proxy.
func TestP8IdleProducersAreForgotten(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	fenced, idle, silent := mustRegister(t, a, "billing"), mustRegister(t, a, ""), mustRegister(t, a, "")
	_, err := produce(b, sequenced(silent, 7, "early")) // b knows it by that
	mustRefuse(t, err, eos.OutOfOrder)
	mustProduce(t, a, sequenced(fenced, 0, "a"))
	mustProduce(t, a, sequenced(idle, 0, "b"))
	mustAge(t, conn, "59 minutes")
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten", gone)
	}
	mustAge(t, conn, "2 minutes")
	if gone := mustForget(t, a, conn); gone != (Forgotten{Producers: 1}) {
		t.Errorf("%+v is forgotten, want the silent producer", gone)
	}
	_, err = produce(b, sequenced(silent, 0, "late"))
	mustRefuse(t, err, eos.UnknownProducer)

	mustAge(t, conn, "30 days")
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten, and its records are kept", gone)
	}
	mustDelete(t, b, 0, 2)
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten before the records are deleted", gone)
	}
	mustExec(t, conn, `UPDATE positions SET appended_at = clock_timestamp() - interval '6 days 23 hours'`)
	mustTrim(t, a, conn)
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten within seven days", gone)
	}
	mustAge(t, conn, "2 hours")
	if gone := mustForget(t, b, conn); gone != (Forgotten{Producers: 1}) {
		t.Errorf("%+v is forgotten, want the idle producer", gone)
	}
	a.forgetAges()
	_, err = produce(a, sequenced(idle, 1, "late"))
	mustRefuse(t, err, eos.UnknownProducer)
	mustProduce(t, b, sequenced(mustRegister(t, b, "billing"), 1, "c"))
	if n := mustGet[int](t, conn, `SELECT count(*) FROM positions`); n != 1 {
		t.Errorf("%d positions are left", n)
	}
}

// Deletion of a topic takes the records, but not the time when their producer
// was seen; where it stood there is nobody's interest after seven days.
func TestP8ProducersOfADeletedTopic(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	idle, fenced := mustRegister(t, a, ""), mustRegister(t, a, "billing")
	mustAge(t, conn, "2 hours")
	mustProduce(t, a, sequenced(idle, 0, "a"))
	mustProduce(t, a, sequenced(fenced, 0, "b"))
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n > 0; {
		var err error
		if n, err = b.Sweep(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten", gone)
	}
	mustTopic(t, b, "t", 1)
	b.Forget("t")
	mustProduce(t, b, sequenced(idle, 0, "c")) // P7: another topic, another sequence
	mustAge(t, conn, "8 days")
	if gone := mustForget(t, b, conn); gone != (Forgotten{Positions: 2}) {
		t.Errorf("%+v is forgotten, want the positions", gone)
	}
}

// Offsets that groups committed in a topic go when it is deleted, page after
// page, but not the one that a commit holds at this moment; all others stay.
func TestOffsetsOfADeletedTopic(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	old := mustTopic(t, a, "old", 1100).PartitionIDs
	const commit = `
		INSERT INTO committed_offsets (group_id, partition_id, committed_offset)
		SELECT g, p, 0
		FROM unnest($1::text[]) AS g, unnest($2::bigint[]) AS p`
	kept := mustKnow(t, a).PartitionIDs
	mustExec(t, conn, commit, []string{"a", "b", "z"}, slices.Concat(old, kept))
	if gone := mustForget(t, b, conn); gone != (Forgotten{}) {
		t.Errorf("%+v is forgotten of topics that are there", gone)
	}
	if err := a.DeleteTopic(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	held := newConn(t, a.pool.Config().ConnString())
	mustExec(t, held, `BEGIN`)
	const hold = `SELECT FROM committed_offsets WHERE group_id = 'b' AND partition_id = $1 FOR UPDATE`
	mustExec(t, held, hold, old[7])
	if gone := mustForget(t, b, conn); gone != (Forgotten{Offsets: 3*len(old) - 1}) {
		t.Errorf("%+v is forgotten, want all but the one that is held", gone)
	}
	mustExec(t, held, `ROLLBACK`)
	if gone := mustForget(t, b, conn); gone != (Forgotten{Offsets: 1}) {
		t.Errorf("%+v is forgotten, want the one that was held", gone)
	}
	left := mustGet[int](t, conn, `SELECT count(*) FROM committed_offsets WHERE partition_id = ANY ($1)`, kept)
	if all := mustGet[int](t, conn, `SELECT count(*) FROM committed_offsets`); left != 3*len(kept) || all != left {
		t.Errorf("%d offsets are left, %d of them in the other topic", all, left)
	}
}

// A husk of a topic that is gone is gone with it.
func TestP10KeysOfADeletedTopic(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	mustProduce(t, a, keyed("k", "a"))
	mustDelete(t, a, 0, 1)
	mustTrim(t, a, conn)
	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if gone := mustForget(t, b, conn); gone != (Forgotten{Husks: 1}) {
		t.Errorf("%+v is forgotten, want a husk", gone)
	}
	mustBeEmptyOf(t, a, "batches")
}

// Keys of registrations are kept for seven days, and what has to stay holds up
// nothing behind it, page after page.
func TestRegistrationsAreForgotten(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	const fill = `
		INSERT INTO registrations (idempotency_key, fingerprint, answer, created_at)
		SELECT 'k' || i, '0123456789abcdef', '{}', clock_timestamp() - CASE WHEN i < 2500 THEN interval '6 days' ELSE interval '8 days' END
		FROM generate_series(1000, 3499) AS i`
	mustExec(t, conn, fill)
	if gone := mustForget(t, b, conn); gone != (Forgotten{Registrations: 1000}) {
		t.Errorf("%+v is forgotten, want 1000 keys", gone)
	}
	first, _, err := register(a, "billing", "key")
	if err != nil {
		t.Fatal(err)
	}
	mustAge(t, conn, "8 days")
	if gone := mustForget(t, a, conn); gone.Registrations != 1501 {
		t.Errorf("%+v is forgotten, want 1501 keys", gone)
	}
	if again, replayed, err := register(b, "billing", "key"); err != nil || replayed || again.Epoch != first.Epoch+1 {
		t.Errorf("the key after seven days: %+v, %v, %v", again, replayed, err)
	}
}

// Who drew an id early may have used it late: one young transaction says nothing
// of those behind it.
func TestT8YoungFateHoldsUpNoOldOnes(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	const fill = `
		INSERT INTO transactions (transaction_id, transaction_ref, state, aborted_by, began_at, ended_at)
		SELECT 't' || i, i, 'aborted', 'client', clock_timestamp() - age, clock_timestamp() - age
		FROM generate_series(1, 1500) AS i, LATERAL (SELECT CASE WHEN i = 1000 THEN interval '1 day' ELSE interval '8 days' END AS age) a`
	mustExec(t, conn, fill)
	if gone := mustForget(t, a, conn); gone != (Forgotten{Transactions: 1499}) {
		t.Errorf("%+v is forgotten, want 1499 transactions", gone)
	}
}
