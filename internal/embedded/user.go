package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is the user that PostgreSQL runs as when the proxy runs as root, which PostgreSQL
// refuses to be. A nil *account means: run as ourselves.
type account struct {
	name     string // for messages
	uid, gid uint32
}

// serverUser returns whom to run the server as: nil unless we are root. An existing cluster's
// owner is kept (so that a user's directory stays usable for that user after one start as root);
// otherwise it is "postgres" where there is such a user, else "nobody".
func serverUser(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil // nil is an account: ourselves
	}
	if info, err := os.Stat(data); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			name := "of uid " + strconv.Itoa(int(stat.Uid))
			if found, err := user.LookupId(strconv.Itoa(int(stat.Uid))); err == nil {
				name = found.Username
			}
			return &account{name: name, uid: stat.Uid, gid: stat.Gid}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		// macOS writes nobody's -2 as it is; the kernel's numbers are unsigned 32 bits.
		uid, err1 := strconv.ParseInt(found.Uid, 10, 64)
		gid, err2 := strconv.ParseInt(found.Gid, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL cannot run as root, and there is neither a user postgres nor a user nobody: start eos-proxy as an ordinary user")
}

// procAttr returns the attributes for a child that runs as this account, in a process group of
// its own: the terminal's Ctrl-C must not reach it before us.
func (a *account) procAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// own makes the account the owner of path.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// ownedBy reports whether a file belongs to the account.
func ownedBy(info fs.FileInfo, a *account) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == a.uid
}

// ownAll makes the account the owner of all of a tree, the top last: an interrupted call is
// seen by the top's owner and made again.
func (a *account) ownAll(root string) error {
	if a == nil {
		return nil
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		return a.own(path)
	})
	if err != nil {
		return err
	}
	return a.own(root)
}

// mayEnter returns an error that says what to do if the account cannot pass through one of the
// directories that lead to dir, or dir itself. What does not exist yet is no obstacle.
func (a *account) mayEnter(dir string) error {
	if a == nil {
		return nil
	}
	obstacle := a.obstacle(dir)
	if obstacle == "" || a.entersAnyway(obstacle) {
		return nil
	}
	return fmt.Errorf("as root, PostgreSQL runs as the user %s, who cannot enter %s (on the way to %s): "+
		"name a data directory elsewhere, such as /var/lib/eos-proxy, or start eos-proxy as an ordinary user, or run: chmod o+x %s",
		a.name, obstacle, dir, obstacle)
}

// obstacle returns the first directory on the way to dir (dir included) whose mode bits keep
// the account out, "" if there is none.
func (a *account) obstacle(dir string) string {
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	path := "/"
	for _, name := range strings.Split(dir, "/") {
		path = filepath.Join(path, name)
		info, err := os.Stat(path)
		if err != nil {
			return ""
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.IsDir() {
			return ""
		}
		bit := os.FileMode(0o001)
		switch {
		case stat.Uid == a.uid:
			bit = 0o100
		case stat.Gid == a.gid:
			bit = 0o010
		}
		if info.Mode()&bit == 0 {
			return path
		}
	}
	return ""
}

// entersAnyway asks the kernel whether the account can enter dir, for the sake of access control
// lists, which the mode bits do not show.
func (a *account) entersAnyway(dir string) bool {
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", ":")
	cmd.Dir, cmd.SysProcAttr = dir, a.procAttr()
	return cmd.Run() == nil
}

// command returns a command that runs as the account with a bare environment: PG… variables and
// the locale of whoever started the proxy must not change what the server does. If ctx ends, the
// program and its children are killed.
func (a *account) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + filepath.Dir(name) + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = a.procAttr()
	cmd.WaitDelay = time.Second // for descendants that keep a pipe open
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}
