package faults

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

// link is one connection: the client's end and the server's.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	pid            atomic.Int32 // of the backend; 0 until it is known
	dropAnswer     atomic.Bool  // the answer to the next COMMIT is not told: both ends are cut
	answered       atomic.Bool  // that has happened
	countsCut      atomic.Bool  // and that is a CutAfter
	deaf           atomic.Bool  // nothing that the server says is told any more

	// What the client prepared and bound that is a COMMIT; owned by up.
	statements, portals map[string]bool
}

func newLink(p *Proxy, client, server net.Conn) *link {
	return &link{proxy: p, client: client, server: server, statements: map[string]bool{}, portals: map[string]bool{}}
}

func (l *link) cut() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// run passes on until one end closes.
func (l *link) run() {
	defer l.cut()
	from := bufio.NewReader(l.client)
	startup, err := readMessage(from, 0)
	if err != nil {
		return
	}
	if len(startup) >= 8 && binary.BigEndian.Uint32(startup[4:]) == cancelRequest {
		l.proxy.cancels.Add(1)
		return
	}
	l.proxy.pass()
	if _, err := l.server.Write(startup); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(l.down)
	both.Go(func() { l.up(from) })
	both.Wait()
}

// up passes on what the client says.
func (l *link) up(from *bufio.Reader) {
	to := bufio.NewWriter(l.server)
	keepServer := false
	defer func() {
		if !keepServer {
			l.proxy.pass()
			l.cut()
		}
	}()
	for {
		message, err := readMessage(from, 1)
		if err != nil {
			return
		}
		l.proxy.pass()
		if l.isCommit(message) {
			if to.Flush() != nil {
				return
			}
			var goesOn bool
			if goesOn, keepServer = l.commit(message); !goesOn {
				return
			}
		} else if l.proxy.breaks(BreakRequest) {
			l.breakIn(BreakRequest, to, message[:len(message)/2])
			return
		}
		if _, err := to.Write(message); err != nil {
			return
		}
		if from.Buffered() == 0 && to.Flush() != nil {
			return
		}
	}
}

// breakIn says what is left of a message, and cuts.
func (l *link) breakIn(f Fault, to *bufio.Writer, part []byte) {
	l.proxy.count(f)
	_, _ = to.Write(part)
	_ = to.Flush()
	l.cut()
}

// down passes on what the server says.
func (l *link) down() {
	defer l.cut()
	defer l.proxy.pass()
	from := bufio.NewReader(l.server)
	to := bufio.NewWriter(l.client)
	for {
		message, err := readMessage(from, 1)
		if err != nil {
			return
		}
		l.proxy.pass()
		if l.dropAnswer.Load() && message[0] == 'C' && bytes.Equal(message[5:], []byte("COMMIT\x00")) {
			l.answered.Store(true)
			if l.countsCut.Load() {
				l.proxy.count(CutAfter)
			}
			return
		}
		switch message[0] {
		case 'K':
			if len(message) >= 9 {
				l.pid.Store(int32(binary.BigEndian.Uint32(message[5:]))) //nolint:gosec // as the server wrote it
			}
		case 'Z':
			l.dropAnswer.Store(false) // the COMMIT was skipped, behind an error in its pipeline
			if l.proxy.breaks(BreakReady) {
				l.breakIn(BreakReady, to, nil)
				return
			}
		}
		if l.deaf.Load() {
			continue
		}
		if l.proxy.breaks(BreakAnswer) {
			l.breakIn(BreakAnswer, to, message[:len(message)/2])
			return
		}
		_, err = to.Write(message)
		if err == nil && from.Buffered() == 0 {
			err = to.Flush()
		}
		if err != nil && !l.dropAnswer.Load() {
			return
		}
	}
}
