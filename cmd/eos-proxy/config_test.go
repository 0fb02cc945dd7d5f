package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newConfig returns what the settings of serve come to.
func newConfig(args, environ []string) (Config, error) {
	var c Config
	fs := c.flags("serve")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	err := c.load(fs, environ)
	return c, err
}

// mustWrite returns the name of a new file with content.
func mustWrite(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "eos.conf")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := newConfig(nil, []string{"PATH=/bin", "EOS_TEST_DATABASE_URL=x", "EOS_PROXY_PORT=tcp://10.0.0.1:80", "EOS_LISTEN="})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Listen: "127.0.0.1:8080", PoolSize: 8, TailBytes: 64 << 20, LogFormat: "auto", LogLevel: slog.LevelInfo,
		MaxBodyBytes: 10 << 20, MaxRecords: 10_000, MaxRecordBytes: 1 << 20, MaxHeaderBytes: 16 << 10, MaxJSONDepth: 64,
		SequenceWait: 100 * time.Millisecond, Grace: 15 * time.Second,
		MaxProducers: 1_000_000, MaxTransactionalIDs: 100_000, MaxOpenTransactions: 10_000,
		MaxTransactionBytes: 100 << 20, MaxStagedBytes: 1 << 30, MaxTransactions: 10_000_000,
		MaxGroups: 100_000, MaxMembers: 100_000,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestEverySettingFromEachPlace(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"listen": ":9000", "database-url": "postgres://a:b@c/d", "data-dir": "/data", "pool-size": "3", "tail-cache-bytes": "4096", "log-format": "json", "log-level": "debug",
		"max-body-bytes": "2000", "max-records": "11", "max-record-bytes": "12", "max-header-bytes": "5000", "max-json-depth": "7",
		"sequence-wait": "2s", "grace": "1m", "stop-delay": "3s", "max-producers": "21", "max-transactional-ids": "22", "max-open-transactions": "23",
		"max-transaction-bytes": "24", "max-staged-bytes": "25", "max-transactions": "26", "max-groups": "27", "max-members": "28", "allow-unsafe-database": "true",
	}
	want := Config{
		Listen: ":9000", DatabaseURL: "postgres://a:b@c/d", DataDir: "/data", PoolSize: 3, TailBytes: 4096, LogFormat: "json", LogLevel: slog.LevelDebug,
		MaxBodyBytes: 2000, MaxRecords: 11, MaxRecordBytes: 12, MaxHeaderBytes: 5000, MaxJSONDepth: 7,
		SequenceWait: 2 * time.Second, Grace: time.Minute, StopDelay: 3 * time.Second, MaxProducers: 21, MaxTransactionalIDs: 22, MaxOpenTransactions: 23,
		MaxTransactionBytes: 24, MaxStagedBytes: 25, MaxTransactions: 26, MaxGroups: 27, MaxMembers: 28, AllowUnsafeDatabase: true,
	}
	var args, environ []string
	var file strings.Builder
	for name, value := range values {
		args = append(args, "--"+name+"="+value)
		environ = append(environ, envName(name)+"="+value)
		file.WriteString(name + "\t " + value + " \n")
	}

	fromFlags, err := newConfig(args, nil)
	if diff := cmp.Diff(want, fromFlags); err != nil || diff != "" {
		t.Errorf("flags: %v (-want +got):\n%s", err, diff)
	}
	fromEnv, err := newConfig(nil, environ)
	if diff := cmp.Diff(want, fromEnv); err != nil || diff != "" {
		t.Errorf("environment: %v (-want +got):\n%s", err, diff)
	}
	want.File = mustWrite(t, file.String())
	fromFile, err := newConfig([]string{"--config", want.File}, nil)
	if diff := cmp.Diff(want, fromFile); err != nil || diff != "" {
		t.Errorf("file: %v (-want +got):\n%s", err, diff)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const file = "# the pool\n\npool-size 4\nlisten 127.0.0.1:4\n"
	for _, tc := range []struct {
		name          string
		args, environ []string
		file          string
		want          int
	}{
		{name: "default", want: 8},
		{name: "file", file: file, want: 4},
		{name: "environment", environ: []string{"EOS_POOL_SIZE=3"}, file: file, want: 3},
		{name: "flag", args: []string{"--pool-size", "2"}, environ: []string{"EOS_POOL_SIZE=3"}, file: file, want: 2},
		{name: "flag that repeats the default", args: []string{"--pool-size", "8"}, environ: []string{"EOS_POOL_SIZE=3"}, file: file, want: 8},
		{name: "empty variable", environ: []string{"EOS_POOL_SIZE="}, file: file, want: 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			environ := tc.environ
			if tc.file != "" {
				environ = append(environ, "EOS_CONFIG="+mustWrite(t, tc.file))
			}
			got, err := newConfig(tc.args, environ)
			if err != nil {
				t.Fatal(err)
			}
			if got.PoolSize != tc.want {
				t.Errorf("pool size %d, want %d", got.PoolSize, tc.want)
			}
		})
	}
}

