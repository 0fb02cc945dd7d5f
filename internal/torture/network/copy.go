package network

import (
	"bufio"
	"errors"
	"io"
	"math"
)

// A mark is a place in a body where something is done. Unless that returns true, nothing comes after it.
type mark struct {
	after int64
	do    func() bool
}

// mark returns where and what a plan is about in a message whose body has that size; 0 is unknown.
func (c *conn) mark(x *exchange, size int64, inHead bool) *mark {
	m := &mark{after: int64(x.where * float64(size)), do: func() bool {
		c.note(x)
		if x.fault == Stall {
			return c.network.wait(x.wait)
		}
		c.cut(x.reset)
		return false
	}}
	if size <= 0 && !inHead {
		m.after = int64(math.Pow(2, 16*x.where)) // of what may be short, or without an end
	}
	return m
}

// copy passes a body on as it comes, and flushes whatever is in to, too. What is at a mark beyond the end of the body
// is done before its end.
func (w *way) copy(to *bufio.Writer, from *body, stop *mark, keep *recording) error {
	for {
		if from.in.Buffered() == 0 || from.ended {
			w.pass()
			if err := to.Flush(); err != nil {
				return err
			}
		}
		piece, last, err := from.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if stop != nil && (last || stop.after < int64(len(piece))) {
			n := min(int(stop.after), len(piece)-1)
			if keep != nil {
				keep.add(piece[:n])
			}
			if _, err := to.Write(piece[:n]); err != nil || to.Flush() != nil || !stop.do() {
				return errCut
			}
			piece, stop = piece[n:], nil
		}
		if keep != nil {
			keep.add(piece)
		}
		if stop != nil {
			stop.after -= int64(len(piece))
		}
		w.pass()
		if _, err := to.Write(piece); err != nil {
			return err
		}
	}
}
