package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogFormats(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ format, want string }{
		{"text", "level=WARN msg=heard n=1 took=1.5s"},
		{"json", `"level":"WARN","msg":"heard","n":1,"took":"1.5s"}`},
		{"auto", `"level":"WARN","msg":"heard","n":1,"took":"1.5s"}`}, // a strings.Builder is no terminal
	} {
		t.Run(tc.format, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			log := newLogger(&b, tc.format, slog.LevelWarn)
			log.Info("below the level")
			log.Warn("heard", "n", 1, "took", 1500*time.Millisecond)
			if got := b.String(); !strings.Contains(got, tc.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("log %q, want one line with %q", got, tc.want)
			}
		})
	}
}
