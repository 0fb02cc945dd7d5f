package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
	"github.com/jackc/pgx/v5"
)

// One step of retention raises the start of a log, and a later one deletes what
// is below.
func TestR1HousekeepingRetains(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	if err := store.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), url, store.Config{PoolSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	log := slog.New(slog.DiscardHandler)
	h := &housekeeping{store: s, metrics: handlers.NewMetrics(s, wake.New(s.Ends, log)), log: log}
	none := int64(0)
	topic, _, err := s.CreateTopic(t.Context(), "t", store.Settings{RetentionBytes: &none}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	records := []eos.Record{{Value: []byte("1"), Flags: eos.KeyNull, Timestamp: -1, Partition: -1}}
	r, err := store.NewRequest(eos.Append{Identity: eos.Identity{ProducerID: eos.NoProducer}, RecordCount: 1}, topic.Topic, 0, records, 0)
	if err != nil {
		t.Fatal(err)
	}
	if o := s.Flush(context.Background(), []*store.Op{{Append: r}})[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	if _, err := h.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := s.TopicState(t.Context(), "t")
	if err != nil || state.Partitions[0].LogStartOffset != 1 || state.Partitions[0].HighWatermark != 1 {
		t.Fatalf("%+v, %v", state, err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `UPDATE trims SET raised_at = raised_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if more, err := h.retain(t.Context()); more != want || err != nil {
			t.Errorf("more to do: %v, %v; want %v", more, err, want)
		}
	}
	var left int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM batches`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d batches are left, %v", left, err)
	}
}
