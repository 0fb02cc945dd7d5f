package chaos

import (
	"fmt"
	"strings"
	"time"
)

// Result is what was done in a run, and what became of it.
type Result struct {
	Seed                                   uint64
	Took                                   time.Duration
	WorkerKills, ProxyKills, PostgresKills int
	Freezes                                int // of proxies
	Zombies                                int // workers that were stopped for longer than their session
	Fenced                                 int // of them, refused when they went on
	TooLate                                int // of these, in a commit
	Cuts, Late, Twice                      int // connections that broke around a request; requests that came late, or once more
	Again                                  int // requests that workers sent again
	Refusals                               int // that made a worker drop what it had polled
	Stale                                  int // of these, of commits
}

// result sums up.
func (t *torture) result(c *chaos, took time.Duration) Result {
	r := Result{
		Seed: t.cfg.Seed, Took: took,
		WorkerKills: int(c.hits[aWorker].Load()), ProxyKills: int(c.hits[aProxy].Load()),
		PostgresKills: int(c.hits[thePostgres].Load()), Freezes: int(c.hits[aFreeze].Load()),
		Zombies: int(c.zombies.Load()), Fenced: int(c.fenced.Load()), TooLate: int(c.tooLate.Load()),
		Again: int(t.crew.again.Load()), Refusals: int(t.crew.refusals.Load()), Stale: int(t.crew.stale.Load()),
	}
	for fault, count := range t.network.Counts() {
		kind, _, answer := strings.Cut(fault, ": ")
		kind, _, _ = strings.Cut(kind, " ")
		switch {
		case answer: // of one that is counted as late or twice
		case kind == "cut":
			r.Cuts += int(count)
		case kind == "late":
			r.Late += int(count)
		case kind == "twice" || kind == "again":
			r.Twice += int(count)
		}
	}
	return r
}

// shortOf returns an error if less happened than was asked for.
func (r *Result) shortOf(cfg Config) error {
	var short []string
	for _, n := range []struct {
		what      string
		got, want int
	}{
		{"kills of workers", r.WorkerKills, cfg.WorkerKills},
		{"kills of proxies", r.ProxyKills, cfg.ProxyKills},
		{"kills of PostgreSQL", r.PostgresKills, cfg.PostgresKills},
		{"freezes of proxies", r.Freezes, cfg.Freezes},
		{"fenced zombies", r.Fenced, cfg.Fenced},
		{"cuts", r.Cuts, cfg.Cuts},
	} {
		if n.got < n.want {
			short = append(short, fmt.Sprintf("%d %s, want %d", n.got, n.what, n.want))
		}
	}
	if short == nil {
		return nil
	}
	return fmt.Errorf("too little happened: %s", strings.Join(short, ", "))
}

// Head is the head of the table that String is a line of, in Markdown.
const Head = "| seed | seconds | workers killed | proxies | PostgreSQL | proxies frozen | zombies: refused, of them in a commit " +
	"| cuts | late, twice | sent again | dropped, of them in a commit |\n" +
	"|---|---|---|---|---|---|---|---|---|---|---|"

// String returns a line of a table.
func (r Result) String() string {
	return fmt.Sprintf("| %d | %.0f | %d | %d | %d | %d | %d: %d, %d | %d | %d, %d | %d | %d, %d |",
		r.Seed, r.Took.Seconds(), r.WorkerKills, r.ProxyKills, r.PostgresKills, r.Freezes, r.Zombies, r.Fenced, r.TooLate,
		r.Cuts, r.Late, r.Twice, r.Again, r.Refusals, r.Stale)
}
