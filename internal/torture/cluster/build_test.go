package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTheWallClockMovesAndNothingElse builds a small program as the proxies with other clocks are.
func TestTheWallClockMovesAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	overlay, err := clockOverlay(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	const source = `package main

import "time"

func main() {
	began := time.Now()
	time.Sleep(time.Millisecond)
	println(began.Unix(), time.Since(began) < time.Minute, time.Until(began.Add(time.Minute)) < time.Minute)
}
`
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, file)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, off := range clocks {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), clockEnv+"="+strconv.Itoa(int(off.Seconds())))
		out, err := cmd.CombinedOutput()
		fields := strings.Fields(string(out))
		if err != nil || len(fields) != 3 {
			t.Fatalf("%v: %s", err, out)
		}
		now, err := strconv.ParseInt(fields[0], 10, 64)
		if got := time.Until(time.Unix(now, 0)); err != nil || got > off+time.Minute || got < off-time.Minute {
			t.Errorf("a clock that is to be off by %s is off by %s (%v)", off, got, err)
		}
		if fields[1] != "true" || fields[2] != "true" {
			t.Errorf("off by %s: time that passes is wrong: %s", off, out)
		}
	}
}
