package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long a server gets to end: after the signal for a fast shutdown, and after the one for an
// immediate shutdown. Then it is killed. None of the three loses a commit.
const (
	leftOverTime  = 10 * time.Second
	immediateTime = 5 * time.Second
	pollTime      = 20 * time.Millisecond
)

// endLeftOver ends the server that an earlier proxy left running on the cluster, and its orphaned
// backends, and removes the stale postmaster.pid that would make a start fail. It may only be
// called with the lock held. Process ids are reused: no process gets a signal unless it is a
// server of this very cluster.
func endLeftOver(ctx context.Context, data string, logger *slog.Logger) error {
	file := filepath.Join(data, "postmaster.pid")
	pid, _, err := readPidFile(file)
	if err != nil {
		return fmt.Errorf("left-over server: %w", err)
	}
	if pid != 0 && isServer(pid, data) {
		logger.Warn("ending the PostgreSQL that an earlier eos-proxy left behind", "pid", pid)
		isGone := func() bool { return !isServer(pid, data) }
		if err := end(ctx, pid, leftOverTime, isGone); err != nil {
			return err
		}
	}
	return endOrphans(ctx, data, logger)
}

// endOrphans ends backends whose server died. They would end by themselves, but one that
// is busy may take long to notice, and a new server refuses to start beside it.
func endOrphans(ctx context.Context, data string, logger *slog.Logger) error {
	orphans, known := serversOf(data)
	if !known {
		return nil // Run waits until the server agrees to start
	}
	if len(orphans) > 0 {
		logger.Info("ending the processes of a PostgreSQL that died", "pids", orphans)
	}
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		for _, pid := range orphans {
			_ = syscall.Kill(pid, signal) // it may be gone by now
		}
		err := poll(ctx, immediateTime, func() bool {
			orphans, _ = serversOf(data)
			return len(orphans) == 0
		})
		if err == nil {
			break
		}
		if signal == syscall.SIGKILL || ctx.Err() != nil {
			return fmt.Errorf("processes %v of an earlier PostgreSQL in %s do not end: %w", orphans, data, err)
		}
	}
	// Nobody uses the cluster. A process id in the file that belongs to somebody else today
	// would make the server refuse to start.
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// end ends a server: fast shutdown, immediate shutdown after fastTime, kill.
func end(ctx context.Context, pid int, fastTime time.Duration, isGone func() bool) error {
	steps := []struct {
		signal syscall.Signal
		bound  time.Duration
	}{{syscall.SIGINT, fastTime}, {syscall.SIGQUIT, immediateTime}, {syscall.SIGKILL, immediateTime}}
	for _, step := range steps {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end PostgreSQL (pid %d): %w", pid, err)
		}
		err := poll(ctx, step.bound, isGone)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("PostgreSQL (pid %d) does not end, not even when killed", pid)
}

var errTooLong = errors.New("too long")

// poll waits until done returns true; an error if ctx ends or it takes longer than bound.
func poll(ctx context.Context, bound time.Duration, done func() bool) error {
	timeout := time.NewTimer(bound)
	defer timeout.Stop()
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return errTooLong
		case <-ticker.C:
		}
	}
	return nil
}

const statusLine = 7 // in postmaster.pid, from 0

// readPidFile returns the server's process id and status ("ready" when it accepts connections)
// from postmaster.pid; 0 if there is no such file or nothing in it yet.
func readPidFile(file string) (pid int, status string, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0, "", nil
	}
	if errors.Is(err, os.ErrPermission) {
		return 0, "", fmt.Errorf("%s belongs to another user: start eos-proxy as that user, or name another data directory: %w", filepath.Dir(file), err)
	}
	if err != nil {
		return 0, "", err
	}
	lines := strings.Split(string(text), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 {
		return 0, "", nil //nolint:nilerr // torn or foreign: it names nobody
	}
	if len(lines) > statusLine {
		status = strings.TrimSpace(lines[statusLine])
	}
	return pid, status, nil
}

// isServer reports whether pid is a living PostgreSQL process of the cluster.
func isServer(pid int, data string) bool {
	all, _ := serversOf(data)
	return slices.Contains(all, pid)
}
