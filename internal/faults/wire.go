package faults

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	sync "sync"
	"sync/atomic"
)

// link is one connection: the client's end and the server's.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	dropAnswer     atomic.Bool // the answer to the next COMMIT is not told: both ends are cut
	deaf           atomic.Bool // nothing that the server says is told any more

	// What the client prepared and bound that is a COMMIT; owned by up.
	statements, portals map[string]bool
}

// syncMessage is the message that ends a pipeline.
var syncMessage = []byte{'S', 0, 0, 0, 4}

const (
	cancelRequest = 80877102 // PostgreSQL manual, "Message Formats"
	maxMessage    = 1 << 30
)

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
			l.cut()
		}
	}()
	for {
		message, err := readMessage(from, 1)
		if err != nil {
			return
		}
		if l.isCommit(message) {
			if to.Flush() != nil {
				return
			}
			fault := l.proxy.next()
			switch fault {
			case CutBefore:
				return
			case Abandon, Stall:
				keepServer = true
				l.deaf.Store(true)
				_ = l.client.Close()
				if fault == Abandon {
					_, _ = l.server.Write(syncMessage)
				}
				return
			case CutAfter:
				l.dropAnswer.Store(true)
			case Mute:
				l.deaf.Store(true)
			case Late, Delay:
				if fault == Late {
					l.dropAnswer.Store(true)
					_ = l.client.Close()
				}
				l.proxy.wait()
			case None:
			}
			if fault == Late {
				keepServer = true // until it has answered
				_, _ = l.server.Write(append(message, syncMessage...))
				return
			}
		}
		if _, err := to.Write(message); err != nil {
			return
		}
		if from.Buffered() == 0 && to.Flush() != nil {
			return
		}
	}
}

// down passes on what the server says.
func (l *link) down() {
	defer l.cut()
	from := bufio.NewReader(l.server)
	to := bufio.NewWriter(l.client)
	for {
		message, err := readMessage(from, 1)
		if err != nil {
			return
		}
		if l.dropAnswer.Load() && message[0] == 'C' && bytes.Equal(message[5:], []byte("COMMIT\x00")) {
			return
		}
		if message[0] == 'Z' {
			l.dropAnswer.Store(false) // the COMMIT was skipped, behind an error in its pipeline
		}
		if l.deaf.Load() {
			continue
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

// isCommit reports whether a client's message runs a COMMIT, and notes what it
// prepares and binds.
func (l *link) isCommit(message []byte) bool {
	body := message[5:]
	switch message[0] {
	case 'Q':
		return commits(text(&body))
	case 'P':
		name := text(&body)
		l.statements[name] = commits(text(&body))
	case 'B':
		portal := text(&body)
		l.portals[portal] = l.statements[text(&body)]
	case 'E':
		return l.portals[text(&body)]
	}
	return false
}

func commits(sql string) bool {
	return strings.EqualFold(strings.TrimSpace(strings.TrimRight(sql, "; \n")), "commit")
}

// text takes a zero-terminated text off the front of a message's body.
func text(body *[]byte) string {
	before, after, _ := bytes.Cut(*body, []byte{0})
	*body = after
	return string(before)
}

// readMessage reads one message: head bytes of type (none in a startup
// message), four of length, and the rest.
func readMessage(from *bufio.Reader, head int) ([]byte, error) {
	start, err := from.Peek(head + 4)
	if err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint32(start[head:]))
	if length < 4 || length > maxMessage {
		return nil, io.ErrUnexpectedEOF
	}
	message := make([]byte, head+length)
	_, err = io.ReadFull(from, message)
	return message, err
}
