package embedded

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"
)

// TestDownloadFromMavenCentral needs the network (15 MB): EOS_TEST_DOWNLOAD=1 runs it.
func TestDownloadFromMavenCentral(t *testing.T) {
	t.Parallel()
	if os.Getenv("EOS_TEST_DOWNLOAD") != "1" {
		t.Skip("EOS_TEST_DOWNLOAD=1 downloads PostgreSQL")
	}
	where := locator{
		installed: func(context.Context) []string { return nil },
		archive:   pinnedArchive(),
	}
	where.archive.cache = newDir(t)
	var progress bytes.Buffer
	for range 2 {
		server, err := open(t.Context(), Config{Dir: newDir(t), Progress: &progress}, where)
		if err != nil {
			t.Fatal(err)
		}
		stop := mustRun(t, server)
		conn := mustConnect(t, server.URL())
		mustExec(t, conn, "CREATE TABLE t (id int)")
		stop()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Count(progress.String(), "downloading"); got != 1 || !strings.Contains(progress.String(), " 90% 100%\n") {
		t.Errorf("%d downloads, want 1; progress:\n%s", got, progress.String())
	}
}

func TestWrongChecksumIsRefused(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("something else"))
	}))
	t.Cleanup(web.Close)
	where := nowhere(t, web.URL, strings.Repeat("0", 64))
	_, err := open(t.Context(), Config{Dir: newDir(t)}, where)
	if err == nil || !strings.Contains(err.Error(), "expected 0000") {
		t.Errorf("open: %v", err)
	}
	mustBeEmpty(t, where.archive.cache)
}

func TestDownloadThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(make([]byte, 500))
	}))
	t.Cleanup(web.Close)
	where := nowhere(t, web.URL, "")
	_, err := open(t.Context(), Config{Dir: newDir(t)}, where)
	if err == nil || !strings.Contains(err.Error(), "after 500 bytes: unexpected EOF") {
		t.Errorf("open: %v", err)
	}
	mustBeEmpty(t, where.archive.cache)
}

func TestWithoutNetworkTheErrorNamesWhatToInstall(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	web.Close()
	for _, url := range []string{web.URL, ""} {
		_, err := open(t.Context(), Config{Dir: newDir(t)}, nowhere(t, url, ""))
		if err == nil || !strings.Contains(err.Error(), "install ") || !strings.Contains(err.Error(), "--database-url") {
			t.Errorf("open: %v", err)
		}
	}
}

func TestDownloadIsUnpackedOnce(t *testing.T) {
	t.Parallel()
	jar := mustJar(t, []tar.Header{{Name: "bin/postgres", Mode: 0o755, Size: 4, Typeflag: tar.TypeReg}})
	requests := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		_, _ = w.Write(jar)
	}))
	t.Cleanup(web.Close)
	sum := sha256.Sum256(jar)
	where := nowhere(t, web.URL, hex.EncodeToString(sum[:]))
	user, err := serverUser("")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var progress bytes.Buffer
		bin, err := where.archive.fetch(t.Context(), user, Config{Progress: &progress})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(bin, "postgres"))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("postgres: %v, %v", info, err)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests, want 1", requests)
	}
	entries, err := os.ReadDir(where.archive.cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("cache: %v, %v", entries, err)
	}
}

func TestTarThatLeadsOutIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string][]tar.Header{
		"parent":           {{Name: "../evil", Typeflag: tar.TypeReg, Size: 4}},
		"hidden parent":    {{Name: "a/../../evil", Typeflag: tar.TypeReg, Size: 4}},
		"absolute":         {{Name: "/tmp/evil", Typeflag: tar.TypeReg, Size: 4}},
		"directory":        {{Name: "../evil/", Typeflag: tar.TypeDir}},
		"symlink":          {{Name: "a", Linkname: "../evil", Typeflag: tar.TypeSymlink}},
		"absolute symlink": {{Name: "a", Linkname: "/etc", Typeflag: tar.TypeSymlink}},
		"hard link":        {{Name: "a", Linkname: "../evil", Typeflag: tar.TypeLink}},
		"device":           {{Name: "a", Typeflag: tar.TypeChar}},
		"the same twice":   {{Name: "a", Typeflag: tar.TypeReg, Size: 4}, {Name: "a", Typeflag: tar.TypeReg, Size: 4}},
		// Each link looks as if it stayed inside.
		"chain of symlinks": {
			{Name: "d/e/l", Linkname: "../..", Typeflag: tar.TypeSymlink},
			{Name: "m", Linkname: "d/e/l/..", Typeflag: tar.TypeSymlink},
			{Name: "m/evil", Typeflag: tar.TypeReg, Size: 4},
		},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dir := filepath.Join(parent, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := extractTar(t.Context(), bytes.NewReader(mustTar(t, entries)), dir)
			if err == nil || !strings.Contains(err.Error(), "entry ") {
				t.Errorf("extractTar: %v", err)
			}
			if _, err := os.Lstat(filepath.Join(parent, "evil")); err == nil {
				t.Error("it wrote outside")
			}
		})
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	log := &serverLog{logger: testLogger(t)}
	for _, part := range []string{"LOG:  starting\nWARN", "ING:  odd\n\tcontinued\nDETAIL:  more\n", "PANIC:  could not write", "\n"} {
		if n, err := log.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	want := "LOG: starting; WARNING: odd; continued; DETAIL: more; PANIC: could not write"
	if diff := cmp.Diff(want, log.last()); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
	for line, want := range map[string]string{
		"LOG:  checkpoint starting":                                       "DEBUG",
		"LOG:  could not write to file":                                   "WARN",
		"LOG:  could not send data to client: Broken pipe":                "DEBUG",
		"LOG:  could not receive data from client: Connection reset":      "DEBUG",
		"LOG:  server process (PID 7) was terminated by signal 9: Killed": "WARN",
		"ERROR:  duplicate key value":                                     "DEBUG",
		"FATAL:  terminating connection":                                  "INFO",
		"WARNING:  odd":                                                   "WARN",
		"PANIC:  disk full":                                               "ERROR",
	} {
		if got, ok := severity(line); !ok || got.String() != want {
			t.Errorf("%q: %v, want %s", line, got, want)
		}
	}
	if _, ok := severity("HINT:  try again"); ok {
		t.Error("a HINT has no level of its own")
	}
}

// nowhere finds no installed programs and downloads from url.
func nowhere(t *testing.T, url, sum string) locator {
	t.Helper()
	return locator{
		installed: func(context.Context) []string { return nil },
		archive:   archive{major: 18, name: "postgresql-test", url: url, sha256: sum, cache: newDir(t), client: http.DefaultClient},
	}
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%s: %v, %v", dir, entries, err)
	}
}

func mustTar(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, header := range entries {
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("text")[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func mustJar(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	jar := zip.NewWriter(&buf)
	file, err := jar.Create("postgres-test.txz")
	if err != nil {
		t.Fatal(err)
	}
	packed, err := xz.NewWriter(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := packed.Write(mustTar(t, entries)); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := jar.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
