package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
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
	one := eos.Record{Value: []byte("1"), Flags: eos.KeyNull, Timestamp: -1, Partition: -1}
	two := one
	two.Value = []byte("22")
	records := []eos.Record{one, two}
	r, err := store.NewRequest(eos.Append{Identity: eos.Identity{ProducerID: eos.NoProducer}, RecordCount: 2}, topic.Topic, 0, records, 0)
	if err != nil {
		t.Fatal(err)
	}
	if o := s.Flush(context.Background(), []*store.Op{{Append: r}}, nil)[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	if _, err := h.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := s.TopicState(t.Context(), "t")
	if err != nil || state.Partitions[0].LogStartOffset != 2 || state.Partitions[0].HighWatermark != 2 {
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
	mustShow(t, h.metrics, "eos_removed_records_total 2", "eos_removed_batches_total 1", "eos_removed_bytes_total 3")
	done, never := metric(t, h.metrics, `eos_duty_age_seconds{duty="trim"}`), metric(t, h.metrics, `eos_duty_age_seconds{duty="topics"}`)
	if done <= 0 || done >= never {
		t.Errorf("batches were deleted %v s ago, what was never done is %v s old", done, never)
	}
}

// metricsPage returns what Prometheus would read.
func metricsPage(t *testing.T, m *handlers.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// mustShow fails unless the metrics have these lines.
func mustShow(t *testing.T, m *handlers.Metrics, lines ...string) {
	t.Helper()
	page := metricsPage(t, m)
	for _, line := range lines {
		if !strings.Contains(page, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, " ")
			t.Errorf("want %s, not %g", line, metric(t, m, name))
		}
	}
}

// metric returns the value of a series.
func metric(t *testing.T, m *handlers.Metrics, name string) float64 {
	t.Helper()
	_, rest, ok := strings.Cut(metricsPage(t, m), "\n"+name+" ")
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		t.Fatalf("there is no %s, %v", name, err)
	}
	return value
}
