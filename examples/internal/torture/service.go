package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/embedded"
)

// A service is some proxies over one PostgreSQL, all of them processes that are started again when they die.
type service struct {
	binary  string
	dir     string // of PostgreSQL's data
	url     string // of the database
	proxies []*proxy
	log     *journal

	mu       sync.Mutex
	postgres int // the PostgreSQL that was killed last; guarded by mu
}

// A proxy is one place in the service.
type proxy struct {
	mu      sync.Mutex
	process *process // nil while none runs; guarded by mu
	address string   // where it answers; empty while it does not; guarded by mu
	frozen  bool     // stopped, to go on later; guarded by mu
}

// build compiles a program of the module in root.
func build(ctx context.Context, root, path, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, path)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", path, err, out)
	}
	return nil
}

// openPostgres makes the database of the service; Run starts it.
func (s *service) openPostgres(ctx context.Context, log io.Writer) (*embedded.Server, error) {
	server, err := embedded.Open(ctx, embedded.Config{
		Dir: s.dir, Logger: slog.New(slog.NewTextHandler(log, nil)), Progress: os.Stderr,
	})
	if err == nil {
		s.url = server.URL()
	}
	return server, err
}

// run keeps a proxy running until ctx ends, and then waits for its end. It returns an error if the proxy ends
// otherwise.
func (p *proxy) run(ctx context.Context, s *service, name string) error {
	args := []string{"serve", "--listen", "127.0.0.1:0", "--database-url", s.url, "--log-format", "text"}
	for ctx.Err() == nil {
		started, err := spawn(ctx, s.binary, args, func(from *process, line string) {
			s.log.line(name, line)
			if url, ok := strings.CutPrefix(line, "eos-proxy answers on http://"); ok {
				p.set(from, url)
			}
		})
		if err != nil {
			return err
		}
		p.set(started, "")
		<-started.ended
		p.mu.Lock()
		p.process, p.address = nil, ""
		p.mu.Unlock()
		if err := started.excuse(ctx); err != nil {
			return err
		}
	}
	return nil
}

// set notes the process, and its address, which may be heard of first.
func (p *proxy) set(running *process, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != running {
		p.process, p.address = running, address
	} else if address != "" {
		p.address = address
	}
}

// upstream returns where the proxy answers now; empty while it does not.
func (p *proxy) upstream() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// kill kills the proxy, and reports false if there is none at the moment.
func (p *proxy) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil || !p.process.kill() {
		return false
	}
	p.address = ""
	return true
}

// killProxy kills one of the proxies.
func (s *service) killProxy(random *rand.Rand) bool {
	i := random.IntN(len(s.proxies))
	ok := s.proxies[i].kill()
	if ok {
		s.log.line("chaos", fmt.Sprintf("killed proxy %d", i))
	}
	return ok
}

// freezeProxy stops one of the proxies, and lets it go on later, with all that it was about to do.
func (s *service) freezeProxy(random *rand.Rand, later time.Duration) bool {
	i := random.IntN(len(s.proxies))
	p := s.proxies[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.address == "" || p.frozen || !p.process.stop() {
		return false
	}
	s.log.line("chaos", fmt.Sprintf("froze proxy %d for %s", i, later.Round(time.Millisecond)))
	p.frozen = true
	frozen := p.process
	time.AfterFunc(later, func() {
		frozen.resume()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.frozen = false
	})
	return true
}

// killPostgres kills the database server, but none of its children: they find out. It reports false when there is
// none at the moment.
func (s *service) killPostgres() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := postmaster(s.dir)
	if err != nil || pid == s.postgres || syscall.Kill(pid, syscall.SIGKILL) != nil {
		return false
	}
	s.postgres = pid
	s.log.line("chaos", fmt.Sprintf("killed PostgreSQL %d", pid))
	return true
}

// postmaster returns the process id of the server that accepts connections on the data in dir.
func postmaster(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "pg", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
		return 0, errors.New("it is not ready")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err == nil && pid <= 1 {
		err = errors.New("no process id")
	}
	return pid, err
}
