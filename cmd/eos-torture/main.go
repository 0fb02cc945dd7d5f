// Command eos-torture holds the service against everything that can go wrong around it, and judges what came of it.
//
//	eos-torture run -seed 7 -duration 5m   starts all, breaks it, and judges the history
//	eos-torture judge FILE                 judges a history that was kept
//	eos-torture faults                     names the faults that there are
//
// It ends with status 1 if there is an anomaly, or if too little happened in a run for its verdict to mean anything.
// Each flag of run is also an environment variable, as TORTURE_SEED.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/eos-proxy/eos-proxy/internal/program"
	"github.com/eos-proxy/eos-proxy/internal/torture"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
	"github.com/peterbourgon/ff/v3"
)

func main() {
	ctx, out, stop := program.UntilInterrupted(os.Stdout)
	defer stop()
	if err := run(ctx, os.Args[1:], out); err != nil {
		fmt.Fprintf(os.Stderr, "eos-torture: %v\n", err)
		os.Exit(1) //nolint:gocritic // everything has ended
	}
}

// run executes the command that args name.
func run(ctx context.Context, args []string, out io.Writer) error {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch {
	case command == "run":
		return runTorture(ctx, args[1:], out)
	case command == "judge" && len(args) == 2:
		return judgeFile(args[1], out)
	case command == "faults":
		for _, name := range nemesis.Names() {
			fmt.Fprintln(out, name)
		}
		return nil
	}
	return errors.New("it is one of: run [flags], judge FILE, faults; run -help has the flags")
}

func runTorture(ctx context.Context, args []string, out io.Writer) error {
	cfg := torture.Config{Out: out}
	fs := flag.NewFlagSet("eos-torture run", flag.ContinueOnError)
	cfg.Flags(fs)
	if err := ff.Parse(fs, args, ff.WithEnvVarPrefix("TORTURE")); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q is no flag", fs.Arg(0))
	}
	for cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1 << 31) //nolint:gosec // not for secrets
	}
	if err := cfg.Complete(); err != nil {
		return err
	}
	return torture.Run(ctx, cfg)
}

func judgeFile(name string, out io.Writer) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	verdict, err := judge.Judge(file)
	if err != nil {
		return err
	}
	text := bufio.NewWriter(out)
	if err := errors.Join(verdict.Write(text), text.Flush()); err != nil {
		return err
	}
	switch {
	case !verdict.OK():
		return torture.ErrAnomaly
	case verdict.Operations == 0:
		return fmt.Errorf("%w: there is no operation", torture.ErrTooLittle)
	}
	return nil
}
