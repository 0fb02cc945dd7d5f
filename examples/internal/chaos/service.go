package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/embedded"
	"github.com/eos-proxy/eos-proxy/internal/program"
)

// A service is some proxies over one PostgreSQL, all of them processes that are started again when they die.
type service struct {
	binary   string
	url      string // of the database
	postgres program.Postgres
	proxies  []*program.Proxy
	log      *journal
}

// openPostgres makes the database of the service; Run starts it.
func (s *service) openPostgres(ctx context.Context) (*embedded.Server, error) {
	server, err := embedded.Open(ctx, embedded.Config{
		Dir: s.postgres.Dir, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Progress: os.Stderr,
	})
	if err == nil {
		s.url = server.URL()
	}
	return server, err
}

// addProxy adds a proxy, which Run starts.
func (s *service) addProxy() *program.Proxy {
	name := fmt.Sprint("proxy-", len(s.proxies))
	p := &program.Proxy{
		Binary: s.binary, Args: []string{"--database-url", s.url},
		OnLine: func(line string) { s.log.line(name, line) },
	}
	s.proxies = append(s.proxies, p)
	return p
}

// killProxy kills one of the proxies.
func (s *service) killProxy(random *rand.Rand) bool {
	i := random.IntN(len(s.proxies))
	ok := s.proxies[i].Kill()
	if ok {
		s.log.line("chaos", fmt.Sprintf("killed proxy %d", i))
	}
	return ok
}

// freezeProxy stops one of the proxies, and lets it go on later, with all that it was about to do.
func (s *service) freezeProxy(random *rand.Rand, later time.Duration) bool {
	i := random.IntN(len(s.proxies))
	ok := s.proxies[i].Freeze(later)
	if ok {
		s.log.line("chaos", fmt.Sprintf("froze proxy %d for %s", i, later.Round(time.Millisecond)))
	}
	return ok
}

// killPostgres kills the database server, but none of its children: they find out. It reports false when there is
// none at the moment that takes connections.
func (s *service) killPostgres() bool {
	pid := s.postgres.Kill()
	if pid != 0 {
		s.log.line("chaos", fmt.Sprintf("killed PostgreSQL %d", pid))
	}
	return pid != 0
}
