package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// Figures are what a proxy takes.
type Figures struct {
	Goroutines int64
	Files      int64 // descriptors, those of connections among them
	Pool       int64 // connections to the database, in use or not
	InUse      int64 // those of them that are in use
	Memory     int64 // bytes that are resident
}

// Sessions are what PostgreSQL has of its clients.
type Sessions struct {
	Connections  int64
	Transactions int64 // those of them that are in a transaction, for a second at least
	Open         int64 // transactions of the service that are ongoing, whatever their timeout
}

// every is how often figures are taken down.
const every = 5 * time.Second

// figures are taken down in a file until close.
type figures struct {
	cluster *Cluster
	file    *os.File
	began   time.Time
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	taken   []sample     // guarded by mu
	records func() int64 // guarded by mu; nil: nobody counts them
}

// sample is what was taken down of all proxies at one time.
type sample struct {
	at     time.Duration
	memory []int64 // by proxy; 0: it did not answer
	data   int64
	wal    int64

	records int64
}

func newFigures(c *Cluster, name string) (*figures, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	f := &figures{cluster: c, file: file, began: time.Now()}
	_, err = fmt.Fprintln(file, "seconds\tproxy\tgoroutines\tfiles\tpool\tin use\tmemory\t"+
		"connections\ttransactions\tongoing\tdata\twal")
	for _, p := range c.Proxies {
		var asked error
		p.floor, asked = p.Figures(context.Background())
		err = errors.Join(err, asked)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.running.Go(func() {
		for wait.For(ctx, every) {
			f.take(ctx)
		}
	})
	return f, err
}

// take takes the figures down once. Who does not answer has none.
func (f *figures) take(ctx context.Context) {
	at := time.Since(f.began)
	sessions, _ := f.cluster.Sessions(ctx)
	data, wal := f.cluster.Postgres.Used()
	s := sample{at: at, data: data, wal: wal, memory: make([]int64, len(f.cluster.Proxies))}
	for i, p := range f.cluster.Proxies {
		g, err := p.Figures(ctx)
		if err != nil {
			continue
		}
		s.memory[i] = g.Memory
		_, _ = fmt.Fprintf(f.file, "%.1f\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", at.Seconds(), p.Name, g.Goroutines,
			g.Files, g.Pool, g.InUse, g.Memory, sessions.Connections, sessions.Transactions, sessions.Open, data, wal)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.records != nil {
		s.records = f.records()
	}
	f.taken = append(f.taken, s)
}

// CountRecords tells the figures who knows how many records were sent.
func (c *Cluster) CountRecords(records func() int64) {
	c.figures.mu.Lock()
	defer c.figures.mu.Unlock()
	c.figures.records = records
}

func (f *figures) close() error {
	f.cancel()
	f.running.Wait()
	return f.file.Close()
}

// askTime bounds a question to a process.
const askTime = 3 * time.Second

// ask returns the answer to a GET, if it is 200.
func (p *Proxy) ask(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	address := p.Address()
	if address == "" {
		return "", errors.New("nobody is there")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Close = true // it shall not be found among the connections
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // it is read, or the error is another
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return string(text), err
}

// Ready reports whether the proxy answers that it is ready.
func (p *Proxy) Ready(ctx context.Context) bool {
	_, err := p.ask(ctx, "/readyz")
	return err == nil
}

// Figures asks the proxy for its figures.
func (p *Proxy) Figures(ctx context.Context) (f Figures, err error) {
	text, err := p.ask(ctx, "/metrics")
	if err != nil {
		return f, err
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "go_goroutines":
			f.Goroutines = int64(n)
		case "process_open_fds":
			f.Files = int64(n)
		case "process_resident_memory_bytes":
			f.Memory = int64(n)
		case `eos_pool_connections{state="in_use"}`:
			f.InUse = int64(n)
			f.Pool += int64(n)
		case `eos_pool_connections{state="idle"}`:
			f.Pool += int64(n)
		}
	}
	if f.Goroutines == 0 || f.Files == 0 || f.Memory == 0 {
		return f, errors.New("/metrics does not have all figures")
	}
	return f, lines.Err()
}

// Sessions asks PostgreSQL for its clients, but for the one that asks.
func (c *Cluster) Sessions(ctx context.Context) (s Sessions, err error) {
	const sql = `
		SELECT count(*),
		       count(*) FILTER (WHERE xact_start < clock_timestamp() - interval '1 second'),
		       (SELECT count(*) FROM transactions WHERE state = 'ongoing')
		FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`
	conn, err := c.Postgres.Connect(ctx)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it has done its work
	err = conn.QueryRow(ctx, sql).Scan(&s.Connections, &s.Transactions, &s.Open)
	return s, err
}
