package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// A Disk is a small file system of its own, of which PostgreSQL keeps a part of its data. Its methods may be called by
// anybody at any time.
type Disk struct {
	dir   string // where it is mounted
	image string // of a loop device; empty: it is in memory
	group string // the control group that makes it slow; empty: none

	before string // the group that this process was in before

	mu    sync.Mutex
	slow  int // how many want it slow; guarded by mu
	fills int // how many want it full; guarded by mu
}

// Kinds of disks.
const (
	Loop   = "loop"   // an ext4 in a file
	Memory = "memory" // a tmpfs
	None   = "none"   // no disk of its own
)

// mount makes a disk of a kind. The error says why it cannot be had.
func mount(ctx context.Context, kind, dir string, size int64) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may mount")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return nil, err
	}
	d := &Disk{dir: dir}
	if kind == Memory {
		return d, command(ctx, "mount", "-t", "tmpfs", "-o", "mode=755,size="+strconv.FormatInt(size, 10), "eos-torture", dir)
	}
	d.image = dir + ".img"
	file, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return nil, err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return nil, err
	}
	if err := command(ctx, "mount", "-o", "loop", d.image, dir); err != nil {
		return nil, err
	}
	return d, os.RemoveAll(filepath.Join(dir, "lost+found"))
}

// unmount gives back all that the disk took. Nobody may use it any more.
func (d *Disk) unmount() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := command(ctx, "umount", d.dir)
	if err != nil {
		// A process that is about to end: the mount goes with it.
		err = command(ctx, "umount", "--lazy", d.dir)
	}
	if d.group != "" {
		err = errors.Join(err, d.leave(), os.Remove(d.group))
	}
	if d.image != "" {
		err = errors.Join(err, os.Remove(d.image))
	}
	return err
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Fill fills the disk until ctx ends, and frees it again.
func (d *Disk) Fill(ctx context.Context) error {
	d.mu.Lock()
	d.fills++
	d.mu.Unlock()
	name := filepath.Join(d.dir, "fill")
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	for err == nil && ctx.Err() == nil {
		err = fill(file)
		wait.For(ctx, 100*time.Millisecond) // and what PostgreSQL has freed meanwhile
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fills--; d.fills == 0 {
		err = errors.Join(err, os.Remove(name))
	}
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	return err
}

// fill takes all that is free.
func fill(file *os.File) error {
	end, err := file.Seek(0, 2)
	for size := int64(64 << 20); err == nil && size >= 4096; {
		switch err = syscall.Fallocate(int(file.Fd()), 0, end, size); {
		case err == nil:
			end += size
		case errors.Is(err, syscall.ENOSPC):
			size, err = size/4, nil
		case errors.Is(err, syscall.EINTR):
			err = nil
		}
	}
	return err
}

// slowWrites is how many writes a second a slow disk does.
const slowWrites = 25

// limit makes the group that can make the disk slow for those who are in it, and enters it with all that this process
// starts from now on; for other disks it changes nothing. The error says why it cannot be had.
func (d *Disk) limit(name string) error {
	if d.image == "" {
		return errors.New("a disk in memory cannot be slow")
	}
	if _, err := os.Stat(filepath.Join(groups, throttle)); err != nil {
		return fmt.Errorf("no control groups for disks: %w", err)
	}
	group := filepath.Join(groups, name)
	if err := os.Mkdir(group, 0o755); err != nil { //nolint:gosec // as all groups
		return err
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		err = enter(group)
	}
	if err != nil {
		return errors.Join(err, os.Remove(group))
	}
	d.group = group
	for line := range strings.Lines(string(text)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":blkio:"); ok {
			d.before = filepath.Join(groups, path)
		}
	}
	return nil
}

const (
	groups   = "/sys/fs/cgroup/blkio"
	throttle = "blkio.throttle.write_iops_device"
)

// enter puts this process into a group.
func enter(group string) error { return move(os.Getpid(), group) }

func move(pid int, group string) error {
	return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
}

// leave takes all out of the group that are in it: this process, and what it has started that is still there.
func (d *Disk) leave() error {
	text, err := os.ReadFile(filepath.Join(d.group, "cgroup.procs"))
	for line := range strings.Lines(string(text)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid != os.Getpid() {
			_ = move(pid, d.before) // it may have ended
		}
	}
	return errors.Join(err, enter(d.before))
}

// CanBeSlow reports whether Slow does anything.
func (d *Disk) CanBeSlow() bool { return d != nil && d.group != "" }

// Slow lets the disk do no more than some writes a second until ctx ends.
func (d *Disk) Slow(ctx context.Context) error {
	err := d.writes(1, slowWrites)
	<-ctx.Done()
	return errors.Join(err, d.writes(-1, 0))
}

func (d *Disk) writes(more, most int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slow += more; more < 0 && d.slow > 0 {
		return nil
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(d.dir, &stat); err != nil {
		return err
	}
	device := fmt.Sprintf("%d:%d", (stat.Dev>>8)&0xfff, stat.Dev&0xff|(stat.Dev>>12)&0xfff00)
	return os.WriteFile(filepath.Join(d.group, throttle), fmt.Appendf(nil, "%s %d", device, most), 0o600)
}
