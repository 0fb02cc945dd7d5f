package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
	"github.com/eos-proxy/eos-proxy/internal/program"
)

// fate is what becomes of a request on its way.
type fate int

const (
	through   fate = iota
	cutBefore      // the connection breaks before anything arrived
	cutMiddle      // it breaks when half of the request has arrived
	cutAnswer      // the request is done, and its answer is lost
	cutHalf        // half of the answer arrives
	late           // the connection breaks, but the request arrives later: after its repeats, and what came then
	twice          // it arrives once more, later
	fatesCount
)

func (f fate) String() string {
	names := [fatesCount]string{
		"through", "cut before", "cut in the middle", "cut before the answer", "cut in the answer", "late", "twice",
	}
	return names[f]
}

// shares are those of a network that is bad, but not so bad that nothing gets done.
var shares = [fatesCount]int{cutBefore: 60, cutMiddle: 60, cutAnswer: 90, cutHalf: 30, late: 50, twice: 50}

// A network is between the workers and one of the proxies: it takes requests and passes them on, or breaks
// connections. Requests that only read are spared, as nothing depends on them.
type network struct {
	upstream func() string // host:port of the proxy; empty while there is none
	log      func(format string, args ...any)
	shares   [fatesCount]int // how many of 10,000 requests meet a fate; the others get through
	latest   time.Duration   // by how much requests are late, at most

	mu      sync.Mutex
	random  *rand.Rand // guarded by mu
	calm    bool       // whether everything gets through; guarded by mu
	pending int        // requests that are still to arrive; guarded by mu

	counts [fatesCount]atomic.Int64
}

// listen answers on a free port until ctx ends.
func (n *network) listen(ctx context.Context) (url string, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // ctx has ended
			}
			go n.serve(ctx, conn)
		}
	}()
	return "http://" + listener.Addr().String(), nil
}

// serve passes on the requests of one connection until it breaks.
func (n *network) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // whatever it says, it is over
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	up := &link{upstream: n.upstream}
	defer up.close()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		raw, err := httputil.DumpRequest(req, true)
		if err != nil || !n.pass(ctx, conn, up, req, raw) {
			return
		}
	}
}

// pass lets a request meet its fate, and reports whether the connection goes on.
func (n *network) pass(ctx context.Context, conn net.Conn, up *link, req *http.Request, raw []byte) bool {
	f := n.fate(req)
	n.counts[f].Add(1)
	if f != through {
		n.log("%s: %s %s", f, req.Method, req.URL.Path)
	}
	switch f {
	case cutBefore:
		return false
	case cutMiddle:
		_ = up.send(ctx, raw[:len(raw)/2]) // it is lost in any case
		return false
	case late:
		n.sendLater(ctx, req, raw)
		return false
	case twice:
		n.sendLater(ctx, req, raw)
	}
	answer, _, err := up.exchange(ctx, req, raw)
	if err != nil || f == cutAnswer {
		return false
	}
	if f == cutHalf {
		answer = answer[:len(answer)/2]
	}
	_, err = conn.Write(answer)
	return err == nil && f != cutHalf
}

// fate throws the dice. Who gets late or twice calls sendLater.
func (n *network) fate(req *http.Request) fate {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calm || req.Method == http.MethodGet {
		return through
	}
	dice := n.random.IntN(10_000)
	for i, share := range n.shares {
		if dice -= share; dice < 0 {
			f := fate(i)
			if f == late || f == twice {
				n.pending++
			}
			return f
		}
	}
	return through
}

// settle lets everything get through from now on, and waits for what is still to arrive; it returns false if ctx ends
// first.
func (n *network) settle(ctx context.Context) bool {
	n.mu.Lock()
	n.calm = true
	n.mu.Unlock()
	return program.Await(ctx, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.pending == 0
	})
}

// sendLater lets the request arrive when others have come after it.
func (n *network) sendLater(ctx context.Context, req *http.Request, raw []byte) {
	n.mu.Lock()
	wait := time.Duration(n.random.Int64N(int64(n.latest)))
	if n.random.IntN(2) == 0 {
		wait /= 40 // after its first repeats
	}
	n.mu.Unlock()
	go func() {
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.pending--
		}()
		up := &link{upstream: n.upstream}
		defer up.close()
		if client.Sleep(ctx, wait) != nil || !program.Await(ctx, func() bool { return n.upstream() != "" }) {
			return
		}
		_, status, err := up.exchange(ctx, req, raw)
		n.log("after %s: %s %s: %d (%v)", wait.Round(time.Millisecond), req.Method, req.URL.Path, status, err)
	}()
}

// cuts returns how many connections were broken around a request.
func (n *network) cuts() (count int64) {
	for f := cutBefore; f <= cutHalf; f++ {
		count += n.counts[f].Load()
	}
	return count
}

// A link is a connection to the proxy, which is made when it is needed.
type link struct {
	upstream func() string
	conn     net.Conn
	in       *bufio.Reader
}

var errNobody = errors.New("nobody is there")

// send writes bytes to the proxy.
func (l *link) send(ctx context.Context, raw []byte) error {
	if l.conn == nil {
		address := l.upstream()
		if address == "" {
			return errNobody
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		l.conn, l.in = conn, bufio.NewReader(conn)
	}
	if err := l.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	_, err := l.conn.Write(raw)
	return err
}

// exchange sends a request and returns the bytes of its answer.
func (l *link) exchange(ctx context.Context, req *http.Request, raw []byte) (answer []byte, status int, err error) {
	if err := l.send(ctx, raw); err != nil {
		return nil, 0, err
	}
	resp, err := http.ReadResponse(l.in, req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the error is another
	answer, err = httputil.DumpResponse(resp, true)
	if err == nil && resp.ContentLength >= 0 {
		// DumpResponse does not mind a body that broke off.
		if _, body, _ := strings.Cut(string(answer), "\r\n\r\n"); int64(len(body)) != resp.ContentLength {
			err = fmt.Errorf("the answer broke off: %w", io.ErrUnexpectedEOF)
		}
	}
	return answer, resp.StatusCode, err
}

func (l *link) close() {
	if l.conn != nil {
		_ = l.conn.Close()
	}
}
