package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/peterbourgon/ff/v3"
)

// envPrefix begins the name of each environment variable that is a setting; testEnvPrefix begins those
// that only the project's own tests read, and serviceEnvPrefix those that Kubernetes sets in every pod beside
// a Service named eos-proxy.
const (
	envPrefix        = "EOS_"
	testEnvPrefix    = "EOS_TEST_"
	serviceEnvPrefix = "EOS_PROXY_"
)

// Config holds every setting of the program, each within its range. It is read once at start and not
// changed afterwards.
type Config struct {
	Listen      string // host:port
	DatabaseURL string // empty: the embedded PostgreSQL
	DataDir     string // of the embedded PostgreSQL; empty: its default
	PoolSize    int    // connections to the database
	TailBytes   int64  // of the last batches, kept in memory
	File        string // the configuration file; empty: none
	LogFormat   string // auto, text or json
	LogLevel    slog.Level

	MaxBodyBytes   int64 // after unpacking
	MaxRecords     int   // in one request
	MaxRecordBytes int64 // default of a topic's max_record_bytes
	MaxHeaderBytes int
	MaxJSONDepth   int

	SequenceWait time.Duration // how long an early sequence waits for the one before it
	StopDelay    time.Duration // how long it serves on then, while /readyz says 503
	Grace        time.Duration // for requests that run when the program is told to stop

	MaxProducers        int64
	MaxTransactionalIDs int64
	MaxOpenTransactions int64
	MaxTransactionBytes int64 // staged in one transaction
	MaxStagedBytes      int64 // staged in all open transactions
	MaxTransactions     int64 // fates that are kept
	MaxGroups           int64
	MaxMembers          int64 // of all groups

	AllowUnsafeDatabase bool // accept fsync or synchronous_commit off

	CPUProfile string // file for a profile of the whole run; empty: none
}

// flags defines every setting on a new flag set with its default, which is stored in c at once. A value
// outside its range is refused by the flag's Set, wherever the value comes from.
func (c *Config) flags(name string) *flag.FlagSet {
	const maxCount = 1<<53 - 1 // what a JSON number holds exactly

	fs := newFlagSet(name)
	define(fs, &c.Listen, "listen", "127.0.0.1:8080", "`host:port` to answer on; port 0 takes a free one", parseListen)
	define(fs, &c.DatabaseURL, "database-url", "", "`URL` of a PostgreSQL; without it serve starts an embedded one", parseText)
	define(fs, &c.DataDir, "data-dir", "", "`directory` of the embedded PostgreSQL (default ./eos-data, or /var/lib/eos-proxy\nwhere root runs in a directory that other users cannot enter)", parseText)
	define(fs, &c.PoolSize, "pool-size", "8", "`connections` to the database", number(1, 1000))
	define(fs, &c.TailBytes, "tail-cache-bytes", "67108864", "most `bytes` of the last batches that are kept in memory for readers who follow; 0 for none", number[int64](0, 1<<40))
	define(fs, &c.File, "config", "", "`file` of settings, one \"name value\" a line", parseText)
	define(fs, &c.LogFormat, "log-format", "auto", "`format` of the log on stderr: text, json, or auto (text on a terminal)", oneOf("auto", "text", "json"))
	define(fs, &c.LogLevel, "log-level", "info", "lowest `level` that is logged: debug, info, warn, error", parseLevel)

	define(fs, &c.MaxBodyBytes, "max-body-bytes", "10485760", "largest request body in `bytes`, after unpacking", number[int64](1024, 256<<20))
	define(fs, &c.MaxRecords, "max-records", "10000", "most `records` in one request", number(1, 1_000_000))
	define(fs, &c.MaxRecordBytes, "max-record-bytes", "1048576", "a topic's max_record_bytes in `bytes`, where the topic does not say", number[int64](1, 256<<20))
	define(fs, &c.MaxHeaderBytes, "max-header-bytes", "16384", "largest header block of a request in `bytes`", number(5000, 1<<20))
	define(fs, &c.MaxJSONDepth, "max-json-depth", "64", "deepest nesting of a record, or of other JSON in a request, in `levels`", number(4, 10_000))

	define(fs, &c.SequenceWait, "sequence-wait", "100ms", "`duration` that a request with an early sequence waits for the one before it", duration(0, 10*time.Second))
	define(fs, &c.StopDelay, "stop-delay", "0s", "`duration` that the program serves on when it is told to stop, while /readyz says\n503, so that load balancers notice first", duration(0, time.Hour))
	define(fs, &c.Grace, "grace", "15s", "`duration` that running requests may take to finish at a stop", duration(0, time.Hour))

	define(fs, &c.MaxProducers, "max-producers", "1000000", "largest `number` of producers", number[int64](1, maxCount))
	define(fs, &c.MaxTransactionalIDs, "max-transactional-ids", "100000", "largest `number` of transactional ids", number[int64](1, maxCount))
	define(fs, &c.MaxOpenTransactions, "max-open-transactions", "10000", "largest `number` of open transactions", number[int64](1, maxCount))
	define(fs, &c.MaxTransactionBytes, "max-transaction-bytes", "104857600", "most `bytes` staged in one transaction", number[int64](1, maxCount))
	define(fs, &c.MaxStagedBytes, "max-staged-bytes", "1073741824", "most `bytes` staged in all open transactions", number[int64](1, maxCount))
	define(fs, &c.MaxTransactions, "max-transactions", "10000000", "largest `number` of transactions whose fate is kept", number[int64](1, maxCount))

	define(fs, &c.MaxGroups, "max-groups", "100000", "largest `number` of consumer groups", number[int64](1, maxCount))
	define(fs, &c.MaxMembers, "max-members", "100000", "largest `number` of members of all groups", number[int64](1, maxCount))

	define(fs, &c.AllowUnsafeDatabase, "allow-unsafe-database", "false", "start although the database's fsync or synchronous_commit is off, and warn: a\ncrash of its machine can then lose records that were acknowledged, and with them\nwhat makes their repeats repeats. Only for data that may be lost", strconv.ParseBool)
	define(fs, &c.CPUProfile, "cpuprofile", "", "`file` for a profile of the processor time of the whole run, written at its end;\ngo tool pprof reads it", parseText)
	return fs
}

