// Command with runs another command beside a PostgreSQL that lives as long as it does, and tells
// it the URL in EOS_TEST_DATABASE_URL:
//
//	go run ./internal/pgtest/with -- go test -race ./...
//
// The data are in a temporary directory (below TMPDIR) and are removed at the end. It exits
// with the command's exit code; 128 + n if signal n ended it; 1 if there is no server.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/eos-proxy/eos-proxy/internal/embedded"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: with [--] command [argument ...]")
		os.Exit(2)
	}
	code, err := run(context.Background(), args, signals)
	if err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run starts the server, runs the command and stops the server. Signals that come before the
// command runs end everything; later ones are the command's.
func run(ctx context.Context, args []string, signals <-chan os.Signal) (code int, err error) {
	dir, err := os.MkdirTemp("", "eos-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// As root, the server runs as another user, who must get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	type opened struct {
		server *embedded.Server
		err    error
	}
	opening := make(chan opened, 1)
	go func() {
		server, err := embedded.Open(ctx, embedded.Config{
			Dir:      dir,
			Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Progress: os.Stderr,
			Settings: map[string]string{"max_connections": "400"}, // many packages, each test its pool
		})
		opening <- opened{server, err}
	}()
	var result opened
	select {
	case result = <-opening:
	case sig := <-signals:
		cancel()
		if result = <-opening; result.err != nil {
			return exitCode(sig), nil
		}
		return exitCode(sig), result.server.Close()
	}
	if result.err != nil {
		return 1, result.err
	}
	server := result.server
	defer func() { err = errors.Join(err, server.Close()) }()

	running := make(chan error, 1)
	go func() { running <- server.Run(ctx) }()
	select {
	case err := <-running:
		return 1, err
	case sig := <-signals:
		cancel()
		return exitCode(sig), <-running
	case <-server.Started():
	}
	code, err = command(args, pgtest.Env+"="+server.URL(), signals)
	cancel()
	return code, errors.Join(err, <-running)
}

// command runs the command with our standard streams and passes signals on to it.
func command(args []string, env string, signals <-chan os.Signal) (int, error) {
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env)
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig) // it may have ended
		case err := <-done:
			var ended *exec.ExitError
			if err != nil && !errors.As(err, &ended) {
				return 1, err
			}
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return exitCode(status.Signal()), nil
			}
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

// exitCode is the shell's convention for a command that a signal ended.
func exitCode(sig os.Signal) int {
	if number, ok := sig.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return 1
}
