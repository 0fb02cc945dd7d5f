package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

func testDuty(turn func(place string) (next string, err error)) duty {
	return duty{"test", forgetInterval, forgetLease, func(_ context.Context, place string) (string, error) { return turn(place) }}
}

// A duty is one proxy's at a time, and anybody's when its lease is over.
func TestOneProxyAtATime(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	turn := func(s *Store, next string, during func(place string)) (did, more bool) {
		t.Helper()
		more, err := s.onDuties(t.Context(), testDuty(func(place string) (string, error) {
			did = true
			during(place)
			return next, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		return did, more
	}
	quiet := func(string) {}
	did, more := turn(a, "here", func(string) {
		if did, _ := turn(b, "", quiet); did {
			t.Error("two are at it at once")
		}
	})
	if !did || !more {
		t.Errorf("the first turn: %v, %v", did, more)
	}
	for i, want := range []string{"here", ""} {
		if did, _ := turn(b, "", func(place string) {
			if place != want {
				t.Errorf("turn %d begins at %q", i, place)
			}
		}); !did {
			t.Errorf("turn %d is not due", i)
		}
		if did, _ := turn(a, "", quiet); did {
			t.Error("due before the interval is over")
		}
		mustAge(t, conn, fmt.Sprint(forgetInterval.Seconds(), " seconds"))
	}
	mustExec(t, conn, `UPDATE duties SET due_at = clock_timestamp() + interval '30 seconds'`) // somebody died in his turn
	if did, _ := turn(a, "", quiet); did {
		t.Error("due within the lease of another")
	}
	mustAge(t, conn, "31 seconds")
	if did, _ := turn(a, "", quiet); !did {
		t.Error("not due after the lease")
	}
}

// A duty that failed here is not done when somebody else is at it, who may fail
// as well, but when a whole round of it was done.
func TestFailedDutyFailsUntilItIsDone(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	broken := errors.New("broken")
	on := func(s *Store, next string, fail error, during func()) error {
		t.Helper()
		_, err := s.onDuties(t.Context(), testDuty(func(string) (string, error) {
			during()
			return next, fail
		}))
		return err
	}
	quiet := func() {}
	look := func(s *Store) error {
		t.Helper()
		return on(s, "", nil, func() { t.Error("it is not due") })
	}
	again := func() {
		t.Helper()
		mustAge(t, conn, fmt.Sprint(forgetInterval.Seconds(), " seconds"))
	}
	if err := on(a, "", broken, quiet); !errors.Is(err, broken) {
		t.Errorf("a turn that fails: %v", err)
	}
	mustFail := func(when string) {
		t.Helper()
		if err := look(a); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want the failure", when, err)
		}
	}
	mustFail("right after it")
	if err := look(b); err != nil {
		t.Errorf("the other proxy: %v", err)
	}
	mustAge(t, conn, fmt.Sprint(retryInterval.Seconds(), " seconds")) // given back before its lease is over
	if err := on(b, "", broken, func() { mustFail("while another one is at it") }); !errors.Is(err, broken) {
		t.Errorf("the other one's turn: %v", err)
	}
	mustFail("when another one failed, too")
	again()
	if err := on(b, "there", nil, quiet); !errors.Is(err, broken) {
		t.Errorf("half a round: %v, want the failure", err)
	}
	if err := on(b, "", nil, quiet); err != nil {
		t.Errorf("the end of a round: %v", err)
	}
	if err := look(a); err != nil {
		t.Errorf("when it was done: %v", err)
	}
	again()
	if err := on(a, "there", broken, quiet); !errors.Is(err, broken) {
		t.Errorf("another failure: %v", err)
	}
	again()
	if err := on(a, "", nil, quiet); !errors.Is(err, broken) {
		t.Errorf("the end of the round that it was in: %v, want the failure", err)
	}
	again()
	if err := on(a, "", nil, quiet); err != nil {
		t.Errorf("the next round: %v", err)
	}
}

// A proxy that looks and finds nothing due locks no row: that would be a
// transaction on disk, each second and for each duty.
func TestIdleProxyWritesNothing(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	mustRetain(t, a, conn)
	mustForget(t, a, conn)
	mustExec(t, conn, `UPDATE duties SET due_at = clock_timestamp() + interval '1 hour'`)
	versions := func() string {
		return mustGet[string](t, conn, `SELECT string_agg(concat_ws(' ', duty, ctid, xmin, xmax), ', ' ORDER BY duty) FROM duties`)
	}
	before := versions()
	if n := strings.Count(before, ", ") + 1; n != 7 {
		t.Fatalf("%d duties: %s", n, before)
	}
	for _, s := range []*Store{a, b} {
		if more, err := s.Retain(t.Context()); more || err != nil {
			t.Errorf("retain: %v, %v", more, err)
		}
		if _, more, err := s.ForgetOld(t.Context()); more || err != nil {
			t.Errorf("forget: %v, %v", more, err)
		}
	}
	if after := versions(); after != before {
		t.Errorf("rows were %s\nand are %s", before, after)
	}
}

// What cannot be forgotten keeps nothing else from it.
func TestFailingDutyHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	conn := newConn(t, a.pool.Config().ConnString())
	if _, _, err := register(a, "billing", "key"); err != nil {
		t.Fatal(err)
	}
	mustAge(t, conn, "8 days")
	mustExec(t, conn, `ALTER TABLE transactions RENAME TO elsewhere`)
	gone, _, err := a.ForgetOld(t.Context())
	if err == nil || !strings.Contains(err.Error(), "transactions") {
		t.Errorf("forget: %v, want that it fails for transactions", err)
	}
	if gone != (Forgotten{Registrations: 1}) {
		t.Errorf("%+v is forgotten, want a registration", gone)
	}
}

// Nor does a log whose start cannot be raised, nor a group that cannot be moved.
func TestFailingItemHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	a, conn := newDue(t)
	mustExec(t, conn, fmt.Sprintf(`ALTER TABLE trims ADD CHECK (log_id <> %d)`, mustKnow(t, a).PartitionIDs[0]))
	if _, err := a.Retain(t.Context()); err == nil || IsAway(err) {
		t.Errorf("retain: %v, want what failed", err)
	}
	const starts = `SELECT string_agg(log_start_offset::text, ' ' ORDER BY partition) FROM partitions`
	if got := mustGet[string](t, conn, starts); got != "0 1 1" {
		t.Errorf("logs start at %s, want 0 1 1", got)
	}

	var groups []string
	for _, id := range []string{"a", "b", "c"} {
		mustJoinGroup(t, a, id, member("m1"))
		groups = append(groups, id)
	}
	mustExec(t, conn, `ALTER TABLE groups ADD CHECK (group_id <> 'a' OR epoch < 2)`)
	silence(t, conn, "m1")
	_, err := a.ExpireMembers(t.Context(), time.Time{})
	if err == nil || IsAway(err) {
		t.Errorf("expire: %v, want what failed", err)
	}
	for _, id := range groups[1:] {
		if state, err := a.GroupState(t.Context(), id); err != nil || state.State != eos.GroupEmpty {
			t.Errorf("group %s: %+v, %v; want it empty", id, state, err)
		}
	}
}
