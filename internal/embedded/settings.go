package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// defaultSettings are for a log on a small machine. They go on the command line, so that they
// win over postgresql.conf and ALTER SYSTEM.
func defaultSettings() map[string]string {
	settings := map[string]string{
		// What was acknowledged stays.
		"fsync":              "on",
		"synchronous_commit": "on",
		"full_page_writes":   "on",

		// Reachable through the socket only, by its user only.
		"listen_addresses":        "",
		"port":                    "5432",
		"unix_socket_permissions": "0700",
		"ssl":                     "off",

		"max_connections":    "100",
		"shared_buffers":     "128MB",
		"max_wal_size":       "2GB",
		"checkpoint_timeout": "15min",
		"autovacuum":         "on",
		"jit":                "off",
		"timezone":           "UTC",
		"cluster_name":       "eos-proxy",

		// Standard error is ours, see serverLog. The statements of clients are their own affair.
		"log_destination":         "stderr",
		"logging_collector":       "off",
		"log_line_prefix":         "",
		"log_min_messages":        "warning",
		"log_min_error_statement": "panic",
		"log_checkpoints":         "off",
		"log_timezone":            "UTC",
	}
	if runtime.GOOS == "darwin" {
		// Anything else stops at the drive's volatile cache there.
		settings["wal_sync_method"] = "fsync_writethrough"
	}
	return settings
}

// chooseSettings returns the settings for the programs at hand. They compress with lz4 when they
// can; then the data need such programs for ever, which a file in the cluster remembers.
func (s *Server) chooseSettings(ctx context.Context) (map[string]string, error) {
	settings := defaultSettings()
	mark := filepath.Join(s.data, "eos-lz4")
	out, err := s.user.command(ctx, s.programs.path("postgres"), "-D", s.data, "-c", "wal_compression=lz4", "-C", "wal_compression").CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		settings["wal_compression"] = "lz4"
		file, err := os.OpenFile(mark, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(s.user.own(mark), file.Close(), syncDir(s.data)); err != nil {
			return nil, err
		}
	default:
		if _, err := os.Stat(mark); err == nil {
			return nil, fmt.Errorf("the data in %s may be compressed with lz4, which the programs in %s cannot read (%s): %s",
				s.cfg.Dir, s.programs.bin, oneLine(out), howToInstall(s.programs.major))
		}
		settings["wal_compression"] = "off"
	}
	maps.Copy(settings, s.cfg.Settings)
	return settings, nil
}

// arguments returns the server's command line, in a fixed order.
func (s *Server) arguments() []string {
	args := []string{"-D", s.data, "-k", s.socket}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		args = append(args, "-c", name+"="+s.settings[name])
	}
	return args
}
