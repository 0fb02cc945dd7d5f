package main

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
	"github.com/jackc/pgx/v5"
)

// Members that fell silent while the database was away are not expired when it
// is back, but the time of a heartbeat later; and topics that are new are
// picked up.
func TestGroupkeeping(t *testing.T) {
	t.Parallel()
	gate := faults.New(t, pgtest.New(t))
	if err := store.Migrate(t.Context(), gate.URL()); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), gate.URL(), store.Config{PoolSize: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) {
		t.Helper()
		_, _, err := s.CreateTopic(t.Context(), name, store.Settings{}, 1<<20)
		must(err)
	}
	create("t1")
	for _, id := range []string{"m1", "m2"} {
		_, err := s.Join(t.Context(), "g", eos.Join{MemberID: id, Pattern: "t.", SessionTimeout: eos.MinSessionTimeout})
		must(err)
	}
	var woken []string
	groups := wake.NewGroups(wake.Rebalances{}, slog.New(slog.DiscardHandler))
	for _, id := range []string{"m1", "m2"} {
		t.Cleanup(groups.Wait(wake.GroupMember{Group: "g", Member: id}, 0, func() { woken = append(woken, id) }))
	}
	log := slog.New(slog.DiscardHandler)
	metrics := handlers.NewMetrics(s, wake.New(s.Ends, log))
	keeper := &groupkeeping{store: s, groups: groups, metrics: metrics, log: log, refresher: s.NewRefresher()}

	must(keeper.refresh(t.Context(), 0))
	mustShow(t, metrics, `eos_groups{state="stable"} 1`, `eos_groups{state="empty"} 0`, `eos_group_members 2`, `eos_rebalances_total 0`)
	create("t2")
	must(keeper.refresh(t.Context(), 1))
	if len(woken) != 1 {
		t.Errorf("a new topic has woken %v, want one of the two", woken)
	}

	must(keeper.expire(t.Context()))
	gate.Refuse(true)
	gate.CutAll()
	if err := keeper.expire(t.Context()); err == nil || !keeper.back.IsZero() {
		t.Fatalf("while the database is away: %v, back since %v", err, keeper.back)
	}
	gate.Refuse(false)
	conn, err := pgx.Connect(t.Context(), gate.URL())
	must(err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, sql := range []string{`UPDATE members SET expires_at = clock_timestamp()`, `UPDATE groups SET sweep_at = clock_timestamp()`} {
		_, err := conn.Exec(t.Context(), sql)
		must(err)
	}
	must(keeper.expire(t.Context()))
	state, err := s.GroupState(t.Context(), "g")
	if must(err); len(state.Members) != 2 {
		t.Errorf("%d members right after the database was away, want 2", len(state.Members))
	}
	keeper.back = keeper.back.Add(-eos.MinSessionTimeout / 3)
	must(keeper.expire(t.Context()))
	state, err = s.GroupState(t.Context(), "g")
	if must(err); len(state.Members) != 0 {
		t.Errorf("%d members a heartbeat later, want 0", len(state.Members))
	}
	if !slices.Contains(woken, "m1") || !slices.Contains(woken, "m2") {
		t.Errorf("the expiry has woken %v", woken)
	}
	must(keeper.refresh(t.Context(), roundsPerGroups))
	mustShow(t, metrics, `eos_groups{state="stable"} 0`, `eos_groups{state="empty"} 1`, `eos_group_members 0`,
		`eos_expired_members_total 2`, `eos_rebalances_total 2`)

	// Dead groups are gone in one round, however many; and one that cannot be moved
	// is no outage, in which nobody could be heard.
	for _, sql := range []string{
		`INSERT INTO groups (group_id, idle_since) SELECT 'dead' || i, clock_timestamp() - interval '8 days' FROM generate_series(1, 35) AS i`,
		`ALTER TABLE groups ADD CHECK (epoch < 5 OR group_id <> 'poison')`,
		`INSERT INTO groups (group_id, epoch, sweep_at) VALUES ('poison', 4, clock_timestamp())`,
		`INSERT INTO members (group_id, member_id, topics, auto_offset_reset, session_timeout_ms, rebalance_timeout_ms, member_epoch, previous_epoch, expires_at)
		 VALUES ('poison', 'm1', '{t1}', 'earliest', 1, 1, 1, 0, clock_timestamp())`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		must(err)
	}
	must(keeper.refresh(t.Context(), roundsPerForget))
	mustShow(t, metrics, `eos_groups{state="empty"} 36`) // counted before
	must(keeper.refresh(t.Context(), roundsPerGroups))
	mustShow(t, metrics, `eos_groups{state="empty"} 1`)
	back := keeper.back
	if err := keeper.expire(t.Context()); err == nil || !keeper.back.Equal(back) {
		t.Errorf("a group that cannot be moved: %v, back since %v, want %v", err, keeper.back, back)
	}

	done, never := metric(t, metrics, `eos_duty_age_seconds{duty="sessions"}`), metric(t, metrics, `eos_duty_age_seconds{duty="trim"}`)
	if done <= 0 || done >= never {
		t.Errorf("sessions were looked at %v s ago, what was never done is %v s old", done, never)
	}
}
