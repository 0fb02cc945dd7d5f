package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// The major versions of PostgreSQL that the proxy works with.
const (
	oldestMajor = 15
	newestMajor = 18
)

// programs are the server programs of one version.
type programs struct {
	bin          string // the directory with postgres and initdb
	major, minor int
}

func (p programs) path(name string) string { return filepath.Join(p.bin, name) }

func (p programs) version() string { return fmt.Sprintf("%d.%d", p.major, p.minor) }

// locator knows where programs may be: installed, or to be downloaded.
type locator struct {
	installed func(ctx context.Context) []string // directories, may be missing ones
	archive   archive
}

func newLocator() locator {
	return locator{installed: installedDirs, archive: pinnedArchive()}
}

// programs returns the newest installed programs that user can run, of the given major version
// unless it is 0; if there are none, the downloaded ones, if need be by downloading them.
func (l locator) programs(ctx context.Context, major int, user *account, cfg Config) (programs, error) {
	var best programs
	for _, bin := range l.installed(ctx) {
		found, err := inspect(ctx, bin, user)
		switch {
		case err != nil, found.major < oldestMajor, found.major > newestMajor, major != 0 && found.major != major:
		case found.major > best.major, found.major == best.major && found.minor > best.minor:
			best = found
		}
	}
	if best.bin != "" {
		return best, nil
	}
	if err := ctx.Err(); err != nil {
		return programs{}, err
	}
	if major != 0 && major != l.archive.major {
		return programs{}, fmt.Errorf("the data in %s were written by PostgreSQL %d, whose programs are not installed: %s", cfg.Dir, major, howToInstall(major))
	}
	bin, err := l.archive.fetch(ctx, user, cfg)
	if err != nil {
		return programs{}, fmt.Errorf("no PostgreSQL %d to %d is installed, and getting one did not work: %w; %s", oldestMajor, newestMajor, err, howToInstall(newestMajor))
	}
	found, err := inspect(ctx, bin, user)
	if err != nil {
		return programs{}, fmt.Errorf("the downloaded PostgreSQL does not run here: %w; %s", err, howToInstall(newestMajor))
	}
	return found, nil
}

func howToInstall(major int) string {
	const orURL = ", or give --database-url"
	if runtime.GOOS == "darwin" {
		return fmt.Sprintf("install it (brew install postgresql@%d)", major) + orURL
	}
	return fmt.Sprintf("install the package postgresql-%d (Debian, Ubuntu), postgresql%d-server (Red Hat, from the PostgreSQL repository) or postgresql%d (Alpine)", major, major, major) + orURL
}

// installedDirs returns the places where packages put the server programs.
func installedDirs(ctx context.Context) []string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu, Gentoo
		"/usr/pgsql-*/bin",                   // Red Hat, PostgreSQL's own repository
		"/usr/libexec/postgresql*",           // Alpine
		"/usr/lib/postgresql[0-9]*/bin",      // SUSE
		"/usr/local/pgsql/bin",               // built from source
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)\.(\d+)`)

// inspect runs the programs in bin as user and returns their version.
func inspect(ctx context.Context, bin string, user *account) (programs, error) {
	if target, err := filepath.EvalSymlinks(bin); err == nil {
		bin = target
	}
	found := programs{bin: bin}
	for _, name := range []string{"initdb", "postgres"} {
		out, err := user.command(ctx, found.path(name), "--version").CombinedOutput()
		if err != nil {
			return programs{}, fmt.Errorf("%s: %w %s", found.path(name), err, oneLine(out))
		}
		match := versionLine.FindSubmatch(out)
		if match == nil {
			return programs{}, fmt.Errorf("%s: unknown version %q", found.path(name), out)
		}
		found.major, _ = strconv.Atoi(string(match[1])) // digits, by the pattern
		found.minor, _ = strconv.Atoi(string(match[2]))
	}
	return found, nil
}

// clusterVersion returns the major version that wrote the cluster, 0 if there is no cluster.
func clusterVersion(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if os.IsNotExist(err) {
		if entries, err := os.ReadDir(data); err == nil && len(entries) > 0 {
			return 0, fmt.Errorf("%s is not empty but holds no PostgreSQL data (no PG_VERSION)", data)
		}
		return 0, nil
	}
	if os.IsPermission(err) {
		return 0, fmt.Errorf("%s belongs to another user: start eos-proxy as that user, or name another data directory: %w", data, err)
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || major < oldestMajor || major > newestMajor {
		return 0, fmt.Errorf("%s was written by PostgreSQL %s; eos-proxy works with %d to %d", data, oneLine(text), oldestMajor, newestMajor)
	}
	return major, nil
}
