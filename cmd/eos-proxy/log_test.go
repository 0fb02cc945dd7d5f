package main

import (
	"log/slog"
	"strings"
	"testing"
)

func TestLogFormats(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ format, want string }{
		{"text", "level=WARN msg=heard n=1"},
		{"json", `"level":"WARN","msg":"heard","n":1}`},
		{"auto", `"level":"WARN","msg":"heard","n":1}`}, // a strings.Builder is no terminal
	} {
		t.Run(tc.format, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			log := newLogger(&b, tc.format, slog.LevelWarn)
			log.Info("below the level")
			log.Warn("heard", "n", 1)
			if got := b.String(); !strings.Contains(got, tc.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("log %q, want one line with %q", got, tc.want)
			}
		})
	}
}
