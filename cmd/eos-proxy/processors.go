package main

import (
	"os"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// leaveProcessor leaves one of the machine's processors to a PostgreSQL that
// runs on it: each flush waits for it, and while all of them are Go's, for one
// that is busy or has to be woken. It leaves alone what GOMAXPROCS names.
func leaveProcessor(databaseURL string) {
	if os.Getenv("GOMAXPROCS") == "" && isLocal(databaseURL) {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1))
	}
}

// isLocal reports whether a connection URL names a server on this machine.
func isLocal(databaseURL string) bool {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return false
	}
	return strings.HasPrefix(cfg.Host, "/") || cfg.Host == "localhost" || cfg.Host == "127.0.0.1" || cfg.Host == "::1"
}
