// Command billing sends 69,659 purchases through an eos-proxy that is killed all the time, and adds up what
// arrives.
//
// It is a guide for whoever writes a client: till.go is the loop to copy, with ../internal/client below it;
// consumer.go reads. The rest is what they have to survive: proxy.go runs the service, chaos.go kills it,
// cutter.go is a network that loses answers, run.go lets tills die. It all happens three times: with tills
// that repeat nothing (at most once), that repeat what was not answered (at least once), and that also number
// their records (exactly once). Only the last total is right.
//
// A worker that reads by a group puts what it made and the new offsets into one transaction, always with from:
// that is what refuses a late copy of the same work under another id.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/program"
)

// config is what the flags say.
type config struct {
	seed          uint64
	rows          int // 0: all
	kills         int // of the proxy, in each run
	postgresKills int
	batch         int // records a request
	file          string
	temp          string // where the directory for all data is made and removed
}

func main() {
	var cfg config
	flag.Uint64Var(&cfg.seed, "seed", 1, "`number` that decides when what breaks, as far as a program can")
	flag.IntVar(&cfg.rows, "rows", 0, "send the first `n` purchases only (0: all)")
	flag.IntVar(&cfg.kills, "kills", 24, "`times` that the proxy is killed in each run")
	flag.IntVar(&cfg.postgresKills, "postgres-kills", 8, "`times` that PostgreSQL is killed in each run")
	flag.IntVar(&cfg.batch, "batch", 20, "`records` a request")
	flag.StringVar(&cfg.file, "file", "", "the purchases, `CSV` with the head ID,Date,Amount (default ../shared/data/purchases.csv, or made-up ones)")
	// Not TMPDIR, which may be one's own: started as root, the proxy runs PostgreSQL as another user.
	flag.StringVar(&cfg.temp, "temp", "/tmp", "the `directory` for the data, which are removed at the end; every user must be able to enter it")
	flag.Parse()
	if flag.NArg() > 0 || cfg.rows < 0 || cfg.kills < 0 || cfg.postgresKills < 0 || cfg.batch < 1 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	results, err := demo(ctx, cfg, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "billing: %v\n", err)
		os.Exit(1)
	}
	for _, r := range results {
		if r.topic == exactlyOnce && !r.isExact() {
			os.Exit(1)
		}
	}
}

// demo sends the purchases in each of the modes and returns what came of it. Nothing that it started runs any
// more when it returns, and no file is left.
func demo(ctx context.Context, cfg config, out io.Writer) (results []*result, err error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	purchases, source, err := loadPurchases(cfg.file, root)
	if err != nil {
		return nil, fmt.Errorf("purchases: %w", err)
	}
	if cfg.rows > 0 {
		purchases = purchases[:min(cfg.rows, len(purchases))]
	}
	fmt.Fprintf(out, "%d purchases, %s in all (%s); seed %d\n", len(purchases), money(total(purchases)), source, cfg.seed)

	dir, err := os.MkdirTemp(cfg.temp, "eos-billing-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	p := newProxy(dir)
	if err := program.Build(ctx, root, dir, "./cmd/eos-proxy"); err != nil {
		return nil, err
	}

	ctx, fail := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := p.run(ctx); err != nil {
			fail(err)
		}
	}()
	defer func() {
		fail(nil)
		<-stopped
	}()
	for _, m := range modes {
		r, err := bill(ctx, cfg, m, p, purchases, out)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "%-13s  done in %s\n", m.name, r.took.Round(100*time.Millisecond))
		results = append(results, r)
	}
	report(out, purchases, results)
	return results, nil
}

// report prints the table, and what is to be said about it.
func report(out io.Writer, purchases []purchase, results []*result) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\trecords\ttotal\tlost\tdoubled\tkills of proxy\tof PostgreSQL\tof tills\tanswers cut\t")
	fmt.Fprintf(w, "the file\t%d\t%s\t\t\t\t\t\t\t\n", len(purchases), money(total(purchases)))
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", r.name, r.records, money(r.cents),
			r.lost, r.doubled, r.kills, r.postgresKills, r.deaths, r.cuts)
	}
	_ = w.Flush() // to a terminal
	fmt.Fprintln(out)
	for _, r := range results {
		switch {
		case r.topic != exactlyOnce && r.isExact():
			fmt.Fprintf(out, "By chance, nothing was lost or doubled %s this time.\n", r.name)
		case r.topic != exactlyOnce:
		case r.isExact():
			fmt.Fprintln(out, "Exactly once: every purchase is there, once, and each customer's are in order.")
		default:
			fmt.Fprintf(out, "NOT exactly once; %d customers' purchases are there, but not in order.\n  %s\n", r.displaced, strings.Join(r.examples, "\n  "))
		}
	}
}

// moduleRoot returns the directory of the module, which holds the proxy's source.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "eos-proxy", "main.go")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("start it within the source of eos-proxy: it builds the proxy")
		}
	}
}
