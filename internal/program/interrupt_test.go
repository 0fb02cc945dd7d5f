package program_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/program"
)

// TestNobodyReadsOn is `program | head`: it goes on to its end, as if it were interrupted.
func TestNobodyReadsOn(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // nobody reads it
	ctx, out, stop := program.UntilInterrupted(w)
	defer stop()
	if _, err := fmt.Fprintln(out, "begun"); err != nil || ctx.Err() != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(out, "half done"); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("written with %v", err)
	}
	if cause := context.Cause(ctx); !errors.Is(cause, syscall.EPIPE) {
		t.Errorf("it goes on: %v", cause)
	}
}

func TestTheTerminalIsGone(t *testing.T) {
	ctx, _, stop := program.UntilInterrupted(os.Stdout)
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
}
