package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestServerNeverRunsAsRoot(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, Config{Dir: newDir(t)})
	want := uint32(os.Geteuid())
	if want == 0 {
		want = server.user.uid
	}
	if want == 0 {
		t.Fatal("the server's user is root")
	}
	mustRun(t, server)
	// The server writes this file itself.
	info, err := os.Stat(filepath.Join(server.data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
		t.Errorf("the server runs as uid %d, want %d", got, want)
	}
	// Its own process group: the terminal's Ctrl-C does not reach it.
	pid := serverPid(t, server)
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process group %d (%v), want %d", group, err, pid)
	}
}

func TestDirectoryOutOfReachIsNamed(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(newDir(t), "closed")
	mode := os.FileMode(0) // to an ordinary user; root enters, its server's user does not
	if os.Geteuid() == 0 {
		mode = 0o700
	}
	if err := os.Mkdir(closed, mode); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: filepath.Join(closed, "data")})
	if err == nil || !strings.Contains(err.Error(), closed) {
		t.Errorf("Open: %v, want an error that names %s", err, closed)
	}
	if os.Geteuid() == 0 && err != nil && !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Errorf("Open: %v, want an error that says what to do", err)
	}
}

func TestObstacle(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	self := uint32(os.Geteuid())
	tests := []struct {
		name string
		mode os.FileMode
		user account
		want string
	}{
		{"owner may", 0o700, account{uid: self, gid: 1}, ""},
		{"owner may not", 0o077, account{uid: self, gid: 1}, inner},
		{"group may", 0o710, account{uid: self + 1, gid: uint32(os.Getegid())}, ""},
		{"group may not", 0o701, account{uid: self + 1, gid: uint32(os.Getegid())}, inner},
		{"others may", 0o701, account{uid: self + 1, gid: uint32(os.Getegid()) + 1}, ""},
		{"others may not", 0o770, account{uid: self + 1, gid: uint32(os.Getegid()) + 1}, inner},
	}
	for _, test := range tests { // one directory: not parallel
		if err := os.Chmod(inner, test.mode); err != nil {
			t.Fatal(err)
		}
		if got := test.user.obstacle(filepath.Join(inner, "missing")); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestForeignMajorVersionIsRefused(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"14\n": "eos-proxy works with 15 to 18",
		"17\n": "written by PostgreSQL 17, whose programs are not installed: install",
	} {
		dir := newDir(t)
		if err := os.Mkdir(filepath.Join(dir, "pg"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pg", "PG_VERSION"), []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t.Context(), Config{Dir: dir}, nowhere(t, "", ""))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %q: %v, want %q", version, err, want)
		}
	}
}

func TestDirectoryWithForeignFilesIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "pg", "holiday"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("Open: %v", err)
	}
}
