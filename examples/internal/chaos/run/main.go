// Command run tortures exactly-once processing, with the numbers that it is held to, and prints what happened as lines
// of a table:
//
//	go run ./examples/internal/chaos/run -seed 1
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/chaos"
	"github.com/eos-proxy/eos-proxy/internal/program"
)

func main() {
	cfg := chaos.Config{
		Root: ".", Temp: "/tmp", // not TMPDIR, which may be one's own: PostgreSQL runs as another user where we are root
		Workers: 6, Proxies: 3, WorkerKills: 30, ProxyKills: 20, PostgresKills: 5, Freezes: 4, Fenced: 5, Cuts: 50,
		Frozen: 9 * time.Second, Worse: 1, Latest: 12 * time.Second,
	}
	flag.Uint64Var(&cfg.Seed, "seed", 1, "`number` that decides what breaks")
	flag.IntVar(&cfg.Views, "views", 100_000, "how `many` there are")
	flag.IntVar(&cfg.Rate, "rate", 1500, "how `many` of them a second")
	flag.IntVar(&cfg.Zombies, "zombies", 10, "workers that stop for longer than their session, `number`")
	limit := flag.Duration("limit", 10*time.Minute, "`time` after which it is over")
	flag.Parse()

	ctx, out, stop := program.UntilInterrupted(os.Stdout)
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, fmt.Errorf("it is not done after %s", *limit))
	result, err := chaos.Run(ctx, cfg)
	cancel()
	stop()
	fmt.Fprintln(out, chaos.Head)
	fmt.Fprintln(out, result)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
	fmt.Println("exactly once")
}
