// Package embedded runs a PostgreSQL of the proxy's own, used when no database URL is given.
//
// It finds installed server programs (PostgreSQL 15 to 18) or downloads them once, makes a
// database cluster, starts the server, restarts it whenever it dies, and stops it at the end.
// It knows nothing of topics and records: what it hands out is a connection string.
//
// The data it keeps, below Config.Dir:
//
//	lock       locked (flock) by the one proxy that uses the directory; holds its process id
//	pg/        the cluster (PGDATA), owned by the user the server runs as
//	run/       the Unix socket's directory, mode 0700; the server listens nowhere else
//
// Downloaded programs are kept in the user's cache directory.
//
// # What holds after a crash
//
// The cluster is made in a directory of another name and renamed, so pg/ is complete or missing.
// If the server dies, Run starts it again. If the proxy dies (kill -9), its lock goes with it
// while its server may live on: the next Open ends that server before anything else, and an
// acknowledged commit is found again because fsync, full_page_writes and synchronous_commit are
// on, given on the command line where no configuration file can turn them off.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// Config says where the server keeps its data and whom it tells what it does.
type Config struct {
	Dir      string            // the proxy's data directory; made if missing
	Logger   *slog.Logger      // nil discards
	Progress io.Writer         // the progress of a download, for a person; may be nil
	Settings map[string]string // PostgreSQL settings on top of those of this package
}

// Server is a PostgreSQL server and the lock on its data directory. It is made by Open.
type Server struct {
	cfg      Config
	user     *account // whom the server runs as; nil: as ourselves
	programs programs
	lock     *dirLock
	data     string // PGDATA
	socket   string // the socket's directory
	tempSock bool   // socket is a temporary directory, removed by Close
	settings map[string]string

	state   atomic.Int32  // idle → running → stopped → closed
	started chan struct{} // closed by Run
}

const (
	idle = iota
	running
	stopped
	closed
)

// maxSocketPath keeps the socket's path below what sockaddr_un holds (104 bytes on macOS, 108 on
// Linux), with room for the ".lock" that PostgreSQL puts beside it.
const maxSocketPath = 98

// Open takes the data directory for this process, finds or downloads the server programs, ends a
// server that an earlier process left behind, and makes the cluster if there is none. It starts
// no goroutine and leaves no process behind; Run starts the server. The error says what to do
// when the directory is in use, cannot be entered by the user that the server runs as, or when
// there are no programs.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	return open(ctx, cfg, newLocator())
}

func open(ctx context.Context, cfg Config, where locator) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Dir == "" {
		return nil, errors.New("data directory: empty path")
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	user, err := serverUser(filepath.Join(cfg.Dir, "pg"))
	if err != nil {
		return nil, err
	}
	if err := user.mayEnter(cfg.Dir); err != nil {
		return nil, err
	}
	if err := makeDir(cfg.Dir, user); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	// One name for one directory: a left-over server is known by it.
	if cfg.Dir, err = filepath.EvalSymlinks(cfg.Dir); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	s := &Server{
		cfg:     cfg,
		user:    user,
		data:    filepath.Join(cfg.Dir, "pg"),
		started: make(chan struct{}),
	}
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, where); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// prepare does what Open does once it has the lock.
func (s *Server) prepare(ctx context.Context, where locator) error {
	if err := endLeftOver(ctx, s.data, s.cfg.Logger); err != nil {
		return err
	}
	major, err := clusterVersion(s.data)
	if err != nil {
		return err
	}
	if s.programs, err = where.programs(ctx, major, s.user, s.cfg); err != nil {
		return err
	}
	if err := s.ensureCluster(ctx, major != 0); err != nil {
		return err
	}
	if err := s.makeSocketDir(); err != nil {
		return fmt.Errorf("socket directory: %w", err)
	}
	s.settings, err = s.chooseSettings(ctx)
	return err
}

// URL returns a connection string for pgx: the superuser "postgres" on the database "postgres",
// over the Unix socket. It is valid as soon as Started is closed, and again after each restart.
func (s *Server) URL() string {
	query := url.Values{"host": {s.socket}, "port": {"5432"}, "sslmode": {"disable"}}
	return "postgres://postgres@/postgres?" + query.Encode()
}

// Started returns a channel that Run closes when the server has accepted its first connection.
// If Run fails before that, the channel stays open: wait for Run too.
func (s *Server) Started() <-chan struct{} { return s.started }

// Close releases the data directory. Call it after Run has returned, or when Run was never
// called; while Run is at work it changes nothing and returns an error. A second call does
// nothing.
func (s *Server) Close() error {
	switch old := s.state.Load(); {
	case old == closed:
		return nil
	case old == running || !s.state.CompareAndSwap(old, closed):
		return errors.New("close of the embedded PostgreSQL while it runs")
	}
	return s.release()
}

func (s *Server) release() error {
	var err error
	if s.tempSock {
		err = os.RemoveAll(s.socket)
	}
	return errors.Join(err, s.lock.release())
}

// makeSocketDir chooses and makes the socket's directory. Whoever can enter it is the database's
// superuser, so nobody but the server's user (and root) can.
func (s *Server) makeSocketDir() error {
	s.socket = filepath.Join(s.cfg.Dir, "run")
	if len(socketFile(s.socket)) > maxSocketPath {
		temp := os.TempDir()
		if len(temp) > maxSocketPath/2 || s.user.mayEnter(temp) != nil {
			temp = "/tmp"
		}
		dir, err := os.MkdirTemp(temp, "eos-pg-")
		if err != nil {
			return err
		}
		s.socket, s.tempSock = dir, true
	} else if err := os.MkdirAll(s.socket, 0o700); err != nil {
		return err
	}
	// The lock is ours and a left-over server has ended: these belong to nobody. A lock file
	// that names a process id used by somebody else today would make the server refuse to start.
	for _, file := range []string{socketFile(s.socket), socketFile(s.socket) + ".lock"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := s.user.own(s.socket); err != nil {
		return err
	}
	return os.Chmod(s.socket, 0o700)
}

func socketFile(dir string) string { return filepath.Join(dir, ".s.PGSQL.5432") }

// DefaultDir returns the data directory to use when the user names none: "eos-data" in the
// working directory; as root in a directory that the server's user cannot enter,
// /var/lib/eos-proxy.
func DefaultDir() string {
	const dir = "eos-data"
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	user, err := serverUser(filepath.Join(abs, "pg"))
	if err != nil || user.mayEnter(abs) == nil {
		return dir
	}
	return "/var/lib/eos-proxy"
}

// makeDir makes the data directory. The server's user must be able to pass through it.
func makeDir(dir string, user *account) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	mode := os.FileMode(0o700)
	if user != nil {
		mode = 0o755
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	return os.Chmod(dir, mode) // whatever the umask
}

// oneLine makes the output of a program fit for an error.
func oneLine(text []byte) string {
	return strings.Join(strings.Fields(string(text)), " ")
}
