package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/embedded"
	"github.com/jackc/pgx/v5"
)

// A postgres is the server of a run, on fresh data, started as the proxy starts its own, with the same
// settings.
type postgres struct {
	server *embedded.Server
	pid    int
	bin    string     // of its programs; empty where it cannot be known
	conn   *pgx.Conn  // for what surrounds the measurements
	ended  chan error // the result of server.Run
	cancel func()     // stops the server
	rows   *pgx.Conn  // for the ceilings, to their database
}

// startPostgres starts the server below dir, with a database for the ceilings in it.
func startPostgres(ctx context.Context, dir string) (_ *postgres, err error) {
	p := &postgres{ended: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p.server, err = embedded.Open(ctx, embedded.Config{Dir: dir, Logger: log, Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	go func() { p.ended <- p.server.Run(running) }()
	select {
	case err := <-p.ended:
		p.ended <- err
		return nil, errors.Join(err, p.stop(ctx))
	case <-p.server.Started():
	}
	if err := p.prepare(ctx, dir); err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	return p, nil
}

func (p *postgres) prepare(ctx context.Context, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "pg", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if p.pid, err = strconv.Atoi(first); err != nil {
		return fmt.Errorf("postmaster.pid: %w", err)
	}
	if program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)); err == nil {
		p.bin = filepath.Dir(program)
	}
	if p.conn, err = pgx.Connect(ctx, p.server.URL()); err != nil {
		return err
	}
	for _, name := range []string{"eos", "ceilings"} {
		if _, err := p.conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
			return err
		}
	}
	if p.rows, err = pgx.Connect(ctx, p.database("ceilings")); err != nil {
		return err
	}
	_, err = p.rows.Exec(ctx, sqlCeilingTables)
	return err
}

// stop stops the server; it may be called whatever was started of it.
func (p *postgres) stop(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	for _, conn := range []*pgx.Conn{p.conn, p.rows} {
		if conn != nil {
			_ = conn.Close(ctx)
		}
	}
	p.cancel()
	return errors.Join(<-p.ended, p.server.Close())
}

// database returns the URL of one of the server's databases.
func (p *postgres) database(name string) string {
	u, err := url.Parse(p.server.URL())
	if err != nil {
		panic(err) // it is made by url.Values
	}
	u.Path = "/" + name
	return u.String()
}

// connect makes n connections to the database of the ceilings. What it returns closes them, also after an error.
func (p *postgres) connect(ctx context.Context, n int) (conns []*pgx.Conn, disconnect func(), err error) {
	disconnect = func() {
		for _, conn := range conns {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}
	for range n {
		conn, err := pgx.Connect(ctx, p.database("ceilings"))
		if err != nil {
			return conns, disconnect, err
		}
		conns = append(conns, conn)
	}
	return conns, disconnect, nil
}

// wal returns how many bytes of WAL were ever written.
func (p *postgres) wal(ctx context.Context) (n int64, err error) {
	err = p.conn.QueryRow(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`).Scan(&n)
	return n, err
}

// version returns what the server calls itself.
func (p *postgres) version(ctx context.Context) (text string, err error) {
	err = p.conn.QueryRow(ctx, `SHOW server_version`).Scan(&text)
	return text, err
}

// program returns the path of one of PostgreSQL's client programs: beside the server's, or on the path;
// empty if there is none.
func (p *postgres) program(name string) string {
	beside := filepath.Join(p.bin, name)
	if info, err := os.Stat(beside); p.bin != "" && err == nil && !info.IsDir() {
		return beside
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}
