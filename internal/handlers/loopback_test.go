package handlers

import (
	"bufio"
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
	"runtime/pprof"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
)

// What a process of BenchmarkLoopback serves is in its environment, and where
// it writes its CPU profile, if one is wanted.
const (
	serveVariable   = "EOS_BENCH_SERVE"
	profileVariable = "EOS_BENCH_PROFILE"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(serveVariable); what != "" {
		if err := serveLoopback(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveLoopback serves on a port that it prints, then prints the nanoseconds of
// CPU that it has taken for each line that it reads, until there are no more.
func serveLoopback(what string) error {
	handler := echo()
	if what == "produce" {
		h, err := newPrompt(context.Background())
		if err != nil {
			return err
		}
		handler = h
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if what == "produce" {
		server.IdleTimeout = 5 * time.Minute // as serve.go has it
	}
	if path := os.Getenv(profileVariable); path != "" {
		f, err := os.Create(path + "." + what)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	go server.Serve(l)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			return err
		}
		fmt.Println(used.Utime.Nano() + used.Stime.Nano())
	}
	return in.Err()
}

// echo is the ceiling, as in internal/bench: it decodes what a produce request
// holds, and sends it back.
func echo() http.Handler {
	type body struct {
		Records []struct {
			Key   *string         `json:"key"`
			Value json.RawMessage `json:"value"`
		} `json:"records"`
	}
	r := chi.NewRouter()
	r.Post("/v1/topics/{topic}/records", func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b)
	})
	return r
}

// BenchmarkLoopback sends requests of one record over 64 connections to a
// process that does nothing else, and reports that one's CPU time: the
// yardstick is the echo's.
func BenchmarkLoopback(b *testing.B) {
	for _, what := range []string{"echo", "produce"} {
		b.Run(what, func(b *testing.B) {
			served := newServed(b, what)
			conns := make([]net.Conn, 64)
			for i := range conns {
				conn, err := net.Dial("tcp", served.addr)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { conn.Close() })
				conns[i] = conn
			}
			mustLoad(b, conns, 2000) // warm
			before := served.cpu(b)
			b.ResetTimer()
			mustLoad(b, conns, b.N)
			b.StopTimer()
			b.ReportMetric(float64(served.cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// mustLoad sends n requests, each the next as soon as its connection's last is
// answered.
func mustLoad(b *testing.B, conns []net.Conn, n int) {
	var group sync.WaitGroup
	errs := make([]error, len(conns))
	for i, conn := range conns {
		group.Go(func() { errs[i] = load(conn, i, n/len(conns)+min(1, max(0, n%len(conns)-i))) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

func load(conn net.Conn, producer, n int) error {
	request := fmt.Appendf(nil, "POST /v1/topics/bench/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"+
		"Producer-Id: %d\r\nProducer-Epoch: 0\r\nProducer-Seq: 4711\r\nContent-Length: %d\r\n\r\n%s", producer, len(oneRecordBody), oneRecordBody)
	in := make([]byte, 4096)
	for range n {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		m, err := conn.Read(in)
		if err != nil {
			return err
		}
		// Both answers are small and come in one piece.
		if !bytes.HasPrefix(in[:m], []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(in[:m], []byte("}\n")) {
			return fmt.Errorf("answered %q", in[:m])
		}
	}
	return nil
}

// served is a process that serves the loopback.
type served struct {
	addr string
	ask  io.Writer
	out  *bufio.Scanner
}

func newServed(b *testing.B, what string) *served {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	s := &served{ask: in, out: bufio.NewScanner(out)}
	s.addr = s.line(b)
	return s
}

func (s *served) line(b *testing.B) string {
	b.Helper()
	if !s.out.Scan() {
		b.Fatalf("the process says no more: %v", s.out.Err())
	}
	return s.out.Text()
}

// cpu returns the nanoseconds of CPU that the process has taken.
func (s *served) cpu(b *testing.B) int64 {
	b.Helper()
	if _, err := io.WriteString(s.ask, "\n"); err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseInt(s.line(b), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
