package main

import (
	"os"
	"syscall"
	"testing"
)

// TestLogReaderThatLeaves: when whoever reads the log has gone, the proxy goes on
// without it, and leaves no PostgreSQL behind at its end.
func TestLogReaderThatLeaves(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	p := &process{t: t, stderr: &lockedBuffer{}}
	p.start(writer, "--data-dir", dir, "--log-level", "debug")
	writer.Close()
	producer := p.register()
	pid := postmaster(t, dir)
	reader.Close()
	for sequence := range 10 { // each is a line of the log
		if status, body := p.produce(producer, sequence); status != 200 {
			t.Fatalf("sequence %d: %d %s", sequence, status, body)
		}
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	if alive(pid) {
		t.Errorf("PostgreSQL %d lives on", pid)
		_ = syscall.Kill(pid, syscall.SIGINT)
	}
}
