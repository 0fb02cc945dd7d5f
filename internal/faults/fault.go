package faults

import "time"

// Fault is what happens to one COMMIT, or to a connection elsewhere.
type Fault int

// The faults of a COMMIT. Whatever came before it has reached the server.
const (
	None      Fault = iota
	CutBefore       // the server never sees the COMMIT; both ends are cut
	Abandon         // the server never sees the COMMIT; the client is cut, the server's end stays, idle in transaction
	Stall           // as Abandon, but the server waits for the rest of a pipeline, where no timeout of its ends the wait
	CutAfter        // the COMMIT took effect; both ends are cut instead of its answer
	Late            // the client is cut; the COMMIT reaches the server afterwards
	Mute            // the COMMIT is forwarded; no answer ever comes, and nothing is cut
	Delay           // the COMMIT is forwarded afterwards; then all goes on
	Freeze          // the client is cut; the backend has the COMMIT, but is stopped before, and goes on afterwards
	FreezeIn        // the same, but the backend is stopped when it is at it; has it answered by then, that is a CutAfter

	// The faults of other messages.

	BreakRequest // both ends are cut in the middle of what the client says
	BreakAnswer  // both ends are cut in the middle of what the server says
	BreakReady   // both ends are cut when the server has said all but that it is ready for the next query
	faultsCount
)

// String returns the name of the fault, under which it is counted.
func (f Fault) String() string {
	names := [faultsCount]string{
		"None", "CutBefore", "Abandon", "Stall", "CutAfter", "Late", "Mute", "Delay", "Freeze", "FreezeIn",
		"BreakRequest", "BreakAnswer", "BreakReady",
	}
	return names[f]
}

// Shares are how many of 10,000 COMMITs, or of 10,000 messages of the kind, meet each fault. The others pass.
type Shares [faultsCount]int

// Times returns shares that are n times as high.
func (s Shares) Times(n int) Shares {
	for f := range s {
		s[f] *= n
	}
	return s
}

// commitTime is about how long a server is at a COMMIT.
const commitTime = 2 * time.Millisecond

// LateBy is how late Late and Delay are, and how long Freeze and FreezeIn last, where Config does not say.
const LateBy = 20 * time.Millisecond

// A decision is a fault, and its time.
type decision struct {
	fault Fault
	late  time.Duration
	stays time.Duration // of the server's end of Abandon and Stall; 0: it is left alone
	soon  time.Duration // after the COMMIT was sent FreezeIn stops the backend
}

// next decides what becomes of a COMMIT.
func (p *Proxy) next() decision {
	p.commits.Add(1)
	p.mu.Lock()
	d := decision{late: p.cfg.Least, stays: p.cfg.Stays}
	if more := p.cfg.Most - p.cfg.Least; more > 0 {
		d.late += time.Duration(p.random.Int64N(int64(more)))
	}
	if d.stays > 0 {
		d.stays = time.Duration(p.random.Int64N(int64(d.stays)))
	}
	d.soon = time.Duration(p.random.Int64N(int64(commitTime)))
	choose := p.choose
	switch {
	case len(p.armed) > 0:
		d.fault, p.armed = p.armed[0], p.armed[1:]
		choose = nil
	case choose == nil:
		d.fault = p.draw(CutBefore, FreezeIn)
	}
	p.mu.Unlock()
	if choose != nil {
		d.fault = choose() // which may take its time
	}
	return d
}

// draw throws the dice for the faults from first to last; mu is held.
func (p *Proxy) draw(first, last Fault) Fault {
	dice := p.random.IntN(10_000)
	for f := first; f <= last; f++ {
		if dice -= p.shares[f]; dice < 0 {
			return f
		}
	}
	return None
}

// breaks reports whether a message is to be met by a fault of its kind.
func (p *Proxy) breaks(f Fault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shares[f] > 0 && p.draw(f, f) == f
}

// count counts a fault and tells of it.
func (p *Proxy) count(f Fault) {
	p.mu.Lock()
	p.counts[f.String()]++
	p.mu.Unlock()
	if p.cfg.Note != nil {
		p.cfg.Note(f.String())
	}
}
