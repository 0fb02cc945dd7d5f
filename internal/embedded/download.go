package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// archive is a download that holds the server programs of one platform. The zero archive
// stands for a platform that has none.
type archive struct {
	major  int
	name   string // version and platform; names the directory in the cache
	url    string
	sha256 string
	cache  string // where to keep it; "" means below the data directory
	client *http.Client
}

// pins are the programs that the project Zonky builds for tests in other languages and publishes
// at Maven Central, small and without dependencies: for each platform the newest version that
// has a signature and checksums published (18.6.0 for arm64 has neither).
var pins = map[string]struct{ platform, version, sha256 string }{
	"linux/amd64":  {"linux-amd64", "18.6.0", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"},
	"linux/arm64":  {"linux-arm64v8", "18.4.0", "a9ec284923b9a7d2db41509bfb88c3d0eeb9f4aa5e2b29ea0aac5e8dbaf4c335"},
	"darwin/amd64": {"darwin-amd64", "18.6.0", "690941008aac9ee360820fde9bb7870a4f3dcac5e9e2f9e45e42333a436ad0f9"},
	"darwin/arm64": {"darwin-arm64v8", "18.4.0", "ab698c4486a795d2aa8a158b3a41e1201a77e7ff72a6255094cd5900080853c2"},
}

const (
	pinnedMajor  = 18
	maxDownload  = 200 << 20
	downloadTime = 15 * time.Minute
)

// pinnedArchive returns the archive for this machine.
func pinnedArchive() archive {
	pin, ok := pins[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return archive{major: pinnedMajor}
	}
	artifact := "embedded-postgres-binaries-" + pin.platform
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableKeepAlives:     true, // one request
	}
	return archive{
		major:  pinnedMajor,
		name:   "postgresql-" + pin.version + "-" + pin.platform,
		url:    "https://repo1.maven.org/maven2/io/zonky/test/postgres/" + artifact + "/" + pin.version + "/" + artifact + "-" + pin.version + ".jar",
		sha256: pin.sha256,
		cache:  cacheDir(),
		client: &http.Client{Transport: transport, Timeout: downloadTime},
	}
}

// cacheDir returns where downloaded programs are kept, "" if nowhere. Root's own cache directory
// is closed to the user that the server runs as.
func cacheDir() string {
	if os.Geteuid() == 0 {
		if runtime.GOOS == "darwin" {
			return "/Library/Caches/eos-proxy"
		}
		return "/var/cache/eos-proxy"
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "eos-proxy")
	}
	return ""
}

// fetch returns the directory of the downloaded programs, and downloads them if they are not
// there yet. Processes that do so at the same time do it each for itself; one of them wins.
func (a archive) fetch(ctx context.Context, user *account, cfg Config) (string, error) {
	if a.url == "" {
		return "", fmt.Errorf("there are no PostgreSQL programs to download for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if runtime.GOOS == "linux" {
		loaders, _ := filepath.Glob("/lib*/ld-linux-*.so*") // the pattern is well-formed
		if len(loaders) == 0 {
			return "", errors.New("the programs to download need glibc, which this system lacks")
		}
	}
	cache, err := a.makeCache(user, cfg)
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, a.name)
	bin := filepath.Join(final, "bin")
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
		return bin, nil
	}

	jar, err := os.CreateTemp(cache, "download-*")
	if err != nil {
		return "", err
	}
	defer func() {
		_ = jar.Close()
		_ = os.Remove(jar.Name())
	}()
	if err := a.download(ctx, jar, cfg.Progress); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "extract-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // gone already when all went well
	if err := extractJar(ctx, jar, dir); err != nil {
		return "", fmt.Errorf("unpack %s: %w", a.url, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	// The rename must not outlive the files' content in a power cut: nobody would look again.
	syscall.Sync()
	if err := os.Rename(dir, final); err != nil {
		if _, statErr := os.Stat(filepath.Join(bin, "postgres")); statErr != nil {
			return "", err
		}
	}
	return bin, nil
}

// makeCache makes the cache directory, below the data directory if the usual place cannot be
// written or entered.
func (a archive) makeCache(user *account, cfg Config) (string, error) {
	if a.cache != "" && user.mayEnter(a.cache) == nil {
		if err := os.MkdirAll(a.cache, 0o755); err == nil && syscall.Access(a.cache, 2 /* W_OK */) == nil {
			return a.cache, user.mayEnter(a.cache)
		}
	}
	dir := filepath.Join(cfg.Dir, "programs")
	return dir, makeDir(dir, user)
}

// download writes the archive to file, and returns an error if it is not the one that was pinned.
func (a archive) download(ctx context.Context, file io.Writer, progress io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("download %s: %s", a.url, resp.Status)
	}
	fmt.Fprintf(progress, "No PostgreSQL is installed: downloading %s from %s (%.1f MB, once) ", a.name, req.URL.Host, float64(resp.ContentLength)/1e6)
	hash := sha256.New()
	counter := &percent{out: progress, total: resp.ContentLength}
	n, err := io.Copy(io.MultiWriter(file, hash, counter), io.LimitReader(resp.Body, maxDownload))
	fmt.Fprintln(progress)
	if err != nil {
		return fmt.Errorf("download %s: after %d bytes: %w", a.url, n, err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != a.sha256 {
		return fmt.Errorf("download %s: %d bytes with SHA-256 %s, expected %s", a.url, n, sum, a.sha256)
	}
	return nil
}

// percent writes the progress of a download, ten steps on one line.
type percent struct {
	out                io.Writer
	total, done, shown int64
}

func (p *percent) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	for p.total > 0 && p.shown < 10 && p.done*10/p.total > p.shown {
		p.shown++
		fmt.Fprintf(p.out, " %d%%", p.shown*10)
	}
	return len(b), nil
}
