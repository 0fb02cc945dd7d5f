// Command ad-billing bills the views of ads: each view exactly once, whatever crashes.
//
// It is a guide for whoever processes records with eos-proxy, and README.md walks through it. worker.go is what to
// copy: the loop of a worker, any number of which share the work. views.go makes what they work on, and check.go
// compares what they made of it.
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
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// The topics: what was shown to people, and what it costs whoever advertises.
const (
	viewsTopic = "ad-views"
	billsTopic = "ad-bills"
)

// partitionCount is how many partitions each topic has: as many workers can share the work.
const partitionCount = 12

// config is what the flags say. Each command reads what concerns it.
type config struct {
	urls     string
	group    string
	instance string
	session  time.Duration
	batch    int
	compute  time.Duration
	views    int
	rate     int
	wait     time.Duration
}

// commands are what the program can do, by the first argument.
var commands = map[string]func(ctx context.Context, cfg config, c *client.Client, out io.Writer) error{
	"views":  postViews,
	"worker": work,
	"check":  check,
}

const usage = `usage: ad-billing views|worker|check [flags]

views makes ad views, worker bills them, check looks whether each was billed once.

`

func main() {
	var cfg config
	flags := flag.NewFlagSet("ad-billing", flag.ExitOnError)
	flags.StringVar(&cfg.urls, "url", "http://127.0.0.1:8080", "`addresses` of proxies, with commas in between")
	flags.StringVar(&cfg.group, "group", "ad-billing", "`name` of the group that the workers share the views in")
	flags.StringVar(&cfg.instance, "instance", "", "worker: `name` that it keeps over restarts")
	flags.DurationVar(&cfg.session, "session", 6*time.Second, "worker: `time` of silence after which others take over")
	flags.IntVar(&cfg.batch, "batch", 500, "most `records` in a poll, or in a request of views")
	flags.DurationVar(&cfg.compute, "compute", 0, "worker: `time` that it pretends to need for a batch")
	flags.IntVar(&cfg.views, "n", 10_000, "views, check: how `many` there are to be in all")
	flags.IntVar(&cfg.rate, "rate", 0, "views: how `many` a second (0: as fast as it goes)")
	flags.DurationVar(&cfg.wait, "wait", time.Minute, "check: `time` that the workers may need to finish")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		flags.Usage()
		os.Exit(2)
	}
	_ = flags.Parse(os.Args[2:]) // ends the program when it fails
	if flags.NArg() > 0 || cfg.views < 0 || cfg.rate < 0 || cfg.batch < 1 || cfg.batch > 10_000 {
		flags.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1], cfg, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "ad-billing %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// run runs a command against the proxies of cfg, in which it makes the topics first.
func run(ctx context.Context, command string, cfg config, out io.Writer) error {
	// A poll waits for a third of the session. An answer that takes twice as long does not come, and there is still
	// time to ask another proxy before the session is over.
	c := &client.Client{HTTP: &http.Client{Timeout: cfg.session * 2 / 3}, URLs: strings.Split(cfg.urls, ",")}
	for _, topic := range []string{viewsTopic, billsTopic} {
		// PUT can be repeated, by as many processes as like.
		r := &client.Request{
			Method: http.MethodPut, Path: "/v1/topics/" + topic,
			Body: fmt.Appendf(nil, `{"partition_count":%d}`, partitionCount),
		}
		if err := c.SendUntilAnswered(ctx, r, nil); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	return commands[command](ctx, cfg, c, out)
}
