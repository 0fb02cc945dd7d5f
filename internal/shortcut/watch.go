package shortcut

import (
	"syscall"
	"time"
)

// watchEvery is how often it is looked whether the clients that wait for an
// answer are still there. That takes about two microseconds for each, where a
// goroutine that reads, as net/http has it, takes some KiB.
const watchEvery = time.Second

// watch ends the contexts of requests whose clients have left, for as long as
// the listener accepts.
func (l *Listener) watch() {
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			l.lookAround()
		case <-l.accepts:
			return
		}
	}
}

// lookAround is one pass of watch.
func (l *Listener) lookAround() {
	for _, c := range l.answering() {
		if c.hasLeft() {
			c.leave()
		}
	}
}

// answering returns the connections whose requests are being answered.
func (l *Listener) answering() (conns []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if c.answering.Load() {
			conns = append(conns, c)
		}
	}
	return conns
}

// hasLeft reports whether the client has closed the connection, and sent
// nothing more before that. It reads nothing, and waits for nothing.
func (c *conn) hasLeft() bool {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false // it is known when the answer is written
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	left := false
	_ = raw.Control(func(fd uintptr) {
		var next [1]byte
		n, _, err := syscall.Recvfrom(int(fd), next[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		left = n == 0 && err == nil || err == syscall.ECONNRESET //nolint:errorlint // an errno, as the call returns it
	})
	return left
}
