package faults

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// syncMessage is the message that ends a pipeline.
var syncMessage = []byte{'S', 0, 0, 0, 4}

const (
	cancelRequest = 80877102 // PostgreSQL manual, "Message Formats"
	maxMessage    = 1 << 30
)

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
