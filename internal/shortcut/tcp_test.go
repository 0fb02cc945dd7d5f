package shortcut

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tcp is a server with the shortcut on a real socket.
type tcp struct {
	addr     string
	short    *Listener
	shortcut atomic.Int64 // requests that net/http did not serve
}

// newTCP starts a server that echoes what it gets, or does what do does.
func newTCP(t *testing.T, do http.HandlerFunc) *tcp {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &tcp{addr: l.Addr().String()}
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isShort(w) {
			s.shortcut.Add(1)
		}
		if do != nil {
			do(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Name"), body)
	}), io.Discard)
	s.short = newShortcut(l, server)
	ended := make(chan struct{}, 2)
	go func() { s.short.Run(); ended <- struct{}{} }()
	go func() { server.Serve(s.short); ended <- struct{}{} }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
			server.Close()
		}
		if err := s.short.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-ended
		<-ended
	})
	return s
}

func (s *tcp) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn.(*net.TCPConn) //nolint:errcheck // it is one
}

// echoed reads the answer to one request, which must be want.
func echoed(b *bufio.Reader, want string) error {
	res, err := http.ReadResponse(b, nil)
	if err != nil {
		return fmt.Errorf("instead of %.60q: %w", want, err)
	}
	got, err := io.ReadAll(res.Body)
	if err == nil && string(got) != want {
		err = fmt.Errorf("got %.60q, want %.60q", got, want)
	}
	return err
}

func mustEcho(t *testing.T, b *bufio.Reader, want string) {
	t.Helper()
	if err := echoed(b, want); err != nil {
		t.Fatal(err)
	}
}

// TestEachGetsItsOwnAnswer has many connections at once, with requests of all
// sizes one behind the other, in whatever pieces; some go on at net/http.
func TestEachGetsItsOwnAnswer(t *testing.T) {
	t.Parallel()
	s := newTCP(t, nil)
	const conns, requests = 32, 60
	var all sync.WaitGroup
	for c := range conns {
		conn := s.dial(t)
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(c), 1))
			var raw strings.Builder
			wants := make(chan string, requests)
			for i := range requests {
				name := fmt.Sprintf("%d-%d", c, i)
				if c%4 == 0 && i == requests/2 {
					raw.WriteString("GET /x HTTP/1.1\r\nHost: a\r\nName: " + name + "\r\n\r\n")
					wants <- "GET /x " + name + " "
					continue
				}
				body := strings.Repeat(name+" ", 1+random.IntN(1+random.IntN(8_000)))
				raw.WriteString(post("/a/records", "Name: "+name, body))
				wants <- "POST /a/records " + name + " " + body
			}
			close(wants)
			go func() {
				for _, p := range pieces(raw.String(), random) {
					if _, err := conn.Write(p.send); err != nil {
						return // the reader sees it
					}
				}
			}()
			b := bufio.NewReader(conn)
			for want := range wants {
				if err := echoed(b, want); err != nil {
					t.Errorf("connection %d: %v", c, err)
					break
				}
			}
			conn.Close()
		})
	}
	left := s.dial(t)
	io.WriteString(left, post("/a/records", "", strings.Repeat("x", 50<<10))[:40<<10])
	left.Close() // in the middle of a large request
	all.Wait()
	if err := s.short.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.shortcut.Load(); n < conns*requests/2 {
		t.Errorf("%d of %d requests took the shortcut", n, conns*requests)
	}
	if n := s.short.large.Load(); n != 0 {
		t.Errorf("%d bytes of large requests are still counted", n)
	}
}

// TestHalfClosed: a client that ends what it sends behind a request gets its
// answer all the same.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	s := newTCP(t, nil)
	conn := s.dial(t)
	io.WriteString(conn, post("/a/records", "", "1")+post("/a/records", "", "2"))
	conn.CloseWrite()
	b := bufio.NewReader(conn)
	mustEcho(t, b, "POST /a/records  1")
	mustEcho(t, b, "POST /a/records  2")
	if rest, err := io.ReadAll(b); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v behind the answers", rest, err)
	}
	if s.shortcut.Load() != 2 {
		t.Error("the requests did not take the shortcut")
	}
}

// TestHTTP2: a client that begins with HTTP/2 gets it.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	s := newTCP(t, nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	for range 3 {
		res, err := client.Post("http://"+s.addr+"/a/records", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "POST /a/records  {}" || res.ProtoMajor != 2 {
			t.Errorf("%s %q, %v", res.Proto, body, err)
		}
	}
}

// TestHijackedAfterShortcut: who takes a connection over from net/http gets the
// bytes that were sent behind the request, each once.
func TestHijackedAfterShortcut(t *testing.T) {
	t.Parallel()
	s := newTCP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			return
		}
		conn, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := b.ReadString('\n')
		fmt.Fprintf(conn, "got %q %v", line, err)
	})
	conn := s.dial(t)
	io.WriteString(conn, post("/a/records", "", "1")+get+"behind\n")
	b := bufio.NewReader(conn)
	mustEcho(t, b, "")
	if rest, err := io.ReadAll(b); string(rest) != `got "behind\n" <nil>` || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestRefusalReachesWhoIsStillSending: net/http ends its side and lingers, lest
// the end of the connection destroys the answer.
func TestRefusalReachesWhoIsStillSending(t *testing.T) {
	t.Parallel()
	s := newTCP(t, nil)
	quickest := time.Hour // of some, as the machine may be busy
	for range 5 {
		conn := s.dial(t)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 1<<20))
		start := time.Now()
		got, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(got), "HTTP/1.1 431 ") || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		quickest = min(quickest, time.Since(start))
	}
	if quickest > 400*time.Millisecond { // it lingers for 500
		t.Errorf("the end of the answer came after %v", quickest)
	}
}

// TestMemoryOfLargeRequests: what is not there for a large request, net/http
// takes; and what was taken is given back.
func TestMemoryOfLargeRequests(t *testing.T) {
	t.Parallel()
	s := newTCP(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "shortcut %v", isShort(w)) })
	large := post("/a/records", "", strings.Repeat("x", 30<<10))
	conn := s.dial(t)
	b := bufio.NewReader(conn)
	io.WriteString(conn, large)
	mustEcho(t, b, "shortcut true")
	s.short.large.Add(maxLarge - 10<<10)
	io.WriteString(conn, post("/a/records", "", "{}"))
	mustEcho(t, b, "shortcut true")
	io.WriteString(conn, large)
	mustEcho(t, b, "shortcut false")
	s.short.large.Add(-maxLarge + 10<<10)
	if n := s.short.large.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// BenchmarkProduce is what a small request costs on a connection that is kept
// alive, beside net/http.
func BenchmarkProduce(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"next_sequence":1}`)
	})
	raw := []byte(post("/a/records", "Content-Type: application/json|Producer-Id: 1|Producer-Epoch: 0|Producer-Seq: 1", `{"records":[{"value":"world"}]}`))
	run := func(b *testing.B, addr string) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		buf := make([]byte, 4<<10)
		b.ReportAllocs()
		for b.Loop() {
			conn.Write(raw)
			if _, err := conn.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("net/http", func(b *testing.B) {
		s := httptest.NewServer(h)
		defer s.Close()
		run(b, s.Listener.Addr().String())
	})
	b.Run("shortcut", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		short := newShortcut(l, newServer(h, io.Discard))
		go short.Run()
		defer short.Shutdown(context.Background())
		run(b, l.Addr().String())
	})
}
