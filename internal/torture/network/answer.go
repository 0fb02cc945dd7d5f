package network

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
)

// down passes on the answers of a connection until it breaks.
func (c *conn) down(from *bufio.Reader) {
	defer close(c.over)
	for {
		if _, err := from.Peek(1); err != nil {
			c.way.pass()
			if !errors.Is(err, io.EOF) {
				c.cut(true)
				return
			}
			closeWrite(c.client) // who is still sending may read an early answer
			return
		}
		select {
		case x := <-c.asked:
			if c.answer(x, from) != nil {
				c.cut(false)
				return
			}
			c.answered <- struct{}{}
		default: // it says something that nobody asked for
			c.cut(false)
			return
		}
	}
}

// answer passes on the answer to a request, and what comes before it.
func (c *conn) answer(x *exchange, from *bufio.Reader) error {
	for {
		head, err := readHead(from)
		if err != nil {
			return err
		}
		resp, err := parseAnswer(head, x.req) //nolint:bodyclose // it has none: from has it
		if err != nil {
			return err
		}
		if resp.StatusCode >= 200 {
			return c.passAnswer(x, resp, head, bodyOfAnswer(from, resp, x.req.Method))
		}
		// An interim answer, as 100.
		c.way.pass()
		if _, err := c.toClient.Write(head); err != nil || c.toClient.Flush() != nil {
			return errCut
		}
	}
}

// passAnswer passes the final answer on to the client, as far as its plan says.
func (c *conn) passAnswer(x *exchange, resp *http.Response, head []byte, from *body) error {
	if x.about.asksFor(resp) {
		// Whether the client hears it or not, it has happened.
		whole := newRecording()
		if err := c.way.copy(bufio.NewWriter(io.Discard), from, nil, whole); err != nil {
			return err
		}
		var plain io.Reader = bytes.NewReader(whole.bytes)
		if from.chunked {
			plain = httputil.NewChunkedReader(plain)
		}
		c.network.events.announce(x, resp, plain)
		from = newBody(bufio.NewReader(bytes.NewReader(whole.bytes)), from.size, resp.TransferEncoding)
	} else {
		c.network.events.announce(x, resp, nil)
	}
	var stop *mark
	switch x.fault {
	case CutWaiting, CutAnswer:
		return c.cutAs(x)
	case CutHeader, CutBody, Stall:
		if x.fault == Stall && !x.answer {
			break
		}
		inHead := x.fault == CutHeader || from.ended
		if stop = c.mark(x, from.size, inHead); inHead {
			n := 1 + x.at(len(head)-2)
			if _, err := c.toClient.Write(head[:n]); err != nil || c.toClient.Flush() != nil || !stop.do() {
				return errCut
			}
			head, stop = head[n:], nil
		}
	case Delay:
		if !c.network.wait(x.wait) {
			return errCut
		}
	default:
	}
	if _, err := c.toClient.Write(head); err != nil {
		return err
	}
	err := c.way.copy(c.toClient, from, stop, nil)
	if err == nil && from.size == untilClosed {
		err = errCut // as the proxy did
	}
	return err
}
