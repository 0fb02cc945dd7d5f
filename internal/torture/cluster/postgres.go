package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/embedded"
	"github.com/eos-proxy/eos-proxy/internal/program"
	"github.com/jackc/pgx/v5"
)

// Postgres is the database server of a cluster, which is started again whenever it dies. Its methods may be called by
// anybody at any time.
type Postgres struct {
	URL  string // of the server itself
	Data *Disk  // that its data are on; nil: on none of its own
	WAL  *Disk  // that its write-ahead log is on; nil: where the data are

	Missing []string // what could not be had on this machine, and why

	server *embedded.Server
	pid    program.Postgres
	dir    string
}

// settings are those in which a run differs from what the proxy's own PostgreSQL has: few connections, so that they
// can run out, a log that is kept, and segments of the write-ahead log that are soon used up.
var settings = map[string]string{
	"max_connections":    "60",
	"max_wal_size":       "256MB",
	"min_wal_size":       "64MB",
	"checkpoint_timeout": "60s",
	"log_min_messages":   "error", // and what is above it: LOG, FATAL, PANIC
}

// openPostgres makes the database, and its disks; Run of its server starts it.
func openPostgres(ctx context.Context, cfg Config, log *log) (_ *Postgres, err error) {
	p := &Postgres{dir: filepath.Join(cfg.Dir, "data")}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	p.mount(ctx, cfg)
	logger := slog.New(slog.NewTextHandler(log.writer("postgres"), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.server, err = embedded.Open(ctx, embedded.Config{
		Dir: p.dir, Logger: logger, Progress: os.Stderr, Settings: settings,
	})
	if err != nil {
		return p, err
	}
	p.URL = p.server.URL()
	p.pid = program.Postgres{Dir: p.dir, Ready: true}
	if p.WAL != nil {
		err = p.moveWAL(ctx)
	}
	return p, err
}

// mount makes what disks can be had.
func (p *Postgres) mount(ctx context.Context, cfg Config) {
	if cfg.Disk == None || cfg.Disk == "" {
		p.missing("disks", errors.New("none were asked for"))
		return
	}
	var err error
	if p.Data, err = mount(ctx, cfg.Disk, p.dir, cfg.DataBytes); err != nil {
		p.Data = nil
		p.missing("a disk for the data", err)
		return
	}
	if p.WAL, err = mount(ctx, cfg.Disk, filepath.Join(cfg.Dir, "wal"), cfg.WALBytes); err != nil {
		p.WAL = nil
		p.missing("a disk for the write-ahead log", err)
		return
	}
	if err := p.WAL.limit(fmt.Sprintf("eos-torture-%d", os.Getpid())); err != nil {
		p.missing("a slow disk", err)
	}
}

func (p *Postgres) missing(what string, err error) {
	p.Missing = append(p.Missing, what+": "+err.Error())
}

// moveWAL moves the write-ahead log to its disk.
func (p *Postgres) moveWAL(ctx context.Context) error {
	from, to := filepath.Join(p.dir, "pg", "pg_wal"), filepath.Join(p.WAL.dir, "pg_wal")
	if err := command(ctx, "cp", "-a", from, to); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(from), os.Symlink(to, from))
}

// close releases the data, and its disks. The server has ended, or was never started.
func (p *Postgres) close() (err error) {
	if p.server != nil {
		err = p.server.Close()
	}
	for _, d := range []*Disk{p.WAL, p.Data} {
		if d != nil {
			err = errors.Join(err, d.unmount())
		}
	}
	return err
}

// Kill kills the server, but none of its children: they find out. It reports false if there is none at the moment that
// takes connections.
func (p *Postgres) Kill() bool { return p.pid.Kill() != 0 }

// Stop ends the server by a signal: SIGQUIT at once, without writing anything down; SIGINT in order, without waiting
// for clients. It is started again. It reports false if there is none at the moment.
func (p *Postgres) Stop(signal syscall.Signal) bool {
	pid := p.pid.PID()
	return pid != 0 && syscall.Kill(pid, signal) == nil
}

// PID returns the process id of the server that takes connections; 0 if there is none.
func (p *Postgres) PID() int { return p.pid.PID() }

// Backend reports whether a process is one of the server's children.
func (p *Postgres) Backend(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	server := p.pid.PID()
	return server != 0 && len(fields) > 1 && fields[1] == strconv.Itoa(server)
}

// Connect opens a connection to the server itself.
func (p *Postgres) Connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return pgx.Connect(ctx, p.URL)
}

// Used returns how many bytes the data and the write-ahead log take.
func (p *Postgres) Used() (data, wal int64) {
	log := filepath.Join(p.dir, "pg", "pg_wal")
	if to, err := filepath.EvalSymlinks(log); err == nil {
		log = to
	}
	return size(filepath.Join(p.dir, "pg")), size(log)
}

// size returns how many bytes the files below a directory have.
func size(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it is gone
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
