package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// asProxy makes the test binary a proxy that serves this data directory until it is killed.
const asProxy = "EOS_TEST_EMBEDDED_PROXY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asProxy); dir != "" {
		if err := proxy(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func proxy(dir string) error {
	server, err := Open(context.Background(), Config{Dir: dir})
	if err != nil {
		return err
	}
	go func() {
		<-server.Started()
		fmt.Println(server.URL())
	}()
	return server.Run(context.Background())
}

func TestServesAndKeepsItsDataOverAStop(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for _, want := range []int{1, 2} {
		server := mustOpen(t, Config{Dir: dir})
		stop := mustRun(t, server)
		conn := mustConnect(t, server.URL())
		mustExec(t, conn, "CREATE TABLE IF NOT EXISTS kept (id int)")
		mustExec(t, conn, "INSERT INTO kept VALUES (1)")
		if got := queryInt(t, conn, "SELECT count(*) FROM kept"); got != want {
			t.Errorf("after start %d: %d rows", want, got)
		}
		if err := server.Close(); err == nil {
			t.Error("Close while the server runs: no error")
		}
		pid := serverPid(t, server)
		stop()
		if isServer(pid, server.data) {
			t.Error("the server is still there after Run")
		}
		if err := errors.Join(server.Close(), server.Close()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestSecondOpenOfADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := mustOpen(t, Config{Dir: dir})
	_, err := Open(t.Context(), Config{Dir: dir})
	want := fmt.Sprintf("data directory %s is in use by another eos-proxy (pid %d)", dir, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("second Open:\n got %v\nwant %s", err, want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{Dir: dir})
}

func TestKilledServerComesBack(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, Config{Dir: newDir(t)})
	mustRun(t, server)
	conn := mustConnect(t, server.URL())
	mustExec(t, conn, "CREATE TABLE kept (id int)")
	mustExec(t, conn, "INSERT INTO kept VALUES (7)")
	for range 2 {
		old := serverPid(t, server)
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		conn = mustReconnect(t, server, old)
		if got := queryInt(t, conn, "SELECT id FROM kept"); got != 7 {
			t.Errorf("row after the restart: %d", got)
		}
	}
}

func TestServerKilledWhileItStartsComesBack(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, Config{Dir: newDir(t)})
	killed := make(chan error, 1)
	go func() {
		killed <- poll(context.Background(), time.Minute, func() bool {
			pid, _, err := readPidFile(filepath.Join(server.data, "postmaster.pid"))
			return err == nil && pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil
		})
	}()
	mustRun(t, server)
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	mustReconnect(t, server, 0)
}

// A backend that computes does not notice the death of its server, and no new one starts beside it.
func TestKilledServerComesBackBesideABusyBackend(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, Config{Dir: newDir(t)})
	mustRun(t, server)
	busy := mustConnect(t, server.URL())
	watch := mustConnect(t, server.URL())
	pid := busy.PgConn().PID()
	done := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 100000000000)")
		done <- err
	}()
	for queryInt(t, watch, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid = "+strconv.Itoa(int(pid))) == 0 { //nolint:revive // the query is the wait
	}
	old := serverPid(t, server)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	mustReconnect(t, server, old)
	if err := <-done; err == nil {
		t.Error("the busy backend finished")
	}
}

