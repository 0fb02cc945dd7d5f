package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/appender"
	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/internal/shortcut"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
	"github.com/eos-proxy/eos-proxy/migrations"
	"github.com/jackc/pgx/v5"
)

// settings are those of a proxy under test.
type settings struct {
	handlers.Config
	caps           store.Caps
	tailBytes      int64
	sequenceWait   time.Duration
	headerTimeout  time.Duration
	maxHeaderBytes int
	shortcut       bool // before net/http, as the program has it

	expectsWarnings bool // the story is one that an operator hears of
}

// proxy is one whole proxy: handler, appender, wake loop and store on a
// database, behind a real listener.
type proxy struct {
	url     string // http://host:port
	db      string // URL of its database
	store   *store.Store
	hub     *wake.Hub
	handler *handlers.Handler
	server  *httptest.Server
	sent    *atomic.Int64 // bytes that connections have taken of answers
}

// newProxy starts a proxy on a database of its own.
func newProxy(t testing.TB, change ...func(*settings)) *proxy {
	t.Helper()
	return newProxyOn(t, newDatabase(t), change...)
}

// newProxyOn starts a proxy on the database of another one.
func newProxyOn(t testing.TB, db string, change ...func(*settings)) *proxy {
	t.Helper()
	set := settings{
		Config:         handlers.Config{MaxBodyBytes: 10 << 20, MaxRecords: 10_000, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64},
		tailBytes:      64 << 20,
		sequenceWait:   20 * time.Millisecond,
		headerTimeout:  10 * time.Second,
		maxHeaderBytes: 16 << 10,
	}
	for _, c := range change {
		c(&set)
	}
	log := slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if set.expectsWarnings {
		log = slog.New(slog.DiscardHandler)
	}
	s, err := store.Open(t.Context(), db, store.Config{PoolSize: 4, Caps: set.caps, TailBytes: set.tailBytes, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	hub := wake.New(s.Sizes, log)
	metrics := handlers.NewMetrics(s, hub)
	app := appender.New(s, appender.Config{
		SequenceWait: set.sequenceWait,
		Appended: func(partitionIDs []int64, records int, bytes int64) {
			hub.Wake(partitionIDs)
			metrics.Appended(records, bytes)
		},
		Flushed: metrics.Flushed,
	})
	handler, err := handlers.New(set.Config, s, app, hub, metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	// As serve.go has it, but for the time that a header may take.
	server := httptest.NewUnstartedServer(handler)
	server.Config.ReadHeaderTimeout = set.headerTimeout
	server.Config.IdleTimeout = 5 * time.Minute
	server.Config.MaxHeaderBytes = set.maxHeaderBytes
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	sent := new(atomic.Int64)
	server.Listener = &countingListener{server.Listener, sent}
	if set.shortcut {
		short := shortcut.New(server.Listener, shortcut.Config{
			Handler: handler, Takes: handlers.IsRecordsPath, ErrorLog: server.Config.ErrorLog,
			HeaderTimeout: set.headerTimeout, IdleTimeout: server.Config.IdleTimeout,
		})
		server.Listener = short
		go short.Run()
		t.Cleanup(func() {
			if err := short.Shutdown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	server.Start()

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 4)
	go func() { ended <- handler.Groups().Run(ctx) }()
	go func() { ended <- app.Run(ctx) }()
	go func() { ended <- app.RunAside(ctx) }()
	go func() { ended <- hub.Run(ctx) }()
	t.Cleanup(func() {
		handler.Drain()
		server.CloseClientConnections()
		server.Close()
		stop()
		for range 4 {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("a loop ended: %v", err)
			}
		}
		s.Close()
	})
	return &proxy{url: server.URL, db: db, store: s, hub: hub, handler: handler, server: server, sent: sent}
}

// countingListener counts what its connections take.
type countingListener struct {
	net.Listener
	sent *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is no TCP connection", conn)
	}
	return &countingConn{tcp, l.sent}, nil
}

type countingConn struct {
	*net.TCPConn
	sent *atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// waiting returns how many fetches wait.
func (p *proxy) waiting() int { return p.hub.Waiting() }

// newDatabase returns the URL of a migrated database of the test's own.
func newDatabase(t testing.TB) string {
	t.Helper()
	return pgtest.NewFrom(t, pgtest.TemplateName(t, "handlers_", migrations.Files), store.Migrate)
}

// logWriter fails the test of a proxy that logs a warning: no story here is one
// that an operator must hear of.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(line []byte) (int, error) {
	w.t.Errorf("the proxy logs: %s", line)
	return len(line), nil
}

// digest returns everything that is stored, as one number: what changes
// nothing leaves it as it was.
func (p *proxy) digest(t *testing.T) string {
	t.Helper()
	const sql = `
		SELECT md5(string_agg(row, E'\n' ORDER BY row))
		FROM (SELECT 'topics' || r::text AS row FROM topics r
		      UNION ALL SELECT 'partitions' || r::text FROM partitions r
		      UNION ALL SELECT 'batches' || r::text FROM batches r
		      UNION ALL SELECT 'producers' || r::text FROM producers r
		      UNION ALL SELECT 'registrations' || r::text FROM registrations r
		      UNION ALL SELECT 'transactions' || r::text FROM transactions r
		      UNION ALL SELECT 'stagings' || r::text FROM stagings r
		      UNION ALL SELECT 'staged_offsets' || r::text FROM staged_offsets r
		      UNION ALL SELECT 'staged_requests' || r::text FROM staged_requests r
		      UNION ALL SELECT 'committed_offsets' || r::text FROM committed_offsets r
		      UNION ALL SELECT 'groups' || r::text FROM groups r
		      UNION ALL SELECT 'members' || r::text FROM members r
		      UNION ALL SELECT 'replaced_members' || r::text FROM replaced_members r
		      UNION ALL SELECT 'group_partitions' || r::text FROM group_partitions r
		      UNION ALL SELECT 'group_epochs' || r::text FROM group_epochs r
		      UNION ALL SELECT 'nothing') rows`
	var sum string
	p.query(t, sql, &sum)
	return sum
}

// query reads one value from the database, past the proxy.
func (p *proxy) query(t *testing.T, sql string, into any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), sql).Scan(into); err != nil {
		t.Fatal(err)
	}
}

// client returns a client with one connection to the proxy.
func (p *proxy) client(t *testing.T) *client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{url: p.url, http: &http.Client{Transport: transport}}
}
