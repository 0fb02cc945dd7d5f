package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// BouncerEnv is the environment variable that makes a test fail, and not skip,
// where there is no PgBouncer.
const BouncerEnv = "EOS_TEST_PGBOUNCER"

const (
	bouncerPool = 6 // connections to PostgreSQL: fewer than a proxy has to the pooler
	bouncerTime = 20 * time.Second
)

// A Bouncer is a PgBouncer in transaction mode in front of a test's database.
type Bouncer struct {
	t    testing.TB
	dir  string
	user string // that it runs as; empty: as we do
	port int
	name string // of the database

	cmd *exec.Cmd // that runs
	log *output   // of all that ran
}

// NewBouncer starts a PgBouncer in front of the database of a URL, which New or
// NewFrom returned. It ends with the test. Where the program is missing the
// test is skipped, unless BouncerEnv is set.
func NewBouncer(t testing.TB, target string) *Bouncer {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // where an ordinary user's PATH does not lead
	}
	if err != nil && os.Getenv(BouncerEnv) == "" {
		t.Skip("no pgbouncer here; Debian has it in the package of that name")
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(target)
	if err != nil {
		t.Fatal(err)
	}
	b := &Bouncer{t: t, name: cfg.Database, port: freePort(t), log: &output{}}
	if b.dir, err = os.MkdirTemp("", "eos-bouncer-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(b.dir) })
	if os.Geteuid() == 0 {
		b.user = ownerOf(t, cfg.Host)
	}
	b.configure(cfg)
	b.start(program)
	t.Cleanup(func() {
		b.stop()
		if t.Failed() {
			t.Logf("the log of PgBouncer:\n%s", b.log)
		}
	})
	return b
}

// URL returns the URL of the database through the pooler.
func (b *Bouncer) URL() string { return b.url(b.name) }

func (b *Bouncer) url(database string) string {
	return fmt.Sprintf("postgres://eos@127.0.0.1:%d/%s?sslmode=disable", b.port, url.PathEscape(database))
}

// Restart kills PgBouncer, with whatever is on its way, and starts it again.
func (b *Bouncer) Restart() {
	b.t.Helper()
	program := b.cmd.Path
	b.stop()
	b.start(program)
}

// Reconnect makes PgBouncer take a new connection to PostgreSQL for each one
// that it has, as soon as that is free.
func (b *Bouncer) Reconnect() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), bouncerTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, b.url("pgbouncer"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it has done its work
	if err := conn.PgConn().Exec(ctx, "RECONNECT").Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *Bouncer) configure(cfg *pgx.ConnConfig) {
	b.t.Helper()
	password := ""
	if cfg.Password != "" {
		password = " password='" + cfg.Password + "'"
	}
	ini := fmt.Sprintf(`[databases]
%s = host='%s' port=%d user='%s'%s

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
admin_users = eos
pool_mode = transaction
default_pool_size = %d
max_client_conn = 200
log_connections = 0
log_disconnections = 0
`, b.name, cfg.Host, cfg.Port, cfg.User, password, b.port, bouncerPool)
	if err := os.WriteFile(filepath.Join(b.dir, "ini"), []byte(ini), 0o644); err != nil { //nolint:gosec // another user reads it
		b.t.Fatal(err)
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { //nolint:gosec // the same
		b.t.Fatal(err)
	}
}

func (b *Bouncer) start(program string) {
	b.t.Helper()
	args := []string{filepath.Join(b.dir, "ini")}
	if b.user != "" {
		args = []string{"-u", b.user, args[0]}
	}
	b.cmd = exec.CommandContext(context.Background(), program, args...)
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), bouncerTime)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, b.URL())
		if err == nil {
			_ = conn.Close(ctx) // it answers
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			b.t.Fatalf("PgBouncer does not answer: %v\n%s", err, b.log)
		}
	}
}

// stop kills PgBouncer: what SIGTERM means to it differs from version to
// version, from at once to when the last client has gone.
func (b *Bouncer) stop() {
	_ = b.cmd.Process.Kill() // it may have ended
	_ = b.cmd.Wait()         // its error is the signal
}

// freePort returns a port that nobody has at the moment.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()                     //nolint:errcheck // it served its purpose
	return l.Addr().(*net.TCPAddr).Port //nolint:errcheck // a TCP listener
}

// ownerOf returns the user who may enter a directory of sockets: PgBouncer
// refuses to run as root. For the name of a host it is nobody.
func ownerOf(t testing.TB, host string) string {
	t.Helper()
	info, err := os.Stat(host)
	if err != nil {
		return "nobody"
	}
	owner, err := user.LookupId(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid))) //nolint:errcheck // as os.Stat says
	if err != nil {
		t.Fatal(err)
	}
	return owner.Username
}

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
