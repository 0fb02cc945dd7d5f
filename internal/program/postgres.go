package program

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Postgres is the database server under the data directory of a proxy, or of internal/embedded, whoever started it.
type Postgres struct {
	Dir   string // of the data
	Ready bool   // only one that takes connections is there; else also one that starts or recovers

	mu     sync.Mutex
	killed int // the one that was killed last, whose file may still be there; guarded by mu
}

// Kill kills the server, but none of its children: they find out. It returns its process id; 0 if there is none at the
// moment.
func (p *Postgres) Kill() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	pid := p.postmaster()
	if pid == 0 || pid == p.killed || syscall.Kill(pid, syscall.SIGKILL) != nil {
		return 0
	}
	p.killed = pid
	return pid
}

// End ends a server that outlived its proxy, and waits until it is gone.
func (p *Postgres) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	signal := syscall.SIGQUIT
	for range 500 {
		pid := p.postmaster()
		if pid == 0 || pid == p.killed || errors.Is(syscall.Kill(pid, signal), syscall.ESRCH) {
			return
		}
		signal = 0 // from now on only asks whether it is there
		time.Sleep(20 * time.Millisecond)
	}
}

// PID returns the process id of the server; 0 if there is none.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.postmaster()
}

// postmaster is PID for a caller who holds mu.
func (p *Postgres) postmaster() int {
	text, err := os.ReadFile(filepath.Join(p.Dir, "pg", "postmaster.pid"))
	if err != nil {
		return 0
	}
	lines := strings.Split(string(text), "\n")
	if p.Ready && (len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready") {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}
