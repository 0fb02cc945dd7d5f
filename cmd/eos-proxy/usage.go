package main

import (
	"flag"
	"fmt"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

const rootHelp = `EXAMPLES
  Start with an embedded PostgreSQL that keeps its data in ./eos-data:
    eos-proxy serve

  Start on a PostgreSQL of your own:
    eos-proxy serve --database-url postgres://eos:secret@db.example.com:5432/eos

  See every setting:
    eos-proxy serve --help`

const serveHelp = `Each flag is also an environment variable and a line in the file that --config names. A flag wins over
the variable, the variable over the line: --pool-size 16, EOS_POOL_SIZE=16, and the line "pool-size 16".
What is unknown in any of the three is refused. The log goes to stderr.

EXAMPLES
  With an embedded PostgreSQL:
    eos-proxy serve --data-dir /var/lib/eos-proxy

  On a PostgreSQL of your own, answering to other machines:
    eos-proxy serve --listen :8080 --database-url postgres://eos:secret@db.example.com:5432/eos

  The same from the environment, which keeps the password out of the list of processes:
    EOS_LISTEN=:8080 EOS_DATABASE_URL=postgres://eos:secret@db.example.com:5432/eos eos-proxy serve

  The same from a file:
    printf '%s\n' 'listen :8080' 'database-url postgres://eos:secret@db.example.com:5432/eos' > eos.conf
    eos-proxy serve --config eos.conf`

const migrateHelp = `serve does the same at its start; this is for those who change schemas before they change programs, or as
another database user. It can be repeated, and run beside others. It takes every setting of serve, so
that one file or environment does for both, and uses the ones below. An embedded PostgreSQL has no need
of it.

EXAMPLES
  eos-proxy migrate --database-url postgres://owner:secret@db.example.com:5432/eos

  EOS_DATABASE_URL=postgres://owner:secret@db.example.com:5432/eos eos-proxy migrate`

const benchHelp = `It starts a PostgreSQL and a proxy of its own on fresh data in a temporary directory, drives them, reads
back what was stored, and prints a table: what each work reached, beside its target. Everything is a ratio
to a ceiling that is taken in the same run, on the same cores. EOS_… variables reach the proxy. A figure
below its target is no error; a record that is missing or there twice is.

EXAMPLES
  Everything but the large log:
    eos-proxy bench

  The works named produce-…, for a first look:
    eos-proxy bench --only produce --rounds 1 --seconds 1

  A service that runs elsewhere; what needs its database is left out:
    eos-proxy bench --url http://127.0.0.1:8080

  What holds after ten minutes of somebody's open transaction, and with much behind:
    eos-proxy bench --only held,big --hold 10m --big`

const versionHelp = `EXAMPLES
  eos-proxy version
  eos-proxy --version`

// migrateUses are the settings that mean something to the command migrate.
var migrateUses = map[string]bool{"config": true, "database-url": true}

// usage returns the help of a command, in the manner of a manual page.
func usage(c *ffcli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUSAGE\n  %s\n", c.Name, c.ShortHelp, c.ShortUsage)
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCOMMANDS\n")
		for _, sub := range c.Subcommands {
			fmt.Fprintf(&b, "  %-10s%s\n", sub.Name, sub.ShortHelp)
		}
		b.WriteString("  help      print the help of a command\n")
	}
	fmt.Fprintf(&b, "\n%s\n", c.LongHelp)

	var flags strings.Builder
	c.FlagSet.VisitAll(func(f *flag.Flag) {
		if c.Name == "migrate" && !migrateUses[f.Name] {
			return
		}
		value, text := flag.UnquoteUsage(f)
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			value = ""
		}
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		head := strings.TrimSpace("--" + f.Name + " " + value)
		fmt.Fprintf(&flags, "  %-36s%s\n", head, strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", 38)))
	})
	if flags.Len() > 0 {
		fmt.Fprintf(&b, "\nFLAGS\n%s", flags.String())
	}
	return b.String()
}

// flagError turns what package flag found wrong with the flags of c into an error that names the nearest
// known flag. Package flag has no type for it, only its words.
func flagError(c *ffcli.Command, err error) error {
	call := strings.TrimSpace("eos-proxy " + strings.TrimPrefix(c.Name, "eos-proxy"))
	if _, name, ok := strings.Cut(err.Error(), "flag provided but not defined: -"); ok {
		for _, sub := range c.Subcommands {
			if sub.FlagSet.Lookup(name) != nil {
				return usagef("--%s stands after its command: eos-proxy %s --%[1]s", name, sub.Name)
			}
		}
		return usagef("unknown flag --%s%s; see %s --help", name, nearestFlag("--", c.FlagSet, name), call)
	}
	text := strings.TrimPrefix(err.Error(), "error parsing commandline arguments: ")
	return usagef("%s; see %s --help", text, call)
}

// nearestCommand is nearest for the names of subcommands.
func nearestCommand(root *ffcli.Command, name string) string {
	known := map[string]bool{"help": true}
	for _, c := range root.Subcommands {
		known[c.Name] = true
	}
	return nearest("", name, known)
}
