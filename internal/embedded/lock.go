package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dirLock is the lock on a data directory. The kernel gives it back when the process dies.
type dirLock struct{ file *os.File }

// lockDir takes dir for this process. If another one has it, the error names its process id.
// The file is never removed: a lock on a removed file would exclude nobody.
func lockDir(dir string) (*dirLock, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("data directory %s belongs to another user: start eos-proxy as that user, or name another directory: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock := &dirLock{file}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close() //nolint:errcheck // the error is another
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		holder := "process unknown"
		if text, err := os.ReadFile(file.Name()); err == nil && len(text) > 0 {
			holder = "pid " + strings.TrimSpace(string(text))
		}
		return nil, fmt.Errorf("data directory %s is in use by another eos-proxy (%s)", dir, holder)
	}
	if err := file.Truncate(0); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return lock, nil
}

// release unlocks by name: a child between fork and exec may still hold a copy of the descriptor,
// and closing ours would leave the directory locked for that moment.
func (l *dirLock) release() error {
	err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	return errors.Join(err, l.file.Close())
}
