// Package cluster is the processes that a run of the torture is about: proxies, each the real program, over one
// PostgreSQL, on small disks of their own. It starts them, starts those again that die, and takes down what they print
// and how much they take; what they must never print or take it tells as an alarm. What is done to them is
// internal/torture/nemesis's; it knows nothing of requests.
//
// Of the proxies one is built with the race detector, where there is a C compiler, and two have wall clocks that are an
// hour off.
//
// What it keeps is below Config.Dir: the programs, the data, and the log of each process.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// Config says what a cluster is made of.
type Config struct {
	Root      string // directory of the module that the programs are built from
	Program   string // an eos-proxy that was built already, for all proxies; empty: built here
	Dir       string // of the run; it is there, and every user may enter it
	Proxies   int
	Race      bool // one proxy has the race detector, where it can be had
	Clocks    bool // some have clocks that are off
	Disk      string
	DataBytes int64 // of the disk
	WALBytes  int64 // of the disk

	// Database returns the URL by which a proxy reaches the database; nil: the server's own. It is called once for each
	// proxy, before it is started.
	Database func(proxy int, url string) (string, error)
	// Alarm hears of what must not be.
	Alarm func(name, detail string)
}

// A Cluster is what runs.
type Cluster struct {
	Proxies  []*Proxy
	Postgres *Postgres
	Missing  []string // what was asked for and could not be had, and why

	log           *log
	figures       *figures
	hurry         chan struct{} // closed by Hurry
	hurried       sync.Once
	cancelProxies context.CancelFunc
	proxies       sync.WaitGroup
	cancelServer  context.CancelFunc
	server        sync.WaitGroup
}

// Start builds and starts all, and returns when each proxy answers. The end of ctx interrupts it, but does not end
// what it returns: that is Stop's.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	c := &Cluster{hurry: make(chan struct{}), log: &log{
		dir: cfg.Dir, began: time.Now(), tell: cfg.Alarm, files: map[string]*os.File{}, numbers: map[string]int{},
		lost: map[string]int{},
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	built, err := build(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if c.Postgres, err = openPostgres(ctx, cfg, c.log); err != nil {
		c.Postgres = nil
		return nil, err
	}
	c.Missing = c.Postgres.Missing
	serverLife, last := context.WithCancel(context.WithoutCancel(ctx))
	proxyLife, cancel := context.WithCancel(serverLife)
	c.cancelServer, c.cancelProxies = last, cancel
	ended := make(chan error, cfg.Proxies+1)
	c.server.Go(func() {
		if err := c.Postgres.server.Run(serverLife); err != nil {
			ended <- err
		}
	})
	for i := range cfg.Proxies {
		p, err := c.newProxy(cfg, built, i)
		if err != nil {
			return nil, err
		}
		c.Proxies = append(c.Proxies, p)
		c.proxies.Go(func() {
			if err := p.run(proxyLife); err != nil {
				ended <- err
			}
		})
	}
	waiting, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	if !wait.Until(waiting, func() bool { return len(ended) > 0 || c.ready(waiting) }) {
		return nil, fmt.Errorf("the proxies do not get ready: %w", waiting.Err())
	}
	if len(ended) > 0 {
		return nil, <-ended
	}
	c.figures, err = newFigures(c, filepath.Join(cfg.Dir, "figures.tsv"))
	return c, err
}

func (c *Cluster) newProxy(cfg Config, built programs, i int) (*Proxy, error) {
	p := &Proxy{
		hurry: c.hurry, Name: fmt.Sprint("proxy-", i), binary: built.plain, log: c.log, crashes: map[string]int{},
	}
	if i == 0 && cfg.Race {
		if p.Race = built.race != ""; p.Race {
			p.binary = built.race
		} else {
			c.Missing = append(c.Missing, "a proxy with the race detector: no C compiler, or the program was built already")
		}
	}
	if i == 0 && cfg.Clocks && built.clock == "" {
		c.Missing = append(c.Missing, "clocks that are off: the program was built already")
	}
	if built.clock != "" && i < len(clocks) && clocks[i] != 0 {
		p.Clock, p.binary = clocks[i], built.clock
	}
	if i == 0 && !built.crashes {
		c.Missing = append(c.Missing, "crash points: the program was built without the tag torture")
	}
	url := c.Postgres.URL
	if cfg.Database != nil {
		var err error
		if url, err = cfg.Database(i, url); err != nil {
			return nil, err
		}
	}
	p.args = []string{"--database-url", url}
	p.canCrash = built.crashes
	return p, nil
}

// ready reports whether each proxy answers that it is ready.
func (c *Cluster) ready(ctx context.Context) bool {
	for _, p := range c.Proxies {
		if !p.Ready(ctx) {
			return false
		}
	}
	return true
}

// URLs returns the base URLs of the proxies that answer just now.
func (c *Cluster) URLs() []string {
	var urls []string
	for _, p := range c.Proxies {
		if a := p.Address(); a != "" {
			urls = append(urls, "http://"+a)
		}
	}
	return urls
}

// LostCommits returns how many COMMITs were not answered, by what the proxies found out of them, in all their lives: it
// is read from their logs, which a killed one has not taken with it.
func (c *Cluster) LostCommits() map[string]int {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return maps.Clone(c.log.lost)
}

// Note writes a line to the log of the run, beside what the programs print.
func (c *Cluster) Note(format string, args ...any) { c.log.line("run", fmt.Sprintf(format, args...)) }

// Hurry says that nobody is interested any more: Stop kills what does not end within seconds.
func (c *Cluster) Hurry() { c.hurried.Do(func() { close(c.hurry) }) }

// endServer waits until PostgreSQL has ended, which waits for each of its processes: those that stand still go on, and
// those that do not end, in whatever they are, are killed.
func (c *Cluster) endServer() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.server.Wait()
	}()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	hurry := c.hurry
	for grace := time.After(serverTime); ; {
		c.Postgres.signalAll(syscall.SIGCONT)
		select {
		case <-ended:
			return
		case <-hurry:
			hurry, grace = nil, time.After(hurryTime)
		case <-grace:
			c.Postgres.signalAll(syscall.SIGKILL)
		case <-ticker.C:
		}
	}
}

// Stop ends the proxies, then PostgreSQL, and gives back what disks there were. It may be called again.
func (c *Cluster) Stop() (err error) {
	if c.figures != nil {
		err = c.figures.close()
		c.figures = nil
	}
	if c.cancelProxies != nil {
		c.cancelProxies()
	}
	c.proxies.Wait()
	if c.cancelServer != nil {
		c.cancelServer()
		c.endServer()
	}
	if c.Postgres != nil {
		err = errors.Join(err, c.Postgres.close())
		c.Postgres = nil
	}
	return errors.Join(err, c.log.close())
}
