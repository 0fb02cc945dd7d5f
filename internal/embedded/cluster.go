package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ensureCluster makes the cluster if there is none, and gives it to the server's user.
func (s *Server) ensureCluster(ctx context.Context, exists bool) error {
	if exists {
		return s.adopt()
	}
	// What initdb left when it was killed. It may still be dying: what stays is removed next time.
	if old, err := filepath.Glob(s.data + ".new-*"); err == nil {
		for _, dir := range old {
			_ = os.RemoveAll(dir)
		}
	}
	temp, err := os.MkdirTemp(s.cfg.Dir, filepath.Base(s.data)+".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // gone already when all went well
	if err := s.user.own(temp); err != nil {
		return err
	}
	began := time.Now()
	cmd := s.user.command(ctx, s.programs.path("initdb"), "--pgdata", temp, "--username", "postgres",
		"--encoding", "UTF8", "--locale", "C", "--auth", "trust", "--data-checksums", "--no-instructions")
	cmd.Dir = s.cfg.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("initdb: %w: %s", err, oneLine(out))
	}
	// An empty directory of that name is replaced; initdb has flushed the content.
	if err := os.Rename(temp, s.data); err != nil {
		return err
	}
	if err := syncDir(s.cfg.Dir); err != nil {
		return err
	}
	s.cfg.Logger.Info("made a new PostgreSQL cluster", "dir", s.data, "version", s.programs.version(), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// adopt gives a cluster that belongs to root (a copy, a backup) to the server's user.
func (s *Server) adopt() error {
	info, err := os.Stat(s.data)
	if err != nil {
		return err
	}
	if s.user == nil || ownedBy(info, s.user) {
		return nil
	}
	s.cfg.Logger.Info("giving the PostgreSQL data to the user the server runs as", "dir", s.data, "user", s.user.name)
	return s.user.ownAll(s.data)
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
