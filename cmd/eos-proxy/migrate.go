package main

import (
	"context"
	"fmt"
	"io"
)

// migrate brings the schema of the database up with apply, and says so on stdout. The database must be
// given: an embedded one is brought up by serve, which alone can start it.
func migrate(ctx context.Context, cfg Config, apply func(ctx context.Context, url string) error, stdout io.Writer) error {
	if cfg.DatabaseURL == "" {
		return usagef("migrate needs a database: --database-url or EOS_DATABASE_URL; see eos-proxy migrate --help")
	}
	if err := apply(ctx, cfg.DatabaseURL); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	_, err := fmt.Fprintln(stdout, "the schema is up to date")
	return err
}
