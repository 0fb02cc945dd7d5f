package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestADiskIsFullAndFreeAgain(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{Loop, Memory} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "disk")
			d, err := mount(t.Context(), kind, dir, 32<<20)
			if err != nil {
				t.Skip(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			filled := make(chan error, 1)
			go func() { filled <- d.Fill(ctx) }()
			for !errors.Is(err, syscall.ENOSPC) {
				err = os.WriteFile(filepath.Join(dir, "x"), make([]byte, 1<<20), 0o600)
			}
			cancel()
			if err := <-filled; err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "x"), make([]byte, 1<<20), 0o600); err != nil {
				t.Errorf("after it was freed: %v", err)
			}
			mustUnmount(t, d)
		})
	}
}

// Not parallel: this process enters the disk's group, and so would those that other tests start.
func TestADiskIsSlow(t *testing.T) {
	d, err := mount(t.Context(), Loop, filepath.Join(t.TempDir(), "disk"), 32<<20)
	if err != nil {
		t.Skip(err)
	}
	defer mustUnmount(t, d)
	if err := d.limit(fmt.Sprintf("eos-torture-test-%d", os.Getpid())); err != nil {
		t.Skip(err)
	}
	if err := d.writes(1, slowWrites); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(d.dir, "x"), os.O_WRONLY|os.O_CREATE|syscall.O_DSYNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it is only written to
	began := time.Now()
	for range slowWrites {
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("%d writes took %s", slowWrites, took)
	}
	if err := d.writes(-1, 0); err != nil {
		t.Error(err)
	}
}

func mustUnmount(t *testing.T, d *Disk) {
	t.Helper()
	if err := d.unmount(); err != nil {
		t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || strings.Contains(string(mounts), d.dir) {
		t.Errorf("%s is still mounted (%v)", d.dir, err)
	}
}
