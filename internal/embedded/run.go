package embedded

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	stopTime       = 30 * time.Second // for the shutdown checkpoint
	orphanTime     = 30 * time.Second // for the backends of a killed server to notice
	firstBackoff   = 50 * time.Millisecond
	longestBackoff = 5 * time.Second
	longLife       = time.Minute // after which a death is the first one again
)

// Run starts the server and keeps it running until ctx ends: a server that dies is started again,
// at once the first time, then at growing intervals. At the end it stops the server and returns
// nil when it is gone. It returns an error if the server gives up by itself before it ran once; one
// that was running, or that was killed, is tried again for ever. Run may be called once.
func (s *Server) Run(ctx context.Context) error {
	if !s.state.CompareAndSwap(idle, running) {
		return errors.New("the embedded PostgreSQL was run or closed before")
	}
	defer s.state.Store(stopped)

	log := s.cfg.Logger
	wait := firstBackoff
	began := time.Now() // of the first of the attempts since the server last ran
	for hasRun := false; ; {
		life, err := s.runOnce(ctx)
		if ctx.Err() != nil {
			return err
		}
		switch {
		case life > 0:
			hasRun, began = true, time.Now()
			if life > longLife {
				wait = firstBackoff
			}
			log.Error("PostgreSQL died, starting it again", "after", life.Round(time.Millisecond), "error", err)
		case errors.Is(err, errOrphans) && time.Since(began) < orphanTime:
			wait = 2 * firstBackoff
			log.Debug("the processes of the killed PostgreSQL are still there", "error", err)
		case errors.Is(err, errKilled):
			log.Error("PostgreSQL was killed while it started, starting it again", "error", err)
		case !hasRun:
			return err
		default:
			log.Error("PostgreSQL does not start, trying again", "in", wait, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, longestBackoff)
		if err := endOrphans(ctx, s.data, log); err != nil && ctx.Err() == nil {
			log.Error("waiting for the PostgreSQL that died", "error", err)
		}
	}
}

// Why a server did not start, where trying again may help.
var (
	errOrphans = errors.New("processes of an earlier PostgreSQL are still running")
	errKilled  = errors.New("PostgreSQL was killed")
)

// runOnce starts the server and waits until it or ctx has ended; in each case the server is gone
// when it returns. life is how long it accepted connections, 0 if it never did. The error says
// why it ended; it is nil only if ctx ended and the server shut down.
func (s *Server) runOnce(ctx context.Context) (life time.Duration, _ error) {
	output := &serverLog{logger: s.cfg.Logger}
	// Without cancel: the end of ctx means a shutdown, not a kill.
	cmd := s.user.command(context.WithoutCancel(ctx), s.programs.path("postgres"), s.arguments()...)
	cmd.Dir = s.cfg.Dir
	cmd.Stderr = output
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start PostgreSQL: %w", err)
	}
	pid := cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // ProcessState and the output tell more
	}()

	ready, err := s.awaitReady(ctx, pid, exited)
	if ready {
		began := time.Now()
		s.announce(pid)
		select {
		case <-exited:
		case <-ctx.Done():
		}
		life = max(time.Since(began), 1)
	}
	select {
	case <-exited:
		if ctx.Err() != nil {
			return life, nil //nolint:nilerr // ended when it was to end
		}
		last := output.last()
		if strings.Contains(last, "pre-existing shared memory block") || strings.Contains(last, `lock file "postmaster.pid" already exists`) {
			return life, fmt.Errorf("%w: %s", errOrphans, last)
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return life, fmt.Errorf("%w (%s): %s", errKilled, cmd.ProcessState, last)
		}
		return life, fmt.Errorf("PostgreSQL ended (%s): %s", cmd.ProcessState, last)
	default:
		return life, errors.Join(err, s.stop(pid, exited))
	}
}

// announce tells that the server accepts connections.
func (s *Server) announce(pid int) {
	select {
	case <-s.started:
	default:
		close(s.started)
	}
	s.cfg.Logger.Info("PostgreSQL runs", "pid", pid, "version", s.programs.version(), "dir", s.data)
}

// stop ends the server and waits until it is gone. The end of the caller's context does not
// shorten it.
func (s *Server) stop(pid int, exited <-chan struct{}) error {
	err := end(context.Background(), pid, stopTime, func() bool {
		select {
		case <-exited:
			return true
		default:
			return false
		}
	})
	if err == nil {
		s.cfg.Logger.Info("PostgreSQL stopped", "pid", pid)
	}
	return err
}

// awaitReady waits until the server accepts a connection, as long as its recovery takes. It
// returns false when the server or ctx ended first (no error), or when a connection is refused
// for another reason than that the server is starting up.
func (s *Server) awaitReady(ctx context.Context, pid int, exited <-chan struct{}) (bool, error) {
	ticker := time.NewTicker(pollTime / 2)
	defer ticker.Stop()
	began := time.Now()
	tell := began.Add(10 * time.Second)
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-exited:
			return false, nil
		case <-ticker.C:
		}
		if now := time.Now(); now.After(tell) {
			tell = now.Add(10 * time.Second)
			s.cfg.Logger.Info("PostgreSQL is still starting", "for", now.Sub(began).Round(time.Second))
		}
		// Asking the file first keeps refused connections out of the server's log.
		if owner, status, err := readPidFile(filepath.Join(s.data, "postmaster.pid")); err != nil || owner != pid || status != "ready" {
			continue
		}
		if ready, err := s.accepts(ctx); ready || err != nil {
			return ready, err
		}
	}
}

// accepts reports whether the server accepts connections; false without an error while it is
// starting up.
func (s *Server) accepts(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.URL())
	if err == nil {
		return true, conn.Close(ctx)
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code == "57P03" { // cannot_connect_now
		return false, nil
	}
	if refused.Code == "53300" { // too_many_connections: others were faster
		return true, nil
	}
	return false, fmt.Errorf("the embedded PostgreSQL refuses us: %w", err)
}
