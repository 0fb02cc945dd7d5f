package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
)

// A file of so many lines is uploaded at uploadRate bytes a second while the
// proxy is killed so many times.
const (
	uploadLines = 100_000
	uploadRate  = 4 << 20
	uploadKills = 6
)

// TestUploadWhileTheProxyIsKilled: one command, repeated by curl itself, stores
// each line of a file once, whatever happens to the proxy.
func TestUploadWhileTheProxyIsKilled(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	p := newProcess(t, "--database-url", db)
	producer := p.register()
	upload := uploadByCurl
	if _, err := exec.LookPath("curl"); err != nil {
		upload = uploadByGo
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	uploaded := make(chan error, 1)
	go func() { uploaded <- upload(ctx, p.url+"/v1/topics/t/records/stream", producer, newUploadFile(t)) }()
	for kill := range uploadKills {
		for stored := -1; stored < (kill+1)*uploadLines/(uploadKills+2); stored = p.highWatermark() {
			select {
			case err := <-uploaded:
				t.Fatalf("the upload ended with %v after %d lines and %d kills", err, stored, kill)
			case <-time.After(5 * time.Millisecond):
			}
		}
		_ = p.stop(syscall.SIGKILL) // its error is the signal
		p = newProcess(t, "--database-url", db, "--listen", strings.TrimPrefix(p.url, "http://"))
		p.must(http.StatusOK, "GET", "/readyz", "")
	}
	if err := <-uploaded; err != nil {
		t.Fatal(err)
	}
	for offset := 0; offset < uploadLines; {
		var page struct {
			Records []struct{ Value, Offset int }
		}
		answer := p.must(http.StatusOK, "GET", fmt.Sprintf("/v1/topics/t/partitions/0/records?max_records=10000&offset=%d", offset), "")
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			if r.Value != offset || r.Offset != offset {
				t.Fatalf("offset %d has line %d, want %d", r.Offset, r.Value, offset)
			}
			offset++
		}
	}
	if got := p.highWatermark(); got != uploadLines {
		t.Errorf("%d records of %d lines", got, uploadLines)
	}
}

func newUploadFile(t *testing.T) string {
	t.Helper()
	var lines bytes.Buffer
	for i := range uploadLines {
		fmt.Fprintf(&lines, `{"key":"customer-%d","value":%d}`+"\n", i%1000, i)
	}
	file := filepath.Join(t.TempDir(), "purchases.ndjson")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func uploadByCurl(ctx context.Context, url string, producer int, file string) error {
	out, err := exec.CommandContext(ctx, "curl", "-sS", "--fail-with-body", "-X", "POST", "-T", file, url,
		"-H", "Content-Type: application/x-ndjson", "-H", "Producer-Id: "+strconv.Itoa(producer), "-H", "Producer-Epoch: 0",
		"--limit-rate", strconv.Itoa(uploadRate), "--retry", "100", "--retry-all-errors", "--retry-delay", "1").CombinedOutput()
	if err != nil {
		return fmt.Errorf("curl: %w\n%s", err, out[max(0, len(out)-1000):])
	}
	return completed(out)
}

// uploadByGo does what curl would.
func uploadByGo(ctx context.Context, url string, producer int, file string) error {
	for ctx.Err() == nil {
		lines, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, &slowly{rest: lines})
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-ndjson")
		r.Header.Set("Producer-Id", strconv.Itoa(producer))
		r.Header.Set("Producer-Epoch", "0")
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			var out []byte
			out, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it is read
			if err == nil && resp.StatusCode == http.StatusOK {
				return completed(out)
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// slowly gives bytes at uploadRate.
type slowly struct{ rest []byte }

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	<-time.After(10 * time.Millisecond)
	n := copy(p[:min(len(p), uploadRate/100)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func completed(answer []byte) error {
	if want := fmt.Sprintf(`{"next_sequence":%d,"complete":true}`+"\n", uploadLines); !strings.HasSuffix(string(answer), want) {
		return errors.New("the answer does not end with " + want)
	}
	return nil
}

// TestP12UploadWithLostCommits: connections to the database break before and
// after their COMMIT took effect; the upload goes through, or is repeated, and
// each line is stored once.
func TestP12UploadWithLostCommits(t *testing.T) {
	t.Parallel()
	gate := faults.New(t, pgtest.New(t))
	p := newProcess(t, "--database-url", gate.URL())
	producer := p.register()
	var commits atomic.Int64
	gate.Choose(func() faults.Fault {
		switch commits.Add(1) % 7 {
		case 3:
			return faults.CutAfter
		case 5:
			return faults.CutBefore
		}
		return faults.None
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := uploadByGo(ctx, p.url+"/v1/topics/t/records/stream", producer, newUploadFile(t)); err != nil {
		t.Fatal(err)
	}
	if got := p.highWatermark(); got != uploadLines || commits.Load() < 20 {
		t.Errorf("%d records of %d lines, after %d commits", got, uploadLines, commits.Load())
	}
}

// TestHTTP2WithoutTLS: the server answers in the version that a client begins
// with.
func TestHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	server := newServer(Config{MaxHeaderBytes: 16 << 10}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto) // the test sees it
	}), slog.New(slog.DiscardHandler))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	for _, want := range []string{"HTTP/1.1", "HTTP/2.0"} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(want == "HTTP/1.1")
		transport.Protocols.SetUnencryptedHTTP2(want == "HTTP/2.0")
		resp, err := (&http.Client{Transport: transport}).Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it is read
		if err != nil || string(got) != want {
			t.Errorf("%q, %v; want %s", got, err, want)
		}
		transport.CloseIdleConnections()
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
