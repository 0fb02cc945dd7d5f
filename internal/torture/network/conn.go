package network

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A conn is a connection of a client, and the one to the proxy that is made at its first request. One goroutine takes
// requests up (run), another takes answers down.
type conn struct {
	network    *Network
	way        *way
	client     net.Conn
	fromClient *bufio.Reader // owned by run
	toClient   *bufio.Writer // owned by down

	toServer *bufio.Writer // nil until there is a connection to the proxy; owned by run
	asked    chan *exchange
	answered chan struct{} // has one in it while nothing is asked
	over     chan struct{} // closed when no answer comes any more

	mu     sync.Mutex
	server net.Conn // nil until there is one; guarded by mu
	cutOff bool     // guarded by mu
}

// An exchange is a request and its answer.
type exchange struct {
	plan
	req     *http.Request
	about   facts
	learned chan struct{} // closed when about is whole
	noted   atomic.Bool   // the fault is counted
	owed    bool          // a delivery that nobody has begun; owned by the run of the connection
}

var (
	errCut    = errors.New("the connection is cut")
	errNobody = errors.New("nobody is there")
)

func newConn(w *way, client net.Conn) *conn {
	return &conn{
		network: w.network, way: w, client: client,
		fromClient: bufio.NewReaderSize(client, 16<<10), toClient: bufio.NewWriterSize(client, 16<<10),
		asked: make(chan *exchange, 1), answered: make(chan struct{}, 1), over: make(chan struct{}),
	}
}

// run passes on the requests of one connection until it breaks.
func (c *conn) run() {
	defer context.AfterFunc(c.network.ctx, func() { c.cut(true) })()
	defer c.cut(false)
	c.answered <- struct{}{}
	for {
		head, err := readHead(c.fromClient)
		if err != nil {
			c.hungUp(err)
			return
		}
		select {
		case <-c.answered:
		case <-c.over:
			return
		}
		c.way.pass()
		if c.request(head) != nil {
			return
		}
	}
}

// cut breaks both connections; a reset throws away what is on the way.
func (c *conn) cut(reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cutOff {
		return
	}
	c.cutOff = true
	for _, end := range []net.Conn{c.client, c.server} {
		if end == nil {
			continue
		}
		if tcp, ok := end.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = end.Close()
	}
}

// hungUp tells the proxy that its client says no more. An answer that is on its way may still be told.
func (c *conn) hungUp(err error) {
	c.way.pass()
	if c.toServer == nil || !errors.Is(err, io.EOF) {
		c.cut(!errors.Is(err, io.EOF))
		return
	}
	c.mu.Lock()
	closeWrite(c.server)
	c.mu.Unlock()
	<-c.over
}

// closeWrite says that nothing more will be said, as a FIN.
func closeWrite(end net.Conn) {
	if tcp, ok := end.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// connect connects to the proxy, unless that is done.
func (c *conn) connect() error {
	if c.toServer != nil {
		return nil
	}
	server, err := c.way.dial(c.network.ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cutOff {
		return errors.Join(errCut, server.Close())
	}
	c.server = server
	c.toServer = bufio.NewWriterSize(server, 16<<10)
	answers := bufio.NewReaderSize(server, 16<<10)
	c.network.running.Go(func() { c.down(answers) })
	return nil
}

// request lets a request meet its fault. On an error the connection is of no use any more.
func (c *conn) request(head []byte) error {
	req, err := parseRequest(head)
	if err != nil {
		return err
	}
	x := &exchange{plan: c.network.plan(req), req: req, about: aboutRequest(req), learned: make(chan struct{})}
	x.owed = x.fault >= Parallel
	defer x.end(c.network)
	from := bodyOfRequest(c.fromClient, req)
	switch x.fault {
	case CutBefore:
		return c.cutAs(x)
	case Late:
		return c.hold(x, head, from)
	case Delay:
		c.note(x)
		if !c.network.wait(x.wait) {
			return errCut
		}
	default:
	}
	if err := c.connect(); err != nil {
		return err
	}
	return c.send(x, head, from)
}

// send sends a request as far as its plan says, and keeps a copy where one is needed.
func (c *conn) send(x *exchange, head []byte, from *body) error {
	var keep *recording
	if x.fault == Parallel || x.fault == Soon || x.fault == Again || x.about.teaches {
		keep = newRecording()
		keep.add(head)
		defer func() { keep.end(false) }()
	}
	if x.fault == Parallel {
		c.note(x)
		c.network.repeat(c.way, x, keep)
	}
	c.asked <- x
	var stop *mark
	if x.fault == CutRequest || x.fault == Stall && !x.answer {
		inHead := from.ended || x.fault == CutRequest && x.where < 0.25
		if stop = c.mark(x, from.size, inHead); inHead {
			n := 1 + x.at(len(head)-2)
			if _, err := c.toServer.Write(head[:n]); err != nil || c.toServer.Flush() != nil || !stop.do() {
				return errCut
			}
			head, stop = head[n:], nil
		}
	}
	if _, err := c.toServer.Write(head); err != nil {
		return err
	}
	if err := c.way.copy(c.toServer, from, stop, keep); err != nil {
		return err
	}
	if keep != nil {
		keep.end(true)
		if x.about.teaches {
			c.network.events.learn(&x.about, keep)
		}
	}
	switch x.fault {
	case CutWaiting:
		c.network.wait(x.wait)
		return c.cutAs(x)
	case Soon, Again:
		c.network.repeat(c.way, x, keep)
	default:
	}
	return nil
}

// end says that nothing more will be known of the request.
func (x *exchange) end(n *Network) {
	close(x.learned)
	if x.owed {
		n.settled()
	}
}

// cutAs breaks the connection as planned.
func (c *conn) cutAs(x *exchange) error {
	c.note(x)
	c.cut(x.reset)
	return errCut
}

// note tells of the fault of an exchange, once.
func (c *conn) note(x *exchange) {
	if !x.noted.Swap(true) {
		c.network.note(x.fault.String(), x.String())
	}
}

func (x *exchange) String() string { return x.req.Method + " " + x.req.URL.Path }
