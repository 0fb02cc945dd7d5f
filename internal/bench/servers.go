package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
)

// servers are the processes that a run measures.
type servers struct {
	proxy, echo string // addresses
	dir         string
	processes   []*exec.Cmd
}

// startServers builds the proxy, and starts it, with a PostgreSQL of its own
// on fresh data, and the echo.
func startServers(ctx context.Context) (_ *servers, err error) {
	dir, err := os.MkdirTemp("", "eos-bench-")
	if err != nil {
		return nil, err
	}
	s := &servers{dir: dir}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL may run as another user
		return nil, err
	}
	binary := filepath.Join(dir, "eos-proxy")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/eos-proxy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build the proxy: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if s.proxy, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	if s.echo, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	if err := s.start(ctx, binary, "serve", "--listen", s.proxy, "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn"); err != nil {
		return nil, err
	}
	if err := s.start(ctx, self, "echo", s.echo); err != nil {
		return nil, err
	}
	return s, errors.Join(waitFor(ctx, s.proxy), waitFor(ctx, s.echo))
}

// start starts a process that lives until stop, whatever becomes of ctx.
func (s *servers) start(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	return nil
}

func (s *servers) stop() {
	for _, p := range s.processes {
		_ = p.Process.Signal(syscall.SIGTERM)
		_ = p.Wait()
	}
	_ = os.RemoveAll(s.dir)
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func waitFor(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := call(ctx, http.MethodGet, "http://"+addr+"/readyz", "", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", addr, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// prepare creates a topic and a producer for each connection.
func (s *servers) prepare(ctx context.Context, topic string, connections int) (load, error) {
	l := newLoad(topic, connections)
	base := "http://" + s.proxy + "/v1/"
	if err := call(ctx, http.MethodPut, base+"topics/"+topic, `{"partition_count":4}`, nil); err != nil {
		return l, err
	}
	for i := range l.producers {
		var p struct {
			ProducerID int64 `json:"producer_id"`
		}
		if err := call(ctx, http.MethodPost, base+"producers", "", &p); err != nil {
			return l, err
		}
		l.producers[i] = p.ProducerID
	}
	return l, nil
}

// verify checks that the topic holds exactly the acknowledged records.
func (s *servers) verify(ctx context.Context, topic string, want int) error {
	var t struct {
		Partitions []struct {
			HighWatermark int `json:"high_watermark"`
		} `json:"partitions"`
	}
	if err := call(ctx, http.MethodGet, "http://"+s.proxy+"/v1/topics/"+topic, "", &t); err != nil {
		return err
	}
	stored := 0
	for _, p := range t.Partitions {
		stored += p.HighWatermark
	}
	if stored != want {
		return fmt.Errorf("topic %s holds %d records, %d were acknowledged", topic, stored, want)
	}
	return nil
}

func call(ctx context.Context, method, url, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// echo serves the ceiling: it decodes what a produce request holds, and sends
// it back.
func echo(addr string) error {
	type body struct {
		Records []struct {
			Key   *string         `json:"key"`
			Value json.RawMessage `json:"value"`
		} `json:"records"`
	}
	r := chi.NewRouter()
	r.Get("/readyz", func(http.ResponseWriter, *http.Request) {})
	r.Post("/v1/topics/{topic}/records", func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b)
	})
	server := &http.Server{Addr: addr, Handler: r, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
