package network

import (
	"context"
	"net"
	"sync"
)

// A way leads to one proxy.
type way struct {
	network  *Network
	number   int
	upstream func() string
	listener net.Listener

	mu   sync.Mutex
	free chan struct{} // closed when the way is free again; nil: it is free; guarded by mu
}

// accept serves connections until the listener is closed.
func (w *way) accept() {
	n := w.network
	for {
		client, err := w.listener.Accept()
		if err != nil {
			if n.ctx.Err() != nil {
				return
			}
			n.wait(pollTime) // out of descriptors, for now
			continue
		}
		n.running.Go(func() { newConn(w, client).run() })
	}
}

func (w *way) block(blocked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case blocked && w.free == nil:
		w.free = make(chan struct{})
	case !blocked && w.free != nil:
		close(w.free)
		w.free = nil
	}
}

func (w *way) isFree() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.free == nil
}

// pass waits while the way is blocked.
func (w *way) pass() {
	w.mu.Lock()
	free := w.free
	w.mu.Unlock()
	if free == nil {
		return
	}
	select {
	case <-free:
	case <-w.network.ctx.Done():
	}
}

// dial connects to the proxy. The error is errNobody while there is none.
func (w *way) dial(ctx context.Context) (net.Conn, error) {
	address := w.upstream()
	if address == "" {
		return nil, errNobody
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}
