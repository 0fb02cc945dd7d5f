package main

import (
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// leaveProcessor leaves one of the processors that Go uses to a PostgreSQL on
// this machine.
func leaveProcessor(databaseURL string, environ []string) {
	has := runtime.GOMAXPROCS(0)
	if n := processors(databaseURL, environ, has); n != has {
		runtime.GOMAXPROCS(n)
	}
}

// processors returns how many of so many processors Go shall use: all but one
// beside a PostgreSQL, as each flush waits for it, and while all of them are
// Go's, for one that is busy or has to be woken. It leaves alone what GOMAXPROCS
// names.
func processors(databaseURL string, environ []string, has int) int {
	if isSet(environ, "GOMAXPROCS") || !isLocal(databaseURL) {
		return has
	}
	return max(1, has-1)
}

// isLocal reports whether a connection URL names a server on this machine.
func isLocal(databaseURL string) bool {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return false
	}
	return strings.HasPrefix(cfg.Host, "/") || cfg.Host == "localhost" || cfg.Host == "127.0.0.1" || cfg.Host == "::1"
}