// load completes fs, whose command line is parsed, from environ and from the file that --config or
// EOS_CONFIG names: flags win over the environment, the environment over the file, the file over the
// defaults. An empty variable counts as absent. What it does not know it refuses.
func (c *Config) load(fs *flag.FlagSet, environ []string) error {
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })

	names := make(map[string]string) // from variable to flag
	fs.VisitAll(func(f *flag.Flag) { names[envName(f.Name)] = f.Name })

	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(key, envPrefix) || strings.HasPrefix(key, testEnvPrefix) || strings.HasPrefix(key, serviceEnvPrefix) {
			continue
		}
		if crash.Possible && key == crash.Env {
			continue
		}
		name, ok := names[key]
		if !ok {
			return usagef("unknown environment variable %s%s", key, nearest("", key, names))
		}
		if value == "" || given[name] {
			continue
		}
		if err := fs.Set(name, value); err != nil {
			return usagef("%s=%q: %w", key, value, err)
		}
	}

	// The environment is applied by now, as if it had been flags: ff looks for its variables in the
	// process alone, which no two tests could share.
	err := ff.Parse(fs, nil,
		ff.WithConfigFileFlag("config"),
		ff.WithConfigFileParser(fileParser(fs)))
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return usagef("%s %w", c.File, err)
	case err != nil:
		return usagef("configuration file: %w", err)
	}
	return checkDatabaseURL(c.DatabaseURL)
}

// envName returns the environment variable of a flag: EOS_POOL_SIZE of pool-size.
func envName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// isSet reports whether a variable of the environment is there and not empty.
func isSet(environ []string, name string) bool {
	return slices.ContainsFunc(environ, func(pair string) bool {
		value, found := strings.CutPrefix(pair, name+"=")
		return found && value != ""
	})
}

func parseText(s string) (string, error) { return s, nil }

func parseListen(s string) (string, error) {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errors.New("must be host:port, as in 127.0.0.1:8080 or :8080")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", errors.New("must end in a port from 0 to 65535")
	}
	return s, nil
}

func parseLevel(s string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[s]
	if !ok {
		return 0, errors.New("must be debug, info, warn or error")
	}
	return level, nil
}

// checkDatabaseURL refuses what is plainly no address of a PostgreSQL. It never repeats the URL, which
// may hold a password.
func checkDatabaseURL(url string) error {
	switch {
	case url == "", strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return nil
	case !strings.Contains(url, "://") && strings.Contains(url, "="):
		return nil // libpq's other form: host=… dbname=…
	}
	return usagef("database-url must begin with postgres:// or postgresql://, or be of the form %q", "host=… dbname=…")
}

// A usageError is a mistake in how the program was called. The program then ends with status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}
