// Command transfer moves money between accounts: each transfer is a transaction over two topics, and auditors
// who read both all the time never see a sum that is another than at first. Its README is the guide.
//
// The parts: orders.go has what is to be done, teller.go does it, auditor.go watches.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// config is what may be chosen.
type config struct {
	urls      []string
	transfers int
	tellers   int
	auditors  int
	torn      bool
}

func main() {
	var cfg config
	urls := flag.String("url", "http://127.0.0.1:8080", "`addresses` of the proxies, with commas between them")
	flag.IntVar(&cfg.transfers, "transfers", 500, "`number` of orders")
	flag.IntVar(&cfg.tellers, "tellers", 4, "`number` of tellers")
	flag.IntVar(&cfg.auditors, "auditors", 2, "`number` of auditors")
	flag.BoolVar(&cfg.torn, "torn", false, "send each transfer as two requests without a transaction, in books of their own")
	flag.Parse()
	for url := range strings.SplitSeq(*urls, ",") {
		cfg.urls = append(cfg.urls, strings.TrimSuffix(url, "/"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "transfer: %v\n", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// errTorn says that an auditor has found something.
var errTorn = errors.New("the sum has changed")

// run carries the orders out, with auditors beside it, and tells what they have found. It returns errTorn if
// that is anything.
func run(ctx context.Context, cfg config, out io.Writer) error {
	c := &client.Client{HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 50}}, URLs: cfg.urls}
	b := books{"debits", "credits"}
	if cfg.torn {
		b = books{"torn-debits", "torn-credits"}
	}
	if err := open(ctx, c, b); err != nil {
		return err
	}
	began := time.Now()
	auditors, deaths, err := transfer(ctx, cfg, c, b)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d orders, %d tellers, who were killed %d times: %.1f s\n",
		cfg.transfers, cfg.tellers, deaths, time.Since(began).Seconds())
	// Somebody who was not there, and reads it all from the start.
	late, done := newAuditor(c, b), make(chan struct{})
	close(done)
	if err := late.run(ctx, done); err != nil {
		return fmt.Errorf("late auditor: %w", err)
	}
	wrong := 0
	for i, a := range append(auditors, late) {
		wrong += len(a.faulty) + a.wrongSums
		fmt.Fprintf(out, "auditor %d: %d transfers, read in %d passes: %d torn, the sum wrong in %d passes\n",
			i+1, a.transfers, a.passes, len(a.faulty), a.wrongSums)
		for _, text := range a.faults[:min(2, len(a.faults))] {
			fmt.Fprintf(out, "  %s\n", text)
		}
	}
	if wrong > 0 {
		return errTorn
	}
	fmt.Fprintf(out, "all accounts together had %d all the time\n", accounts*opening)
	return nil
}

// open makes the books. Later everybody waits for ever for a service that is away; but not for one that was
// never there.
func open(ctx context.Context, c *client.Client, b books) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, fmt.Errorf("nobody answers at %s", strings.Join(c.URLs, ", ")))
	defer cancel()
	for _, topic := range []string{b.debits, b.credits} {
		// Books are kept for ever.
		body := map[string]any{"partition_count": 3, "retention_ms": -1}
		err := c.SendJSON(ctx, client.Request{Method: http.MethodPut, Path: "/v1/topics/" + topic}, body, nil)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	return nil
}

// transfer runs tellers and auditors to their end. Whoever fails ends the others.
func transfer(ctx context.Context, cfg config, c *client.Client, b books) (auditors []*auditor, deaths int, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	q := &queue{orders: newOrders(cfg.transfers, cfg.torn)}
	var tellers, auditing sync.WaitGroup
	done := make(chan struct{})
	for range cfg.auditors {
		a := newAuditor(c, b)
		auditors = append(auditors, a)
		auditing.Go(func() {
			if err := a.run(ctx, done); err != nil {
				fail(fmt.Errorf("auditor: %w", err))
			}
		})
	}
	died := make([]int, cfg.tellers)
	for i := range cfg.tellers {
		tellers.Go(func() {
			var err error
			if died[i], err = work(ctx, c, b, fmt.Sprintf("teller-%d", i+1), q); err != nil {
				fail(fmt.Errorf("teller %d: %w", i+1, err))
			}
		})
	}
	tellers.Wait()
	close(done)
	auditing.Wait()
	for _, n := range died {
		deaths += n
	}
	return auditors, deaths, context.Cause(ctx)
}