func TestServerOfAKilledProxyIsEndedAndTakenOver(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), asProxy+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the proxy did not start: %v", err)
	}
	conn := mustConnect(t, strings.TrimSpace(url))
	mustExec(t, conn, "CREATE TABLE kept (id int)")
	mustExec(t, conn, "INSERT INTO kept VALUES (7)")
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "(pid "+strconv.Itoa(cmd.Process.Pid)+")") {
		t.Errorf("Open beside the living proxy: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	data := filepath.Join(dir, "pg")
	old, _, err := readPidFile(filepath.Join(data, "postmaster.pid"))
	if err != nil || !isServer(old, data) {
		t.Fatalf("the killed proxy left no server (pid %d, %v)", old, err)
	}

	server := mustOpen(t, Config{Dir: dir})
	if isServer(old, data) {
		t.Error("Open left the old server running")
	}
	mustRun(t, server)
	if got := queryInt(t, mustConnect(t, server.URL()), "SELECT id FROM kept"); got != 7 {
		t.Errorf("row after the take-over: %d", got)
	}
}

// Process ids are used again: the file names a process that is alive and not ours.
func TestStalePidFilesAreNoObstacle(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := mustOpen(t, Config{Dir: dir})
	mustRun(t, first)()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	stranger := first.user.command(t.Context(), "/bin/sh", "-c", "read forever")
	stdin, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	text := fmt.Appendf(nil, "%d\n%s\n1\n5432\n%s\n\n0 0\nready\n", stranger.Process.Pid, first.data, first.socket)
	for _, file := range []string{filepath.Join(first.data, "postmaster.pid"), socketFile(first.socket) + ".lock"} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := first.user.own(file); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, mustOpen(t, Config{Dir: dir}))
	if err := stdin.Close(); err != nil { // its only way to end: a signal would show as another error
		t.Fatal(err)
	}
	if err := stranger.Wait(); err == nil || stranger.ProcessState.ExitCode() != 1 {
		t.Errorf("the stranger was touched: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, Config{Dir: newDir(t), Settings: map[string]string{"max_connections": "37"}})
	mustRun(t, server)
	conn := mustConnect(t, server.URL())
	// Not even the superuser can turn it off for everybody.
	mustExec(t, conn, "ALTER SYSTEM SET fsync = off")
	mustExec(t, conn, "SELECT pg_reload_conf()")
	conn = mustConnect(t, server.URL())
	want := map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
		"listen_addresses": "", "unix_socket_permissions": "0700", "max_connections": "37",
		"shared_buffers": "128MB", "max_wal_size": "2GB", "autovacuum": "on",
		"server_encoding": "UTF8", "lc_messages": "C", "TimeZone": "UTC",
		"wal_compression": server.settings["wal_compression"],
	}
	got := map[string]string{}
	for name := range want {
		var value string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	info, err := os.Stat(server.socket)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket directory: mode %v, %v", info.Mode(), err)
	}
}

func TestBadSettingEndsRunWithTheServersWords(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, Config{Dir: newDir(t), Settings: map[string]string{"shared_buffers": "much"}})
	err := server.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "much"`) {
		t.Errorf("Run: %v", err)
	}
	select {
	case <-server.Started():
		t.Error("Started is closed")
	default:
	}
}

func TestLongPathGetsASocketDirectoryElsewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDir(t), strings.Repeat("long", 30))
	server := mustOpen(t, Config{Dir: dir})
	if strings.HasPrefix(server.socket, dir) || len(socketFile(server.socket)) > maxSocketPath {
		t.Errorf("socket directory %s", server.socket)
	}
	stop := mustRun(t, server)
	mustConnect(t, server.URL())
	stop()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(server.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket directory after Close: %v", err)
	}
}

func TestOpenAndRunEndWithTheirContext(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	server := mustOpen(t, Config{Dir: dir})
	if err := server.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if pids, _ := serversOf(server.data); len(pids) > 0 {
		t.Errorf("processes %v left", pids)
	}
	if err := server.Run(t.Context()); err == nil {
		t.Error("second Run: no error")
	}
}

// newDir returns a directory that the server's user can enter, which t.TempDir is not for root.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "eos-embedded-")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func mustOpen(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Logger = testLogger(t)
	server, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// mustRun runs the server until the test ends or the returned function is called.
func mustRun(t *testing.T, server *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = server.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-server.Started():
	case <-done:
		t.Fatalf("Run: %v", err)
	}
	return stop
}

func mustConnect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the server may be gone
	return conn
}

// mustReconnect waits for a server other than old.
func mustReconnect(t *testing.T, server *Server, old int) *pgx.Conn {
	t.Helper()
	var conn *pgx.Conn
	err := poll(t.Context(), time.Minute, func() bool {
		pid, _, err := readPidFile(filepath.Join(server.data, "postmaster.pid"))
		if err != nil || pid == old {
			return false
		}
		conn, err = pgx.Connect(t.Context(), server.URL())
		return err == nil
	})
	if err != nil {
		t.Fatalf("the server did not come back: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func queryInt(t *testing.T, conn *pgx.Conn, sql string) int {
	t.Helper()
	var n int
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func serverPid(t *testing.T, server *Server) int {
	t.Helper()
	pid, _, err := readPidFile(filepath.Join(server.data, "postmaster.pid"))
	if err != nil || pid == 0 {
		t.Fatalf("postmaster.pid: %d, %v", pid, err)
	}
	return pid
}
