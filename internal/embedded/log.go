package embedded

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

const (
	tailLines = 12      // kept for the error when the server dies
	maxLine   = 8 << 10 // longer lines are cut
)

// serverLog passes what the server writes to standard error on to the logger, line by line, and
// keeps the last lines.
type serverLog struct {
	logger *slog.Logger

	mu    sync.Mutex // guards what follows
	rest  []byte     // an unfinished line
	level slog.Level // of the last line with a severity; DETAIL and HINT lines belong to it
	tail  []string
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(l.rest) < maxLine {
			return len(b), nil
		}
		l.line(string(line[:min(len(line), maxLine)]))
		l.rest = append(l.rest[:0:0], rest...)
	}
}

func (l *serverLog) line(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	l.tail = append(l.tail, line)
	if len(l.tail) > tailLines {
		l.tail = l.tail[1:]
	}
	if level, ok := severity(line); ok {
		l.level = level
	}
	l.logger.Log(context.Background(), l.level, "PostgreSQL", "line", strings.TrimSpace(line))
}

// last returns the last lines as one.
func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return oneLine([]byte(strings.Join(l.tail, "; ")))
}

// severity returns the level at which to log a line, false if the line only continues another.
// An ERROR or FATAL concerns one session, whose client is told; what ends the server itself is
// told by Run. A LOG line is routine, but also how the server tells of a failed write or a
// killed process; that a client has left in the middle is no news of the server's.
func severity(line string) (slog.Level, bool) {
	kind, text, found := strings.Cut(line, ":  ")
	if !found {
		return 0, false
	}
	switch kind {
	case "PANIC":
		return slog.LevelError, true
	case "WARNING":
		return slog.LevelWarn, true
	case "FATAL":
		return slog.LevelInfo, true
	case "LOG":
		if strings.HasPrefix(text, "could not send data to client") || strings.HasPrefix(text, "could not receive data from client") {
			return slog.LevelDebug, true
		}
		if strings.Contains(text, "could not ") || strings.Contains(text, "was terminated by signal") {
			return slog.LevelWarn, true
		}
		return slog.LevelDebug, true
	case "ERROR", "NOTICE", "INFO", "DEBUG":
		return slog.LevelDebug, true
	default:
		return 0, false
	}
}
