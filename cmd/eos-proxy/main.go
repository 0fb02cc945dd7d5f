// Command eos-proxy offers exactly-once produce, consume and transactions over HTTP, on PostgreSQL.
//
// It reads the settings, connects the packages under internal with each other, starts their loops and
// stops them in order. The rules are in internal/eos, the data in internal/store, the HTTP answers in
// internal/handlers; here is nothing that a request meets. It keeps no data.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/eos-proxy/eos-proxy/internal/bench"
	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/peterbourgon/ff/v3/ffcli"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx := untilSignal(context.Background(), signals, os.Exit)
	// When who reads stdout or stderr has gone, writing there is an error. By
	// default it would kill the program, and its PostgreSQL would live on.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	err := run(ctx, wiring{newParts, migrateStore}, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "eos-proxy: %v\n", err)
	var usage *usageError
	if errors.As(err, &usage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// wiring is what the commands start: the program's own packages, or a test's stand-ins for them.
type wiring struct {
	parts   func(cfg Config, environ []string, log *slog.Logger) parts
	migrate func(ctx context.Context, databaseURL string) error
}

// run executes the command that args name and returns when it is done, for serve when ctx ends. Help and
// what a person is to see go to stdout, the log to stderr. The error says what a person can do; a
// *usageError is a mistake in args or environ.
func run(ctx context.Context, w wiring, args, environ []string, stdout, stderr io.Writer) error {
	var asked *ffcli.Command // the command whose help or flags were at fault
	noteUsage := func(c *ffcli.Command) string { asked = c; return "" }

	root := newCommands(w, environ, stdout, stderr)
	root.UsageFunc = noteUsage
	for _, c := range root.Subcommands {
		c.UsageFunc = noteUsage
	}

	err := root.ParseAndRun(ctx, args)
	switch {
	case asked == nil:
		return err
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stdout, usage(asked))
		return err
	default:
		return flagError(asked, err)
	}
}

// newCommands returns the root command with its subcommands. Flags are parsed by ffcli, and completed from
// environ and the file when a command that has settings runs, so that help needs no correct environment.
func newCommands(w wiring, environ []string, stdout, stderr io.Writer) *ffcli.Command {
	var serveConfig, migrateConfig Config

	serveFlags := serveConfig.flags("serve")
	serveCommand := &ffcli.Command{
		Name:       "serve",
		ShortUsage: "eos-proxy serve [flags]",
		ShortHelp:  "answer HTTP requests",
		LongHelp:   serveHelp,
		FlagSet:    serveFlags,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArguments("serve", args); err != nil {
				return err
			}
			if err := serveConfig.load(serveFlags, environ); err != nil {
				return err
			}
			if err := crash.Arm(environ); err != nil {
				return usagef("%w", err)
			}
			log := newLogger(stderr, serveConfig.LogFormat, serveConfig.LogLevel)
			return profiled(serveConfig.CPUProfile, func() error {
				return serve(ctx, serveConfig, w.parts(serveConfig, environ, log), stdout, log)
			})
		},
	}

	migrateFlags := migrateConfig.flags("migrate")
	migrateCommand := &ffcli.Command{
		Name:       "migrate",
		ShortUsage: "eos-proxy migrate [flags]",
		ShortHelp:  "bring the database's schema up to this program's version, and exit",
		LongHelp:   migrateHelp,
		FlagSet:    migrateFlags,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArguments("migrate", args); err != nil {
				return err
			}
			if err := migrateConfig.load(migrateFlags, environ); err != nil {
				return err
			}
			return migrate(ctx, migrateConfig, w.migrate, stdout)
		},
	}

	var benchConfig bench.Config
	benchCommand := &ffcli.Command{
		Name:       "bench",
		ShortUsage: "eos-proxy bench [flags]",
		ShortHelp:  "measure this program on this machine",
		LongHelp:   benchHelp,
		FlagSet:    benchFlags(&benchConfig),
		Exec: func(ctx context.Context, args []string) error {
			return runBench(ctx, benchConfig, args, stdout, stderr)
		},
	}

	versionCommand := &ffcli.Command{
		Name:       "version",
		ShortUsage: "eos-proxy version",
		ShortHelp:  "print the version, and exit",
		LongHelp:   versionHelp,
		FlagSet:    newFlagSet("version"),
		Exec: func(_ context.Context, args []string) error {
			if err := noArguments("version", args); err != nil {
				return err
			}
			_, err := fmt.Fprintln(stdout, versionText())
			return err
		},
	}

	rootFlags := newFlagSet("eos-proxy")
	showVersion := rootFlags.Bool("version", false, "print the version, and exit")
	root := &ffcli.Command{
		Name:        "eos-proxy",
		ShortUsage:  "eos-proxy <command> [flags]",
		ShortHelp:   "exactly-once produce, consume and transactions over HTTP, on PostgreSQL",
		LongHelp:    rootHelp,
		FlagSet:     rootFlags,
		Subcommands: []*ffcli.Command{serveCommand, migrateCommand, benchCommand, versionCommand},
	}
	root.Exec = func(ctx context.Context, args []string) error {
		switch {
		case *showVersion:
			return versionCommand.Exec(ctx, args)
		case len(args) == 0:
			return usagef("no command: it is one of serve, migrate, bench, version; see eos-proxy --help")
		case args[0] != "help":
			return usagef("unknown command %q%s", args[0], nearestCommand(root, args[0]))
		case len(args) == 1:
			return flag.ErrHelp
		}
		for _, c := range root.Subcommands {
			if c.Name == args[1] {
				_, err := io.WriteString(stdout, usage(c))
				return err
			}
		}
		return usagef("unknown command %q%s", args[1], nearestCommand(root, args[1]))
	}
	return root
}

func noArguments(command string, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes flags only, but got %q; see eos-proxy %s --help", command, args[0], command)
	}
	return nil
}
