package faults

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// commit lets a COMMIT meet its fault. It reports whether it is to be passed
// on, and all goes on; and if not, whether the server's end stays as it is.
func (l *link) commit(message []byte) (goesOn, keepServer bool) {
	d := l.proxy.next()
	switch d.fault {
	case None, CutAfter, Freeze, FreezeIn: // which are counted when they have come to it
	default:
		l.proxy.count(d.fault)
	}
	switch d.fault {
	case CutBefore:
		return false, false
	case Abandon, Stall:
		l.abandon(d)
		return false, true
	case CutAfter:
		l.countsCut.Store(true)
		l.dropAnswer.Store(true)
	case Mute:
		l.deaf.Store(true)
	case Delay:
		l.proxy.wait(d.late)
	case Late:
		l.dropAnswer.Store(true)
		_ = l.client.Close()
		l.proxy.wait(d.late)
		_, _ = l.server.Write(append(message, syncMessage...))
		return false, true // until it has answered
	case Freeze:
		l.freeze(d, message)
		return false, true
	case FreezeIn:
		l.freezeIn(d, message)
		return false, true
	default:
	}
	return true, false
}

// abandon leaves the server alone with a transaction.
func (l *link) abandon(d decision) {
	l.deaf.Store(true)
	_ = l.client.Close()
	if d.fault == Abandon {
		_, _ = l.server.Write(syncMessage)
	}
	if d.stays > 0 {
		l.proxy.running.Go(func() {
			l.proxy.wait(d.stays)
			_ = l.server.Close()
		})
	}
}

// freeze stops the backend, gives it the COMMIT, and lets it go on when its
// client is long gone.
func (l *link) freeze(d decision, message []byte) {
	stopped := l.stop()
	if stopped {
		defer l.resume()
		l.proxy.count(Freeze)
	} else {
		l.proxy.count(Late)
	}
	l.dropAnswer.Store(true)
	_ = l.client.Close()
	if stopped {
		_, _ = l.server.Write(append(message, syncMessage...))
	}
	l.proxy.wait(d.late)
	if !stopped {
		_, _ = l.server.Write(append(message, syncMessage...))
	}
}

// freezeIn gives the backend the COMMIT, stops it while it is at it, and lets it
// go on when its client is long gone.
func (l *link) freezeIn(d decision, message []byte) {
	l.dropAnswer.Store(true)
	_, _ = l.server.Write(append(message, syncMessage...))
	l.proxy.wait(d.soon)
	stopped := l.stop()
	_ = l.client.Close()
	if stopped {
		defer l.resume()
	}
	if !stopped || l.answered.Load() {
		l.proxy.count(CutAfter)
		return
	}
	l.proxy.count(FreezeIn)
	l.proxy.wait(d.late)
}

// stop stops the backend. It reports whether it stands still.
func (l *link) stop() bool {
	pid := int(l.pid.Load())
	if l.proxy.signal(pid, syscall.SIGSTOP) != nil {
		return false
	}
	l.proxy.awaitStop(pid)
	return true
}

// resume lets the backend go on.
func (l *link) resume() { _ = l.proxy.signal(int(l.pid.Load()), syscall.SIGCONT) }

// awaitStop waits until a process has stopped: the signal is only on its way.
func (p *Proxy) awaitStop(pid int) {
	for range 100 {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return // there is no way to know
		}
		if _, state, ok := strings.Cut(string(stat), ") "); !ok || strings.HasPrefix(state, "T") {
			return
		}
		p.wait(time.Millisecond)
	}
}
