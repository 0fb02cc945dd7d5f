package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/chaos"
)

// TestEveryViewIsBilledOnce is `make torture-billing` in short.
func TestEveryViewIsBilledOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("it takes too long"))
	defer cancel()
	result, err := chaos.Run(ctx, chaos.Config{
		Seed: 7, Root: "../..", Temp: "/tmp", // t.TempDir may not be entered by PostgreSQL's user
		Views: 2000, Rate: 500, Workers: 4, Proxies: 2,
		WorkerKills: 4, ProxyKills: 3, PostgresKills: 1, Freezes: 1, Zombies: 3, Fenced: 1, Cuts: 1,
		Frozen: 3 * time.Second, Worse: 2, Latest: 7 * time.Second,
	})
	t.Logf("\n%s\n%s", chaos.Head, result)
	if err != nil {
		t.Fatal(err)
	}
}
