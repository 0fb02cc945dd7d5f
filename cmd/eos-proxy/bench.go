package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/bench"
)

// benchFlags defines the settings of the command bench. They are flags only: EOS_… variables are for the
// proxy that it starts.
func benchFlags(cfg *bench.Config) *flag.FlagSet {
	fs := newFlagSet("bench")
	define(fs, &cfg.URL, "url", "", "`URL` of a running service to measure; without it one is started on fresh data", parseServiceURL)
	define(fs, &cfg.Only, "only", "", "`names` of works or of their families, with commas between them (default all)", parseNames)
	define(fs, &cfg.Rounds, "rounds", "3", "measurements of each work", number(1, 1000))
	define(fs, &cfg.Seconds, "seconds", "3", "`seconds` of each measurement", parseSeconds)
	define(fs, &cfg.Hold, "hold", "10s", "`duration` for which a transaction is open before the works named held measure", duration(0, time.Hour))
	define(fs, &cfg.Big, "big", "false", "measure with many batches in 10,000 topics behind, too: some minutes, and gigabytes of disk", strconv.ParseBool)
	define(fs, &cfg.Behind, "behind", "10000000", "how many `batches` that is", number[int64](10_000, 1e9))
	define(fs, &cfg.Retention, "retention", "0", "`duration` of each load whose records leave again (10m; sizes settle after 4)", duration(0, time.Hour))
	define(fs, &cfg.Members, "members", "0", "`duration` for which 1,000 members of groups poll beside an open transaction (10m)", duration(0, time.Hour))
	define(fs, &cfg.JSON, "json", "", "`file` for everything that was measured, as JSON", parseText)
	define(fs, &cfg.GoBench, "gobench", "", "`file` in Go's benchmark format, for benchstat", parseText)
	define(fs, &cfg.Profile, "profile", "", "`file` for a CPU profile of the proxy with one record a request", parseText)
	return fs
}

// runBench measures. Its argument echo is not for people: bench starts itself with it, as the ceiling.
func runBench(ctx context.Context, cfg bench.Config, args []string, stdout, stderr io.Writer) error {
	if len(args) == 1 && args[0] == "echo" {
		return bench.Echo(ctx, stdout)
	}
	if err := noArguments("bench", args); err != nil {
		return err
	}
	var err error
	if cfg.Program, err = os.Executable(); err != nil {
		return err
	}
	return bench.Run(ctx, cfg, stdout, stderr)
}

func parseServiceURL(s string) (string, error) {
	if s != "" && !strings.HasPrefix(s, "http://") {
		return "", errors.New("must begin with http://")
	}
	return s, nil
}

func parseNames(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	return strings.Split(s, ","), nil
}

func parseSeconds(s string) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0.1 && n <= 3600) {
		return 0, errors.New("must be a number from 0.1 to 3600")
	}
	return n, nil
}
