package store

import (
	"context"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/faults"
)

// mustLose does something whose COMMIT takes effect and is not answered, and
// calls meanwhile before it is asked what became of it.
func mustLose(t testing.TB, proxy *faults.Proxy, do func() error, meanwhile func()) (answer <-chan error) {
	t.Helper()
	lost := make(chan struct{})
	proxy.Choose(func() faults.Fault {
		proxy.Refuse(true)
		close(lost)
		return faults.CutAfter
	})
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case <-lost:
	case err := <-done:
		t.Fatalf("it sent no COMMIT: %v", err)
	}
	meanwhile()
	proxy.Choose(nil)
	proxy.Refuse(false)
	return done
}

// A poll commits, and is not told. When it asks again there is a partition for
// its member, which takes the lock of the group, and behind that the member is
// gone. That denies nothing of what it did.
func TestP12PollOfAMemberThatIsGoneAfterALostCommit(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	mustGrow(t, direct, "t", 2)
	mustProduce(t, direct, plain("x").to(0))
	epochs := map[string]int64{"m1": mustJoin(t, direct, member("m1")).Epoch, "m2": mustJoin(t, direct, member("m2")).Epoch}
	first := settle(t, direct, epochs)
	if len(first["m1"]) != 1 || first["m1"][0] != 0 {
		t.Fatalf("m1 has %v, want partition 0", first["m1"])
	}
	holder, watch := newConn(t, direct.pool.Config().ConnString()), newConn(t, direct.pool.Config().ConnString())
	answer := mustLose(t, proxy, func() error {
		_, err := poll(s, "m1", epochs["m1"], 1)
		return err
	}, func() {
		mustWait(t, watch, `EXISTS (SELECT FROM committed_offsets)`)
		if _, err := direct.Leave(t.Context(), "g", "m2"); err != nil {
			t.Fatal(err)
		}
		mustExec(t, holder, `BEGIN`)
		mustExec(t, holder, `SELECT FROM groups FOR UPDATE`)
	})
	mustWait(t, watch, `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`)
	mustExec(t, holder, `DELETE FROM members`)
	mustExec(t, holder, `COMMIT`)
	mustBeUnknown(t, <-answer)
	mustCommitted(t, direct, "g", 1)
}

// A group is deleted, which is not told, and somebody joins it anew.
func TestP12GroupIsMadeAgainAfterALostDeletion(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	mustJoin(t, direct, member("m1"))
	if _, err := direct.Leave(t.Context(), "g", "m1"); err != nil {
		t.Fatal(err)
	}
	watch := newConn(t, direct.pool.Config().ConnString())
	answer := mustLose(t, proxy, func() error { return s.DeleteGroup(context.Background(), "g") }, func() {
		mustWait(t, watch, `NOT EXISTS (SELECT FROM groups)`)
		mustJoin(t, direct, member("m2"))
	})
	mustBeUnknown(t, <-answer)
	if g := mustGroup(t, direct); len(g.Members) != 1 {
		t.Errorf("group %+v, want it with m2", g)
	}
}

// Records of one partition are deleted, and those of another, which somebody
// holds, cannot be: that had an effect.
func TestP12DeletionHalfWay(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	conn := newConn(t, a.pool.Config().ConnString())
	for p := range 2 {
		mustProduce(t, a, plain("x").to(p))
	}
	topic, now := mustKnow(t, b), mustGet[time.Time](t, conn, `SELECT clock_timestamp()`)
	letGo := hold(t, a, `SELECT FROM partitions WHERE partition = 1 FOR UPDATE`)
	mustBeUnknown(t, b.DeleteRecordsBefore(t.Context(), topic, -1, now))
	mustSpan(t, a, 0, 1, 1, 0)
	mustSpan(t, a, 1, 0, 1, 3)
	refusal := mustRefuse(t, b.DeleteRecordsBefore(t.Context(), topic, -1, now), eos.Unavailable)
	if refusal.Effect != eos.EffectNone { // partition 0 has nothing left to delete
		t.Errorf("the same again: %v, effect %s", refusal, refusal.Effect)
	}
	letGo()
	if err := b.DeleteRecordsBefore(t.Context(), topic, -1, now); err != nil {
		t.Fatal(err)
	}
	mustSpan(t, a, 1, 1, 1, 0)
}