// TestRefusals calls the whole program: what it refuses, it says in a line that names the fault and the
// cure, and starts nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		args, environ []string
		file          string
		want          string // in the error
		not           string // in it, unless empty
	}{
		{name: "no command", want: "no command: it is one of serve, migrate, bench, version"},
		{name: "unknown command", args: []string{"sevre"}, want: `unknown command "sevre"; the nearest known one is serve`},
		{name: "help of an unknown command", args: []string{"help", "migrat"}, want: `unknown command "migrat"; the nearest known one is migrate`},
		{name: "command like no other", args: []string{"start"}, want: `unknown command "start"`, not: "nearest"},
		{name: "flag like no other", args: []string{"serve", "--verbose"}, want: "unknown flag --verbose; see eos-proxy serve --help", not: "nearest"},
		{name: "flag before the command", args: []string{"--listen", ":1", "serve"}, want: "--listen stands after its command: eos-proxy serve --listen"},
		{name: "argument", args: []string{"serve", "now"}, want: `serve takes flags only, but got "now"`},
		{name: "unknown flag", args: []string{"serve", "--lisen=:1"}, want: "unknown flag --lisen; the nearest known one is --listen"},
		{name: "flag without value", args: []string{"serve", "--listen"}, want: "flag needs an argument: -listen; see eos-proxy serve --help"},
		{name: "unknown variable", args: []string{"serve"}, environ: []string{"EOS_DATABSE_URL=x"}, want: "unknown environment variable EOS_DATABSE_URL; the nearest known one is EOS_DATABASE_URL"},
		{name: "unknown variable of migrate", args: []string{"migrate"}, environ: []string{"EOS_POOLSIZE=1"}, want: "the nearest known one is EOS_POOL_SIZE"},
		{name: "unknown line", args: []string{"serve"}, file: "listen :1\npoolsize 3\n", want: `eos.conf line 2: unknown setting "poolsize"; the nearest known one is pool-size`},
		{name: "line with an equals sign", args: []string{"serve"}, file: "pool-size=3\n", want: "eos.conf line 1: between pool-size and its value must stand a blank"},
		{name: "line that is a secret", args: []string{"serve"}, file: "postgres://u:hunter2@h/d\n", want: `unknown setting "postgres"`},
		{name: "line twice", args: []string{"serve"}, file: "grace 1s\ngrace 2s\n", want: "line 2: grace stands in line 1 already"},
		{name: "line without value", args: []string{"serve"}, file: "allow-unsafe-database\n", want: "line 1: allow-unsafe-database has no value"},
		{name: "file in a file", args: []string{"serve"}, file: "config x\n", want: "line 1: a file cannot name another file"},
		{name: "no file", args: []string{"serve", "--config", "/nonexistent/eos.conf"}, want: "configuration file: open /nonexistent/eos.conf"},

		{name: "pool below", args: []string{"serve", "--pool-size=0"}, want: `invalid value "0" for flag -pool-size: must be an integer from 1 to 1000`},
		{name: "pool above", args: []string{"serve"}, environ: []string{"EOS_POOL_SIZE=1001"}, want: `EOS_POOL_SIZE="1001": must be an integer from 1 to 1000`},
		{name: "pool in the file", args: []string{"serve"}, file: "pool-size many\n", want: "eos.conf line 1: pool-size: must be an integer from 1 to 1000"},
		{name: "count above 2^53-1", args: []string{"serve", "--max-producers=9007199254740992"}, want: "must be an integer from 1 to 9007199254740991"},
		{name: "count above 64 bits", args: []string{"serve", "--max-producers=99999999999999999999"}, want: "must be an integer from 1 to"},
		{name: "duration", args: []string{"serve", "--grace=15"}, want: "must be a duration, such as 100ms or 15s, from 0s to 1h0m0s"},
		{name: "negative duration", args: []string{"serve", "--sequence-wait=-1s"}, want: "from 0s to 10s"},
		{name: "bool", args: []string{"serve", "--allow-unsafe-database=perhaps"}, want: "must be true or false"},
		{name: "format", args: []string{"serve", "--log-format=xml"}, want: "must be one of auto, text, json"},
		{name: "level", args: []string{"serve", "--log-level=all"}, want: "must be debug, info, warn or error"},
		{name: "listen without port", args: []string{"serve", "--listen=localhost"}, want: "must be host:port"},
		{name: "listen on a wrong port", args: []string{"serve", "--listen=:65536"}, want: "must end in a port from 0 to 65535"},
		{name: "address of another database", args: []string{"serve", "--database-url=mysql://u:hunter2@h/d"}, want: "must begin with postgres://"},
		{name: "migrate without database", args: []string{"migrate"}, want: "migrate needs a database: --database-url or EOS_DATABASE_URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			environ := tc.environ
			if tc.file != "" {
				environ = append(environ, "EOS_CONFIG="+mustWrite(t, tc.file))
			}
			err := run(t.Context(), newWiring(t), tc.args, environ, io.Discard, io.Discard)
			var usage *usageError
			if !errors.As(err, &usage) {
				t.Fatalf("error %v, want a *usageError", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q, want one with %q", err, tc.want)
			}
			if tc.not != "" && strings.Contains(err.Error(), tc.not) {
				t.Errorf("error %q has %q", err, tc.not)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q repeats a password", err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"--help"}, []string{"COMMANDS", "  migrate", "EXAMPLES", "eos-proxy serve --database-url postgres://"}},
		{[]string{"help"}, []string{"COMMANDS", "EXAMPLES"}},
		{[]string{"serve", "-h"}, []string{"EXAMPLES", "eos-proxy serve --config eos.conf", "--pool-size connections", "(default 8)", "--allow-unsafe-database  ", "acknowledged", "--cpuprofile file", "pprof"}},
		{[]string{"help", "serve"}, []string{"eos-proxy serve [flags]", "EXAMPLES"}},
		{[]string{"migrate", "--help"}, []string{"EXAMPLES", "eos-proxy migrate --database-url", "--database-url URL"}},
		{[]string{"version", "--help"}, []string{"EXAMPLES", "eos-proxy --version"}},
		{[]string{"version"}, []string{"eos-proxy ", "go1."}},
		{[]string{"--version"}, []string{"eos-proxy ", "go1."}},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			// Help must come even where the environment is wrong.
			if err := run(t.Context(), newWiring(t), tc.args, []string{"EOS_NONSENSE=1"}, &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	var got string
	w := wiring{migrate: func(_ context.Context, url string) error { got = url; return nil }}
	// The line for serve shows that one file does for both commands.
	file := mustWrite(t, "listen :1\ndatabase-url postgres://h/d\n")
	if err := run(t.Context(), w, []string{"migrate", "--config", file}, nil, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got != "postgres://h/d" || out.String() != "the schema is up to date\n" {
		t.Errorf("migrated %q and said %q", got, out.String())
	}

	w.migrate = func(context.Context, string) error { return errors.New("no such host") }
	err := run(t.Context(), w, []string{"migrate", "--database-url", "postgres://h/d"}, nil, &out, io.Discard)
	if err == nil || err.Error() != "migrate: no such host" {
		t.Errorf("error %v", err)
	}
}

// newWiring returns a wiring for calls that must start nothing.
func newWiring(t *testing.T) wiring {
	return wiring{
		parts: func(Config, []string, *slog.Logger) parts {
			t.Error("serve was started")
			return parts{open: func(context.Context, string) (proxyPart, error) { return proxyPart{}, errors.New("no parts") }}
		},
		migrate: func(context.Context, string) error {
			t.Error("migrate was started")
			return nil
		},
	}
}
