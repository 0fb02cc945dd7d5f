package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/jackc/pgx/v5"
)

func mustOpen(t *testing.T, url string, cfg faults.Config) *faults.Proxy {
	t.Helper()
	p, err := faults.Open(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// A backend is stopped with the COMMIT before it, and its client has gone: it
// commits when it goes on, not before.
func TestAFrozenBackendCommitsLate(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	direct := mustConnect(t, database)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE done (i integer)"); err != nil {
		t.Fatal(err)
	}
	if pid := direct.PgConn().PID(); syscall.Kill(int(pid), 0) != nil {
		t.Skip("the server's processes are not ours to stop")
	}
	var mu sync.Mutex
	var signals []syscall.Signal
	thaw := make(chan struct{})
	var pids []int
	signal := func(pid int, signal syscall.Signal) error {
		if signal == syscall.SIGCONT {
			<-thaw
		}
		mu.Lock()
		signals, pids = append(signals, signal), append(pids, pid)
		mu.Unlock()
		return syscall.Kill(pid, signal)
	}
	proxy := mustOpen(t, database, faults.Config{Least: time.Millisecond, Signal: signal})
	conn := mustConnect(t, proxy.URL())
	pid := int(conn.PgConn().PID())
	proxy.Arm(faults.Freeze)
	batch := &pgx.Batch{}
	for _, sql := range []string{"BEGIN", "INSERT INTO done VALUES (1)", "COMMIT"} {
		batch.Queue(sql)
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err == nil || !conn.IsClosed() {
		t.Errorf("the client was told (%v)", err)
	}
	for range 100 {
		if mustCount(t, direct, false) {
			t.Fatal("it committed while it was stopped")
		}
	}
	close(thaw)
	if !mustCount(t, direct, true) {
		t.Error("it did not commit")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(signals) != 2 || signals[0] != syscall.SIGSTOP || pids[0] != pid || pids[1] != pid {
		t.Errorf("signals %v to %v; the backend is %d", signals, pids, pid)
	}
	if c := proxy.Counts(); c["Freeze"] != 1 || len(c) != 1 {
		t.Errorf("counted %v", c)
	}
}

// A message in the middle of which the connection breaks has no effect, or one
// that is not told whole.
func TestConnectionsBreakAnywhere(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	direct := mustConnect(t, database)
	for _, f := range []faults.Fault{faults.BreakRequest, faults.BreakAnswer, faults.BreakReady} {
		proxy := mustOpen(t, database, faults.Config{Seed: 1})
		conn := mustConnect(t, proxy.URL())
		if _, err := direct.Exec(t.Context(), "DROP TABLE IF EXISTS done"); err != nil {
			t.Fatal(err)
		}
		var shares faults.Shares
		shares[f] = 10_000
		proxy.SetShares(shares)
		_, err := conn.Exec(t.Context(), "CREATE TABLE done AS SELECT 1 AS i", pgx.QueryExecModeSimpleProtocol)
		proxy.SetShares(faults.Shares{})
		if err == nil || !conn.IsClosed() {
			t.Errorf("%s: the connection is whole (%v)", f, err)
		}
		if c := proxy.Counts(); c[f.String()] != 1 || len(c) != 1 {
			t.Errorf("%s: counted %v", f, c)
		}
		var there bool
		if err := direct.QueryRow(t.Context(), "SELECT to_regclass('done') IS NOT NULL").Scan(&there); err != nil {
			t.Fatal(err)
		}
		if want := f != faults.BreakRequest; there != want {
			t.Errorf("%s: done: %v, want %v", f, there, want)
		}
	}
}

// Nothing passes a blocked proxy, on connections old and new, and all of it does
// afterwards; a COMMIT, too, whose client has given up.
func TestNothingPassesWhileBlocked(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	direct := mustConnect(t, database)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE done (i integer)"); err != nil {
		t.Fatal(err)
	}
	proxy := mustOpen(t, database, faults.Config{})
	conn := mustConnect(t, proxy.URL())
	const insert = "BEGIN; INSERT INTO done VALUES (1)"
	if _, err := conn.Exec(t.Context(), insert, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	proxy.Block(true)
	ctx, giveUp := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer giveUp()
	if _, err := conn.Exec(ctx, "COMMIT", pgx.QueryExecModeSimpleProtocol); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the COMMIT: %v", err)
	}
	if _, err := pgx.Connect(ctx, proxy.URL()); err == nil {
		t.Error("a new connection was served")
	}
	if mustCount(t, direct, false) {
		t.Error("the COMMIT passed")
	}
	proxy.Block(false)
	if !mustCount(t, direct, true) {
		t.Error("the COMMIT was lost")
	}
	mustConnect(t, proxy.URL())
}

func TestSlowMessages(t *testing.T) {
	t.Parallel()
	proxy := mustOpen(t, pgtest.New(t), faults.Config{})
	conn := mustConnect(t, proxy.URL())
	const each = 10 * time.Millisecond
	proxy.Slow(each)
	began := time.Now()
	if _, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	// One up; the description, the row, its end and the readiness down.
	if took := time.Since(began); took < 5*each {
		t.Errorf("it took %s, want %s at least", took, 5*each)
	}
}

// While the server is away, or connections are refused, a client is cut; the
// proxy goes on.
func TestAClientIsCutWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := mustOpen(t, "postgres://nobody@"+listener.Addr().String()+"/x?sslmode=disable", faults.Config{})
	listener.Close()
	there := mustOpen(t, pgtest.New(t), faults.Config{})
	there.Refuse(true)
	for range 3 {
		for _, p := range []*faults.Proxy{away, there} {
			if _, err := pgx.Connect(t.Context(), p.URL()); err == nil {
				t.Error("a connection to nobody")
			}
		}
	}
	there.Refuse(false)
	mustConnect(t, there.URL())
}

// The server may be on a socket file; clients come by TCP all the same.
func TestAServerOnASocketFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", dir+"/.s.PGSQL.5432")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	proxy := mustOpen(t, "host="+dir+" port=5432 user=u dbname=d", faults.Config{})
	address, err := url.Parse(proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", address.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	startup := "\x00\x00\x00\x08\x00\x03\x00\x00"
	if _, err := io.WriteString(client, startup); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(startup))
	if _, err := io.ReadFull(server, got); err != nil || string(got) != startup {
		t.Errorf("the server heard %q (%v)", got, err)
	}
}
