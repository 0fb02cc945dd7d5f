package handlers

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/appender"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// prompt is a log that stores nothing and answers at once: what remains is our
// own work. Every topic is the one that it has.
type prompt struct{ topic store.Topic }

func (p *prompt) Topic(context.Context, string) (*store.Topic, error) { return &p.topic, nil }

func (*prompt) Forget(string) {}

func (*prompt) Route(_ context.Context, put store.Put) (*store.Put, error) { return &put, nil }

func (p *prompt) FlushPatiently(ctx context.Context, ops []*store.Op) []store.Outcome {
	return p.Flush(ctx, ops, nil)
}

func (*prompt) Flush(_ context.Context, ops []*store.Op, _ store.Join) []store.Outcome {
	outcomes := make([]store.Outcome, len(ops))
	for i, op := range ops {
		r := op.Append
		result := store.Result{NextSequence: r.Sequence + int64(r.RecordCount), Shares: make([]store.Share, len(r.Parts))}
		for j, p := range r.Parts {
			result.Shares[j] = store.Share{Partition: p.Partition, RecordCount: p.Count, RecordIndexes: p.Indexes}
		}
		outcomes[i].Result = result
	}
	return outcomes
}

func newPromptLog() prompt {
	return prompt{store.Topic{ID: 1, Name: "bench", MaxRecordBytes: 1 << 20, PartitionIDs: []int64{10, 11, 12, 13}}}
}

// newHub returns a hub that nobody waits on.
func newHub() *wake.Hub { return wake.New((*store.Store)(nil).Ends, slog.New(slog.DiscardHandler)) }

// newPrompt returns the whole handler over a prompt log, until ctx ends.
func newPrompt(ctx context.Context) (*Handler, error) {
	hub := newHub()
	metrics := NewMetrics(nil, hub)
	log := newPromptLog()
	app := appender.New(&log, appender.Config{SequenceWait: time.Second, Appended: func(_ []int64, records int, bytes int64) {
		metrics.Appended(records, bytes)
	}, Flushed: metrics.Flushed})
	go app.Run(ctx)
	cfg := Config{MaxBodyBytes: 10 << 20, MaxRecords: 10_000, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64}
	return New(cfg, nil, app, hub, metrics, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// oneRecordBody is what the bench sends, too.
const oneRecordBody = `{"records":[{"key":"customer-4711","value":{"account":"4711","amount":"12.50","currency":"EUR","purpose":"a purchase that is counted exactly once"}}]}`

// BenchmarkProduceOne is one idempotent request of one record, from the parsed
// request to the encoded answer.
func BenchmarkProduceOne(b *testing.B) {
	for name, header := range map[string]http.Header{
		"sequence": {"Producer-Id": {"1001"}, "Producer-Epoch": {"0"}, "Producer-Seq": {"4711"}},
		"key":      {"Idempotency-Key": {"0b6bd9ab-2d3a-4d3f-9d8a-0d9b0d1b6f2a"}},
	} {
		b.Run(name, func(b *testing.B) {
			h, err := newPrompt(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			w := &discarded{header: http.Header{}}
			header.Set("Content-Type", "application/json")
			body := &repeated{}
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/topics/bench/records", nil)
				if err != nil {
					b.Fatal(err)
				}
				body.Reset(oneRecordBody)
				r.Body, r.ContentLength, r.Header = body, int64(len(oneRecordBody)), header
				clear(w.header)
				h.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatalf("answered %d", w.status)
				}
			}
		})
	}
}

// repeated is a body that can be read again.
type repeated struct{ strings.Reader }

func (*repeated) Close() error { return nil }

// discarded is an answer that nobody reads.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header              { return d.header }
func (d *discarded) WriteHeader(status int)           { d.status = status }
func (d *discarded) Write(b []byte) (int, error)      { return len(b), nil }
func (d *discarded) SetReadDeadline(time.Time) error  { return nil }
func (d *discarded) SetWriteDeadline(time.Time) error { return nil }
