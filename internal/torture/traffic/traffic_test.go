package traffic_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/traffic"
)

// told is a history, counted.
type told struct {
	kinds map[history.Kind]map[history.Outcome]int
	codes map[string]int // of refusals
	logs  map[history.Source]map[string][]history.Span
	fates map[history.Source]map[string]history.Fate
	ends  map[history.Source]map[string]int64 // committed offsets
	end   *history.End

	early   int             // requests that were refused because the one just before them was missing
	outside []history.Value // the first values of requests that were refused because they left out the open transaction
}

// watch looks out for what a history is to have.
type watch struct {
	mu      sync.Mutex
	missing []string // guarded by mu
}

// Write implements io.Writer.
func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.missing = slices.DeleteFunc(w.missing, func(s string) bool { return bytes.Contains(b, []byte(s)) })
	return len(b), nil
}

func (w *watch) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.missing) == 0
}

// run makes so many attempts against healthy proxies, and more until all codes were told, and returns the history.
func run(t *testing.T, database string, cfg traffic.Config, attempts int64, codes []string) *told {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	if kept := os.Getenv("EOS_TEST_HISTORY"); kept != "" { // to be looked at
		path = kept
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	w := &watch{}
	for _, code := range codes {
		w.missing = append(w.missing, `"code":"`+code+`"`)
	}
	cfg.Database, cfg.Writer = database, history.NewWriter(io.MultiWriter(file, w))
	tr := traffic.New(cfg)
	if err := tr.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(t.Context(), ctx) }()
	for (tr.Attempts() < attempts || !w.done()) && ctx.Err() == nil {
		<-time.After(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ran := time.Since(began)
	t.Logf("%d attempts in %v", tr.Attempts(), ran)
	if tr.LastOK().Before(began) || tr.Operations() == 0 {
		t.Errorf("last ok at %v, began at %v, %d operations", tr.LastOK(), began, tr.Operations())
	}
	if err := tr.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := mustRead(t, path)
	if got.end == nil || got.end.Attempts != tr.Attempts() {
		t.Errorf("the history ends with %+v, not with %d attempts", got.end, tr.Attempts())
	}
	return got
}

// mustRead reads a history of a healthy service: nothing may have failed for another reason than that it was wrong.
func mustRead(t *testing.T, path string) *told {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	got := &told{
		kinds: map[history.Kind]map[history.Outcome]int{}, codes: map[string]int{},
		logs:  map[history.Source]map[string][]history.Span{history.HTTP: {}, history.SQL: {}},
		fates: map[history.Source]map[string]history.Fate{history.HTTP: {}, history.SQL: {}},
		ends:  map[history.Source]map[string]int64{history.HTTP: {}, history.SQL: {}},
	}
	err = history.Lines(file, func(number int64, text []byte, l *history.Line) error {
		switch {
		case l.Attempt != nil:
			a := l.Attempt
			if got.kinds[a.Kind] == nil {
				got.kinds[a.Kind] = map[history.Outcome]int{}
			}
			got.kinds[a.Kind][a.Outcome]++
			if a.Outcome == history.Fail {
				got.codes[a.Code]++
				got.refused(a)
			}
			// Uploads are broken off on purpose; and a proxy may say that another one is in its way.
			if strings.HasPrefix(a.Error, "bad answer") || a.Status == 0 && a.Outcome == history.Fail ||
				a.Outcome == history.Unknown && (a.Kind != history.KindUpload || a.Code != "" && a.Code != "BROKER_NOT_AVAILABLE") {
				t.Errorf("line %d: %s", number, text)
			}
		case l.Log != nil:
			log := fmt.Sprint(l.Log.Topic, " ", l.Log.Partition)
			for _, s := range l.Log.Spans {
				got.add(l.Log.Source, log, s)
			}
		case l.Fate != nil:
			f := *l.Fate
			f.Source = ""
			got.fates[l.Fate.Source][f.ID] = f
		case l.Committed != nil:
			c := l.Committed
			got.ends[c.Source][fmt.Sprint(c.Group, " ", c.Topic, " ", c.Partition)] = c.Offset
		case l.End != nil:
			got.end = l.End
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// refused notes refusals that only some requests are for.
func (g *told) refused(a *history.Attempt) {
	const near = 600 // more than a request has
	p := a.Produce
	switch {
	case p == nil || p.Producer == 0 || p.Transaction != "" || a.Kind != history.KindProduce:
	case a.Code == "OUT_OF_ORDER_SEQUENCE_NUMBER" && p.Expected >= 0 && p.Sequence < p.Expected+near:
		g.early++
	case a.Code == "INVALID_TXN_STATE":
		g.outside = append(g.outside, p.First)
	}
}

// add appends records to a log as single ones, so that it does not matter how they were cut.
func (g *told) add(from history.Source, log string, s history.Span) {
	for i := range s.Count {
		one := history.Span{Offset: s.Offset + int64(i), First: s.First + history.Value(i), Count: 1}
		g.logs[from][log] = append(g.logs[from][log], one)
	}
}

func TestAHealthyServiceIsAskedForEverything(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	proxies := []string{newProxy(t, database), newProxy(t, database)}
	codes := []string{
		"SEQUENCE_REUSED", "OUT_OF_ORDER_SEQUENCE_NUMBER", "IDEMPOTENCY_KEY_REUSED", "PRODUCER_FENCED",
		"TRANSACTION_ID_REUSED", "CONCURRENT_TRANSACTIONS", "INVALID_TXN_STATE", "FENCED_INSTANCE_ID", "FENCED_MEMBER_EPOCH",
		"NON_EMPTY_GROUP", "OFFSET_OUT_OF_RANGE",
	}
	got := run(t, database, traffic.Config{Seed: 1, Proxies: proxies, Prefix: "a-", Timeout: patience}, 3000, codes)
	for _, k := range []history.Kind{
		history.KindProduce, history.KindUpload, history.KindReceipt, history.KindRegister, history.KindOneShot,
		history.KindBegin, history.KindTxnOffsets, history.KindCommit, history.KindAbort, history.KindTxn,
		history.KindFetch, history.KindCursor, history.KindEvents, history.KindJoin, history.KindPoll,
		history.KindHeartbeat, history.KindOffsets, history.KindSetOffsets,
	} {
		if got.kinds[k][history.OK] == 0 {
			t.Errorf("%s: %d ok", k, got.kinds[k][history.OK])
		}
	}
	for _, code := range codes {
		if got.codes[code] == 0 {
			t.Errorf("nothing was refused as %s", code)
		}
	}
	t.Logf("%v\n%v", got.kinds, got.codes)
	got.forgetWhatLeftMeanwhile(t)
	if diff := cmp.Diff(got.logs[history.HTTP], got.logs[history.SQL]); diff != "" {
		t.Errorf("logs over HTTP and by SQL: %s", diff)
	}
	if diff := cmp.Diff(got.fates[history.HTTP], got.fates[history.SQL]); diff != "" {
		t.Errorf("fates over HTTP and by SQL: %s", diff)
	}
	if diff := cmp.Diff(got.ends[history.HTTP], got.ends[history.SQL]); diff != "" {
		t.Errorf("committed offsets over HTTP and by SQL: %s", diff)
	}
	got.mustBeAllThatTheViewHas(t, database)
}

func TestWhatIsTooEarlyOrOutsideIsRefused(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	cfg := traffic.Config{
		Seed: 2, Prefix: "b-", Timeout: patience, Only: []string{"sequenced", "restarted", "staged", "staged-pair"},
		Proxies: []string{newProxy(t, database), newProxy(t, database)},
	}
	got := run(t, database, cfg, 6000, nil)
	t.Logf("%d early, %d outside: %v", got.early, len(got.outside), got.codes)
	if got.early == 0 || len(got.outside) == 0 {
		t.Errorf("%d requests were too early, %d outside of a transaction", got.early, len(got.outside))
	}
	for log, spans := range got.logs[history.HTTP] {
		for _, s := range spans {
			if slices.Contains(got.outside, s.First) {
				t.Errorf("%s, offset %d: value %d was refused", log, s.Offset, s.First)
			}
		}
	}
}

// leaves reports whether records leave a log.
func leaves(log string) bool {
	return strings.Contains(log, "brief") || strings.Contains(log, "leaving")
}

// forgetWhatLeftMeanwhile removes the records that left logs when they had been read over HTTP. Of a log that lost
// records before, the drain tells what is left.
func (g *told) forgetWhatLeftMeanwhile(t *testing.T) {
	t.Helper()
	left := int64(0)
	for log, spans := range g.logs[history.HTTP] {
		if !leaves(log) {
			continue
		}
		left += spans[0].Offset
		rest := g.logs[history.SQL][log]
		if len(rest) == 0 {
			delete(g.logs[history.HTTP], log)
			continue
		}
		g.logs[history.HTTP][log] = slices.DeleteFunc(spans, func(s history.Span) bool { return s.Offset < rest[0].Offset })
	}
	if left == 0 {
		t.Error("no record has left a log")
	}
}

// mustBeAllThatTheViewHas holds what was drained against the view of records, which is made in another way.
func (g *told) mustBeAllThatTheViewHas(t *testing.T, database string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	drained := 0
	for log, spans := range g.logs[history.SQL] {
		for i, s := range spans {
			if s.First == 0 || s.Offset-spans[0].Offset != int64(i) || s.Offset != int64(i) && !leaves(log) {
				t.Errorf("%s: %+v is record %d", log, s, i)
			}
		}
		if !leaves(log) {
			drained += len(spans)
		}
	}
	var records int
	const sql = `SELECT count(*) FROM records WHERE topic NOT LIKE '%brief' AND topic NOT LIKE '%leaving'`
	if err := conn.QueryRow(t.Context(), sql).Scan(&records); err != nil {
		t.Fatal(err)
	}
	if records != drained || records == 0 {
		t.Errorf("%d records were drained, the view has %d", drained, records)
	}
}
